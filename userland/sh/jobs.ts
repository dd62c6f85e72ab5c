/**
 * Job control: a process group for each pipeline, the terminal handed to the one in the foreground and taken back
 * with its settings when it stops or dies.
 */
import type { Sys } from '../../abi/process.ts';
import { EINTR, ECHILD } from '../../abi/errno.ts';
import { SIGINT, SIGKILL, SIGPIPE } from '../../abi/signal.ts';
import { WCONTINUED, WCOREDUMP, WEXITSTATUS, WIFCONTINUED, WIFEXITED, WIFSIGNALED, WIFSTOPPED, WNOHANG, WSTOPSIG, WTERMSIG, WUNTRACED } from '../../abi/wait.ts';
import { Errno, kill, tcgetattr, tcsetattr, tcsetpgrp, type TerminalSettings, wait4, writeAll } from '../libc.ts';
import { signalText } from '../lib/signals.ts';
import { type Job, type Shell, ShellError } from './state.ts';
import { maybe } from '../lib/main.ts';

/** The exit status the shell shows for a status word: 128 + signal for a death by signal. */
export const statusOf = (word: number): number => (WIFEXITED(word) ? WEXITSTATUS(word) : 128 + (WIFSTOPPED(word) ? WSTOPSIG(word) : WTERMSIG(word)));

export function addJob(sh: Shell, pgid: number, pids: readonly number[], text: string): Job {
  const id = Math.max(0, ...sh.jobs.map((job) => job.id)) + 1;
  const job: Job = { id, pgid, pids: [...pids], ended: new Map(), stopped: new Set(), text, state: 'running', changed: false };
  sh.jobs.push(job);
  return job;
}

/** Books what wait4 told of one child. */
function note(sh: Shell, pid: number, word: number): void {
  const job = sh.jobs.find((j) => j.pids.includes(pid));
  if (!job) return;
  if (WIFCONTINUED(word)) {
    job.stopped.delete(pid);
  } else if (WIFSTOPPED(word)) {
    job.stopped.add(pid);
    job.ended.delete(pid);
  } else {
    job.stopped.delete(pid);
    job.ended.set(pid, word);
  }
  const before = job.state;
  job.state = job.pids.every((p) => job.ended.has(p)) ? 'done' : job.pids.some((p) => job.stopped.has(p)) ? 'stopped' : 'running';
  if (WIFSTOPPED(word)) job.ended.set(-1, word);
  if (job.state !== before) job.changed = true;
}

/** Takes note of every child that has changed, without waiting. */
export function* reapJobs(sh: Shell): Sys {
  for (;;) {
    const waited = yield* maybe(wait4(-1, WNOHANG | WUNTRACED | WCONTINUED));
    if (waited === undefined || waited.pid === 0) return;
    note(sh, waited.pid, waited.status);
  }
}

/** Waits until the job has ended or stopped; gives its status. `interruptible`: a caught signal ends the wait. */
export function* waitJob(sh: Shell, job: Job, interruptible = false): Sys<number> {
  while (job.state === 'running') {
    try {
      const { pid, status } = yield* wait4(-1, WUNTRACED | WCONTINUED);
      note(sh, pid, status);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno === EINTR) {
        sh.checkInterrupt();
        if (interruptible && sh.caught.length > 0) return 128 + SIGINT;
        continue;
      }
      if (e.errno !== ECHILD) throw e;
      for (const pid of job.pids) if (!job.ended.has(pid)) job.ended.set(pid, 127 << 8);
      job.state = 'done';
    }
  }
  if (job.state === 'stopped') return statusOf(job.ended.get(-1) ?? 0x137f);
  return statusOf(job.ended.get(job.pids.at(-1) ?? 0) ?? 0);
}

export const forget = (sh: Shell, job: Job): void => { sh.jobs = sh.jobs.filter((j) => j !== job); };

/** The settings the terminal shall have when the shell has it back; undefined without job control. */
export function* terminalSettings(sh: Shell): Sys<TerminalSettings | undefined> {
  return sh.monitor ? yield* maybe(tcgetattr(sh.terminal)) : undefined;
}

