/**
 * perf: the part of it that looks at guests, `perf kvm stat record|report|live`. It records what every VM does while a
 * command runs, or until Ctrl-C. A recorded file is the trace as text. Linux: tools/perf/builtin-kvm.c
 */
import type { Sys } from '../abi/process.ts';
import { O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import { SIGINT, SIGTERM } from '../abi/signal.ts';
import { CLOCK_REALTIME } from '../abi/time.ts';
import { WEXITSTATUS, WIFEXITED, WNOHANG } from '../abi/wait.ts';
import { Errno, clock_gettime, close, eputs, fputs, isatty, kill, nanosleep, open, puts, readFile, sigaction, spawn, sprintf, stat, uname, wait4, writeAll } from './libc.ts';
import { strftime } from './lib/clock.ts';
import { waitForKey, withKeys } from './lib/keys.ts';
import { maybe } from './lib/main.ts';
import { type Parsed, getopt, usageError } from './lib/options.ts';
import { KvmEvents, type View, eventKinds, sortKeys } from './perf/kvm-events.ts';
import { Tracer, cannotTrace, tscFrequency } from './perf/tracer.ts';

const DATA = 'perf.data.guest';
const MAGIC = '# perf kvm stat, cycles a microsecond: ';
/** How often the trace buffer is emptied: before it can overflow. */
const DRAIN_NS = 5_000_000n;

/** A command as a child, and whether the recording is to go on. */
class Workload {
  private readonly pid: number;
  private interrupted = false;
  private ended = false;
  status = 0;
  private constructor(pid: number) {
    this.pid = pid;
  }
  /** Without a command it goes on until Ctrl-C. */
  static *start(command: readonly string[]): Sys<Workload> {
    const workload = new Workload(command.length > 0 ? yield* spawn(command[0] ?? '', command) : 0);
    yield* sigaction(SIGINT, function* onInterrupt() {
      workload.interrupted = true;
    });
    return workload;
  }
  *runs(): Sys<boolean> {
    if (this.pid !== 0 && !this.ended) {
      const { pid, status } = yield* wait4(this.pid, WNOHANG);
      if (pid !== 0) {
        this.ended = true;
        this.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      }
    }
    return !this.ended && !this.interrupted;
  }
  *end(): Sys {
    if (this.pid === 0 || this.ended) return;
    yield* maybe(kill(this.pid, SIGTERM));
    yield* maybe(wait4(this.pid));
  }
}

function* record(args: readonly string[]): Sys<number> {
  const parsed = getopt(args, 'o:p:aR', { output: 1, pid: 1, 'all-cpus': 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('perf', parsed.error, 129);
  const pid = parsed.value('p', 'pid');
  if (parsed.operands.length === 0 && pid === undefined && !parsed.has('a', 'all-cpus')) {
    yield* eputs('\n Usage: perf kvm stat record [<options>] [<command>]');
    return 129;
  }
  const missing = yield* cannotTrace();
  if (missing !== undefined) {
    yield* eputs(missing);
    return 129;
  }
  const file = parsed.value('o', 'output') ?? DATA;
  let fd: number;
  try {
    fd = yield* open(file, O_WRONLY | O_CREAT | O_TRUNC);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`failed to open ${file}: ${e.text}`);
    return 255;
  }
  yield* writeAll(fd, `${MAGIC}${yield* tscFrequency()}\n`);
  const tracer = new Tracer(pid);
  yield* tracer.start();
  let samples = 0;
  let bytes = 0;
  const save = function* save(): Sys {
    const lines = yield* tracer.lines();
    const text = lines.map((line) => `${line}\n`).join('');
    samples += lines.length;
    bytes += text.length;
    yield* writeAll(fd, text);
  };
  const workload = yield* Workload.start(parsed.operands);
  while (yield* workload.runs()) {
    yield* save();
    yield* maybe(nanosleep(DRAIN_NS));
  }
  yield* workload.end();
  yield* tracer.stop();
  yield* save();
  yield* tracer.finish();
  yield* close(fd);
  yield* eputs(`[ perf record: Woken up 1 times to write data ]\n[ perf record: Captured and wrote ${sprintf('%.3f', bytes / 1048576)} MB ${file} (${samples} samples) ]`);
  return workload.status;
}

const VIEW_OPTIONS = { event: 1, vcpu: 1, key: 1, pid: 1 } as const;

/** The options that say what a table shows; or what is wrong with them. */
function view(parsed: Parsed): View | string {
  const event = parsed.value('event') ?? 'vmexit';
  const key = parsed.value('k', 'key') ?? 'sample';
  const vcpu = parsed.value('vcpu');
  const kind = Object.hasOwn(eventKinds, event) ? eventKinds[event] : undefined;
  const sort = Object.hasOwn(sortKeys, key) ? sortKeys[key] : undefined;
  if (kind === undefined) return `Unknown report event:${event}`;
  if (sort === undefined) return `Unknown compare key:${key}`;
  if (vcpu !== undefined && !/^\d+$/.test(vcpu)) return `invalid vcpu ${vcpu}`;
  return { kind, sort, vcpu: vcpu === undefined ? undefined : Number(vcpu), pid: parsed.value('p', 'pid') };
}

function* report(args: readonly string[], input: string | undefined): Sys<number> {
  const parsed = getopt(args, 'i:k:', { ...VIEW_OPTIONS, input: 1, stdio: 0 });
  if (parsed.error !== undefined) return yield* usageError('perf', parsed.error, 129);
  const chosen = view(parsed);
  if (typeof chosen === 'string') {
    yield* eputs(chosen);
    return 255;
  }
  const file = parsed.value('i', 'input') ?? input ?? DATA;
  let lines: string[];
  try {
    lines = (yield* readFile(file)).split('\n');
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`failed to open ${file}: ${e.text}${file === DATA ? "  (try 'perf record' first)" : ''}`);
    return 255;
  }
  const [head = ''] = lines;
  const frequency = Number(head.slice(MAGIC.length));
  if (!head.startsWith(MAGIC) || !(frequency > 0)) {
    yield* eputs('incompatible file format (rerun with -v to learn more)');
    return 255;
  }
  const events = new KvmEvents(chosen, frequency);
  for (const line of lines) events.add(line);
  yield* fputs(events.table());
  return 0;
}

function* live(args: readonly string[]): Sys<number> {
  const parsed = getopt(args, 'd:p:k:a', { ...VIEW_OPTIONS, display: 1, 'all-cpus': 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('perf', parsed.error, 129);
  const chosen = view(parsed);
  const seconds = Number(parsed.value('d', 'display') ?? 1);
  if (typeof chosen === 'string' || !(seconds > 0)) {
    yield* eputs(typeof chosen === 'string' ? chosen : 'Display interval must be a positive number of seconds');
    return 255;
  }
  if (chosen.pid !== undefined && !(yield* maybe(stat(`/proc/${chosen.pid}`)))) {
    yield* eputs(`Couldn't create thread/CPU maps: No such process`);
    return 255;
  }
  const missing = yield* cannotTrace();
  if (missing !== undefined) {
    yield* eputs(missing);
    return 129;
  }
  const tracer = new Tracer(chosen.pid);
  const events = new KvmEvents(chosen, yield* tscFrequency());
  const clear = (yield* isatty(1)) ? '\x1b[H\x1b[2J' : '';
  yield* tracer.start();
  const workload = yield* Workload.start(parsed.operands);
  const take = function* take(): Sys {
    for (const line of yield* tracer.lines()) events.add(line);
  };
  const show = function* show(): Sys {
    yield* take();
    const now = yield* clock_gettime(CLOCK_REALTIME);
    yield* fputs(`${clear}${strftime('%H:%M:%S', Number(now / 1_000_000_000n))}.${String((now % 1_000_000_000n) / 1000n).padStart(6, '0')}${events.table()}`);
    events.clear();
  };
  const loop = function* loop(): Sys {
    const step = Number(DRAIN_NS) / 1e9;
    const alone = parsed.operands.length === 0;
    for (let passed = 0; yield* workload.runs(); ) {
      // a command that runs beside keeps the terminal
      if (!alone) yield* maybe(nanosleep(DRAIN_NS));
      else if ((yield* waitForKey(step)) === 'q') break;
      yield* take();
      passed += step;
      if (passed < seconds) continue;
      yield* show();
      passed = 0;
    }
  };
  yield* parsed.operands.length > 0 ? loop() : withKeys(loop());
  yield* workload.end();
  yield* tracer.stop();
  yield* show();
  yield* tracer.finish();
  return workload.status;
}

const STAT_USAGE = `Usage: perf kvm stat <command>

# Available commands:
\trecord: record kvm events
\treport: report statistical data of kvm events
\tlive:   live reporting of statistical data of kvm events`;

function* kvm(args: readonly string[]): Sys<number> {
  const parsed = getopt(args, 'i:o:', { input: 1, output: 1 }, true);
  const [group, command, ...rest] = parsed.operands;
  if (parsed.error !== undefined || group !== 'stat') {
    yield* eputs('\n Usage: perf kvm [<options>] stat {record|report|live}');
    return 129;
  }
  const output = parsed.value('o', 'output');
  switch (command) {
    case 'record': return yield* record(output === undefined ? rest : ['-o', output, ...rest]);
    case 'report': return yield* report(rest, parsed.value('i', 'input'));
    case 'live': return yield* live(rest);
    default:
      yield* puts(STAT_USAGE);
      return 0;
  }
}

export function* main(argv: string[]): Sys<number> {
  const [, command, ...rest] = argv;
  if (command === 'kvm') return yield* kvm(rest);
  if (command === '--version' || command === 'version') {
    yield* puts(`perf version ${(yield* uname()).release}`);
    return 0;
  }
  if (command === undefined || command.startsWith('-')) {
    yield* puts('\n usage: perf [--version] [--help] COMMAND [ARGS]\n\n The perf commands here are:\n   kvm             Tool to trace/measure kvm guest os\n');
    return 1;
  }
  yield* eputs(`perf: '${command}' is not a perf-command. See 'perf --help'.`);
  return 1;
}
