/**
 * Built-ins on jobs and signals: jobs, fg, bg, wait, kill, trap.
 */
import type { Sys } from '../../abi/process.ts';
import { SIGCONT, SIGINT, SIGTERM, SIG_DFL, SIG_IGN } from '../../abi/signal.ts';
import { Errno, kill as killCall, sigaction, signal, writeAll } from '../libc.ts';
import { parseSignal, shortName } from '../lib/signals.ts';
import { maybe } from '../lib/main.ts';
import type { Builtin } from './builtins-table.ts';
import { quote } from './program.ts';
import { describe, findJob, foreground, forget, reapJobs, signalJob, terminalSettings, waitJob } from './jobs.ts';
import { type Job, type Shell, ShellError, complain, print } from './state.ts';

export const jobs: Builtin = function* jobs({ sh }, argv) {
  yield* reapJobs(sh);
  const long = argv.includes('-l');
  const pids = argv.includes('-p');
  for (const job of [...sh.jobs]) {
    yield* print(pids ? `${job.pids[0]}\n` : `${describe(sh, job, long)}\n`);
    job.changed = false;
    if (job.state === 'done') forget(sh, job);
  }
  return 0;
};

function* resume(job: Job): Sys {
  if (job.state === 'stopped') job.state = 'running';
  job.stopped.clear();
  yield* signalJob(job, SIGCONT);
}

export const fg: Builtin = function* fg({ sh }, argv) {
  if (!sh.monitor) throw new ShellError('fg: no job control');
  const job = findJob(sh, argv[1], 'fg');
  yield* print(`${job.text}\n`);
  const settings = yield* terminalSettings(sh);
  if (job.state !== 'done') yield* resume(job);
  return yield* foreground(sh, job, settings);
};

export const bg: Builtin = function* bg({ sh }, argv) {
  if (!sh.monitor) throw new ShellError('bg: no job control');
  const job = findJob(sh, argv[1], 'bg');
  if (job.state === 'running') {
    yield* complain(sh, `bg: job ${job.id} already in background`);
    return 0;
  }
  yield* resume(job);
  yield* writeAll(2, `[${job.id}]+ ${job.text} &\n`);
  return 0;
};

export const wait: Builtin = function* wait({ sh }, argv) {
  if (argv.length === 1) {
    for (const job of [...sh.jobs]) {
      const status = yield* waitJob(sh, job, true);
      if (sh.caught.length > 0) return status;
      if (job.state === 'done') forget(sh, job);
    }
    return 0;
  }
  let status = 0;
  for (const spec of argv.slice(1)) {
    if (!spec.startsWith('%') && !/^\d+$/.test(spec)) {
      yield* complain(sh, `wait: \`${spec}': not a pid or valid job spec`);
      return 2;
    }
    const job = spec.startsWith('%') ? findJob(sh, spec, 'wait') : sh.jobs.find((j) => j.pids.includes(Number(spec)));
    if (!job) {
      yield* complain(sh, `wait: pid ${spec} is not a child of this shell`);
      status = 127;
      continue;
    }
    status = yield* waitJob(sh, job, true);
    if (sh.caught.length > 0) return status;
    if (job.state === 'done') forget(sh, job);
  }
  return status;
};

/** As kill(1), with jobs besides. */
export const kill: Builtin = function* kill({ sh }, argv) {
  let args = argv.slice(1);
  let number: number | undefined = SIGTERM;
  const [first = ''] = args;
  if (first === '-l' || first === '-L') {
    if (args.length > 1) {
      for (const arg of args.slice(1)) yield* print(`${/^\d+$/.test(arg) ? shortName(Number(arg) & 0x7f) : (parseSignal(arg) ?? '')}\n`);
      return 0;
    }
    yield* print(`${Array.from({ length: 31 }, (_, i) => shortName(i + 1)).join(' ')}\n`);
    return 0;
  }
  if (first === '-s' || first === '-n') {
    number = parseSignal(args[1] ?? '');
    args = args.slice(2);
  } else if (/^-./.test(first) && first !== '--') {
    number = parseSignal(first.slice(1));
    args = args.slice(1);
  }
  if (args[0] === '--') args = args.slice(1);
  if (number === undefined) {
    yield* complain(sh, `kill: ${first.replace(/^-/, '')}: invalid signal specification`);
    return 1;
  }
  if (args.length === 0) {
    yield* complain(sh, 'kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]');
    return 2;
  }
  let status = 0;
  for (const arg of args) {
    try {
      if (arg.startsWith('%')) {
        const job = findJob(sh, arg, 'kill');
        if (job.pgid > 0) yield* signalJob(job, number);
        else for (const pid of job.pids) yield* maybe(killCall(pid, number));
        if (job.state === 'stopped' && number !== SIGCONT) yield* maybe(signalJob(job, SIGCONT));
      } else if (/^-?\d+$/.test(arg)) yield* killCall(Number(arg), number);
      else {
        yield* complain(sh, `kill: ${arg}: arguments must be process or job IDs`);
        status = 1;
      }
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* complain(sh, `kill: (${arg}) - ${e.text}`);
      status = 1;
    }
  }
  return status;
};

export const trap: Builtin = function* trap({ sh }, argv) {
  const args = argv.slice(1).filter((arg, i) => !(i === 0 && (arg === '--' || arg === '-p')));
  if (args.length === 0) {
    for (const [name, action] of sh.traps) yield* print(`trap -- ${quote(action)} ${name === 'EXIT' ? name : `SIG${name}`}\n`);
    return 0;
  }
  // A number in place of an action resets, as POSIX has it.
  const reset = args.length === 1 || /^\d+$/.test(args[0] ?? '');
  const action = reset || args[0] === '-' ? undefined : (args[0] ?? '');
  let status = 0;
  for (const spec of reset && args[0] !== '-' ? args : args.slice(1)) {
    const number = parseSignal(spec);
    if (number === undefined) {
      yield* complain(sh, `trap: ${spec}: invalid signal specification`);
      status = 1;
      continue;
    }
    const name = number === 0 ? 'EXIT' : shortName(number);
    if (action === undefined) sh.traps.delete(name);
    else sh.traps.set(name, action);
    if (number === 0) continue;
    if (action === undefined) yield* sh.interactive && number === SIGINT ? catchInterrupt(sh) : signal(number, SIG_DFL);
    else if (action === '') yield* signal(number, SIG_IGN);
    else {
      yield* sigaction(number, function* caught() {
        sh.caught.push(name);
      });
    }
  }
  return status;
};

/** The interactive shell's own SIGINT: ends the line that is being run, not the shell. */
export function* catchInterrupt(sh: Shell): Sys {
  yield* sigaction(SIGINT, function* onInterrupt() {
    sh.interrupted = true;
  });
}
