/**
 * `unit-tests --images DIR`: runs kvm-unit-tests, built in DIR, under qemu-lite and under QEMU TCG, and counts.
 *
 * Which tests there are, and with which options, DIR's own x86/unittests.cfg says; a test's end is its exit status
 * through isa-debug-exit (0 passed, 77 nothing it could test) and its SUMMARY line. kvm-unit-tests: scripts/runtime.bash
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { commandLine, makeFolder } from './command-line.ts';
import { root } from './root.ts';
import { UsageError } from './usage.ts';

interface UnitTest { readonly name: string; readonly values: ReadonlyMap<string, string> }
interface Run { readonly verdict: 'pass' | 'fail' | 'skip'; readonly passed: number; readonly failed: number; readonly note: string }
interface Machine { readonly name: string; readonly argv: (test: UnitTest, kernel: string) => string[] }

/** A shell's words: blanks separate them, but not within quotes. */
const words = (text: string): string[] => (text.match(/(?:"[^"]*"|'[^']*'|\S)+/g) ?? []).map((word) => word.replace(/["']/g, ''));

/** Sections in brackets, `key = value` lines. */
function readConfiguration(text: string): UnitTest[] {
  const tests: { name: string; values: Map<string, string> }[] = [];
  for (const line of text.split('\n')) {
    const section = /^\[(.*)\]/.exec(line)?.[1];
    if (section !== undefined) tests.push({ name: section, values: new Map() });
    const [, key, value] = /^(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) tests.at(-1)?.values.set(key, value);
  }
  return tests;
}

/** Tests of what no guest here is offered, by name or group: they would only say so one by one. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  svm: 'nested virtualization', vmx: 'nested virtualization', svm_unsupported_instruction_intercept_test: 'nested virtualization',
  pmu: 'performance counters', hyperv: 'Hyper-V', intel_iommu: 'an IOMMU', nodefault: 'tests kvm-unit-tests itself leaves out',
};
const leftOut = ({ name, values }: UnitTest): string | undefined =>
  [name, ...words(values.get('groups') ?? '')].map((key) => LEFT_OUT[key]).find((reason) => reason !== undefined);

const common = ['-no-reboot', '-nodefaults', '-device', 'pc-testdev', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-display', 'none', '-serial', 'stdio'];

function testOptions({ values }: UnitTest, kernel: string): string[] {
  const args = words(values.get('test_args') ?? '').map((word) => word.replace(/`[^`]*`/g, '')).join(' ');
  return ['-kernel', kernel, '-smp', values.get('smp') ?? '1', ...(args === '' ? [] : ['-append', args]), ...words(values.get('qemu_params') ?? '')];
}

const MACHINES: readonly Machine[] = [
  { name: 'qemu-lite', argv: (test, kernel) => [process.execPath, join(root, 'cli', 'launch.mjs'), 'qemu-lite', ...common, '-accel', 'kvm,kernel-irqchip=on', ...testOptions(test, kernel)] },
  { name: 'tcg', argv: (test, kernel) => ['qemu-system-x86_64', ...common, '-accel', 'tcg', ...testOptions(test, kernel).filter((word) => word !== '-enable-kvm')] },
];

const EXIT_PASS = 1, EXIT_SKIP = 77;
/** Seconds. kvm-unit-tests' own. */
const USUAL_LIMIT = 90;

/** How a machine that gives up says so, with status 1 too. */
const GAVE_UP = /^(?:qemu-lite: |vitrine: |KVM: |KVM internal error|error: |watchdog: |qemu-system-x86_64: (?!warning)|qemu: ).*/m;

function judge(status: number | null, output: string, limit: number): Run {
  const count = (pattern: RegExp): number => (output.match(pattern) ?? []).length;
  const passed = count(/^PASS:/gm), failed = count(/^FAIL:/gm);
  const gaveUp = GAVE_UP.exec(output)?.[0];
  if (status === EXIT_PASS && gaveUp === undefined) return { verdict: 'pass', passed, failed, note: '' };
  if (status === EXIT_SKIP) return { verdict: 'skip', passed, failed, note: /^SKIP: (.*)$/m.exec(output)?.[1]?.trim() ?? '' };
  const last = output.trim().split('\n').at(-1)?.trim() ?? '';
  const first = /^FAIL: (.*)$/m.exec(output)?.[1]?.trim();
  return { verdict: 'fail', passed, failed, note: status === null ? `not done after ${limit} s` : first ?? gaveUp ?? last };
}

export function unitTests(argv: readonly string[]): number {
  const options = commandLine(argv, 'unit-tests', '$0 --images DIR [NAME...]   runs kvm-unit-tests, built in DIR, under qemu-lite and QEMU TCG, and counts')
    .option('images', { type: 'string', demandOption: true, requiresArg: true, describe: 'where kvm-unit-tests were configured and built' })
    .option('on', { choices: ['qemu-lite', 'tcg'] as const, describe: 'runs them there only' })
    .option('limit', { type: 'number', describe: 'seconds a test may take, if not what unittests.cfg gives it, 90 at least' })
    .option('logs', { type: 'string', requiresArg: true, describe: 'keeps what each test printed in this directory' })
    .strictOptions()
    .parseSync();
  if (options['help']) return 0;
  const images = resolve(process.env['INIT_CWD'] ?? '.', options.images);
  const list = join(images, 'x86', 'unittests.cfg');
  if (!existsSync(list)) throw new UsageError(`--images ${options.images}: ${list} is not there`);
  const built = /^ARCH=(\S+)/m.exec(readFileSync(join(images, 'config.mak'), 'utf8'))?.[1];
  const only = options._.map(String);
  const tests = readConfiguration(readFileSync(list, 'utf8'))
    .filter((test) => (test.values.get('arch') ?? built) === built && (only.length === 0 ? leftOut(test) === undefined : only.includes(test.name)));
  const logs = options.logs === undefined ? undefined : resolve(process.env['INIT_CWD'] ?? '.', options.logs);
  if (logs !== undefined) makeFolder(logs);

  const machines = MACHINES.filter(({ name }) => options.on === undefined || options.on === name);
  const totals = machines.map(() => ({ pass: 0, fail: 0, skip: 0, passed: 0, failed: 0 }));
  for (const test of tests) {
    const kernel = join(images, 'x86', test.values.get('file') ?? '');
    const limit = options.limit ?? Math.max(USUAL_LIMIT, Number(test.values.get('timeout') ?? 0));
    machines.forEach(({ name, argv: command }, i) => {
      const [program = '', ...rest] = command(test, kernel);
      const ran = spawnSync(program, rest, { encoding: 'latin1', timeout: limit * 1000, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 << 20 });
      if (ran.error !== undefined && ran.status === null && ran.signal === null) throw new Error(`${program}: ${ran.error.message}`);
      const output = `${ran.stdout.replace(/\r/g, '')}\n${ran.stderr}`;
      const run = judge(ran.status, output, limit);
      const total = totals[i]!;
      total[run.verdict]++;
      total.passed += run.passed;
      total.failed += run.failed;
      if (logs !== undefined) writeFileSync(join(logs, `${test.name}.${built}.${name}`), output);
      process.stdout.write(`${run.verdict.padEnd(5)}${test.name.padEnd(28)}${name.padEnd(11)}${String(run.passed).padStart(6)} PASS ${String(run.failed).padStart(4)} FAIL  ${run.note}\n`);
    });
  }
  machines.forEach(({ name }, i) => {
    const { pass, fail, skip, passed, failed } = totals[i]!;
    process.stdout.write(`${built} on ${name}: ${pass} passed, ${fail} failed, ${skip} skipped; within them ${passed} PASS, ${failed} FAIL\n`);
  });
  return totals.every(({ fail }) => fail === 0) ? 0 : 1;
}