/**
 * Runs a job in the foreground to its end or stop. The shell takes the terminal back; its settings only from a job
 * that did not end of its own accord, as what `stty` set must stay.
 */
export function* foreground(sh: Shell, job: Job, settings: TerminalSettings | undefined): Sys<number> {
  if (sh.monitor) yield* maybe(tcsetpgrp(sh.terminal, job.pgid));
  const status = yield* waitJob(sh, job);
  const last = job.ended.get(job.pids.at(-1) ?? 0) ?? 0;
  if (sh.monitor) {
    yield* maybe(tcsetpgrp(sh.terminal, sh.pgrp));
    if (settings && (job.state === 'stopped' || WIFSIGNALED(last))) yield* maybe(tcsetattr(sh.terminal, 1, settings));
  }
  if (job.state === 'stopped') {
    job.changed = false;
    yield* writeAll(2, `\n${describe(sh, job)}\n`);
    return status;
  }
  forget(sh, job);
  if (WIFSIGNALED(last)) {
    const signal = WTERMSIG(last);
    if (signal === SIGINT || signal === SIGPIPE) {
      if (sh.interactive && signal === SIGINT) {
        // Ctrl-C ends the whole line that was typed, not only the program it reached.
        throw new ShellError('', status);
      }
    } else if (sh.interactive || signal === SIGKILL || WCOREDUMP(last)) {
      yield* writeAll(2, `${signalText(signal)}${WCOREDUMP(last) ? ' (core dumped)' : ''}\n`);
    }
  }
  return status;
}

/** `%n`, `%%`, `%+`, `%-`, `%name`, or the job of a pid. */
export function findJob(sh: Shell, spec: string | undefined, command: string): Job {
  const live = sh.jobs.filter((j) => j.state !== 'done' || j.changed);
  const current = live.findLast((j) => j.state === 'stopped') ?? live.at(-1);
  const missing = () => new ShellError(`${command}: ${spec ?? 'current'}: no such job`);
  if (spec === undefined || spec === '%%' || spec === '%+' || spec === '%') {
    if (!current) throw missing();
    return current;
  }
  const name = spec.replace(/^%/, '');
  const job = name === '-' ? live.filter((j) => j !== current).at(-1)
    : /^\d+$/.test(name) ? sh.jobs.find((j) => (spec.startsWith('%') ? j.id === Number(name) : j.pids.includes(Number(name))))
    : sh.jobs.findLast((j) => j.text.startsWith(name));
  if (!job) throw missing();
  return job;
}

/** The line `jobs` prints. */
export function describe(sh: Shell, job: Job, long = false): string {
  const live = sh.jobs;
  const current = live.findLast((j) => j.state === 'stopped') ?? live.at(-1);
  const previous = live.filter((j) => j !== current).at(-1);
  const mark = job === current ? '+' : job === previous ? '-' : ' ';
  const last = job.ended.get(job.pids.at(-1) ?? 0) ?? 0;
  const state = job.state === 'running' ? 'Running'
    : job.state === 'stopped' ? 'Stopped'
    : WIFSIGNALED(last) ? signalText(WTERMSIG(last))
    : WEXITSTATUS(last) === 0 ? 'Done' : `Exit ${WEXITSTATUS(last)}`;
  return `[${job.id}]${mark}  ${long ? `${job.pgid} ` : ''}${state.padEnd(24)}${job.text}${job.state === 'running' ? ' &' : ''}`;
}

/** Tells of background jobs that ended or stopped since the last prompt, and forgets those that ended. */
export function* tellChanges(sh: Shell): Sys {
  yield* reapJobs(sh);
  for (const job of [...sh.jobs]) {
    if (!job.changed) continue;
    job.changed = false;
    if (sh.interactive && job.state !== 'running') yield* writeAll(2, `${describe(sh, job)}\n`);
    if (job.state === 'done' && sh.interactive) forget(sh, job);
  }
}

export const signalJob = (job: Job, signal: number): Sys<number> => kill(-job.pgid, signal);
