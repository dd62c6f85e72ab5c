/**
 * `golden --print` asks this KVM everything the recorded answers of Linux were asked, and writes the answers in the
 * recorded files' form; `golden --compare FILE` lists the differences to any recorded file (its cases, its runs, or
 * both) and ends with status 1 when there are some.
 */
import { readFileSync } from 'node:fs';
import { bootSystem } from '../system/boot.ts';
import { type RecordedRun, caseDifference, runDifference } from '../test/golden/compare.ts';
import { type Answers, probe } from '../test/golden/probe/index.ts';
import type { Case } from '../test/golden/probe/recorder.ts';
import { commandLine } from './command-line.ts';
import { FIXED_DATE, writeOut } from './platform-node.ts';
import { UsageError } from './usage.ts';

function ask(): Answers {
  const answers: Answers = { cases: [], runs: [] };
  const { machine } = bootSystem({
    machine: {
      cpus: 2, memory: 512 << 20, seed: 1,
      platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), read: () => 'eof', write: () => {} }, startDate: FIXED_DATE },
    },
    quiet: true, init: ['-c', 'probe'], programs: [probe(answers, { cases: true, run: () => true })],
  });
  if (machine.run(Number.MAX_SAFE_INTEGER) !== 'off' || machine.status !== 0) throw new Error(`the probe did not end well (status ${machine.status})`);
  return answers;
}

interface Recorded { readonly cases?: Case[]; readonly runs?: RecordedRun[] }

/** Lines of difference, and how many questions were compared. */
function compare(answers: Answers, recorded: Recorded): { lines: string[]; compared: number } {
  const lines: string[] = [];
  const cases = new Map(answers.cases.map((c) => [c.id, c]));
  const runs = new Map(answers.runs.map((r) => [r.id, r]));
  for (const want of recorded.cases ?? []) {
    const got = cases.get(want.id);
    const difference = got === undefined ? 'was not asked' : caseDifference(got, want);
    if (difference !== undefined) lines.push(`case ${want.id}: ${difference}`);
  }
  for (const want of recorded.runs ?? []) {
    const got = runs.get(want.id);
    const difference = got === undefined ? 'was not run' : runDifference(got, { ...want, registers_agree: want.registers_agree ?? true });
    if (difference !== undefined) lines.push(`run ${want.id}: ${difference}`);
  }
  return { lines, compared: (recorded.cases?.length ?? 0) + (recorded.runs?.length ?? 0) };
}

export function golden(argv: readonly string[]): number {
  const options = commandLine(argv, 'golden', '$0 --print | --compare FILE   what this KVM answers to every question Linux was asked')
    .option('print', { type: 'boolean', describe: 'writes the answers as JSON' })
    .option('compare', { type: 'string', requiresArg: true, describe: 'lists the differences to a recorded file' })
    .strict()
    .parseSync();
  if (options['help']) return 0;
  if ((options.print === true) === (options.compare !== undefined)) throw new UsageError('give --print or --compare FILE');
  if (options.compare === undefined) {
    writeOut(new TextEncoder().encode(`${JSON.stringify(ask(), null, 1)}\n`));
    return 0;
  }
  let recorded: Recorded;
  try {
    recorded = JSON.parse(readFileSync(options.compare, 'utf8')) as Recorded;
  } catch (error) {
    throw new UsageError(`--compare ${options.compare}: ${(error as Error).message}`);
  }
  if (!Array.isArray(recorded.cases) && !Array.isArray(recorded.runs)) throw new UsageError(`--compare ${options.compare}: holds neither cases nor runs`);
  const { lines, compared } = compare(ask(), recorded);
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  process.stdout.write(`${compared} compared, ${lines.length} differ\n`);
  return lines.length === 0 ? 0 : 1;
}
