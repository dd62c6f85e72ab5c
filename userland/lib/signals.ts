/**
 * Signals by name and by strsignal(3)'s words.
 */
import { signalName, signalNumber } from '../../abi/signal.ts';

const TEXTS: readonly string[] = [
  '', 'Hangup', 'Interrupt', 'Quit', 'Illegal instruction', 'Trace/breakpoint trap', 'Aborted', 'Bus error', 'Floating point exception', 'Killed',
  'User defined signal 1', 'Segmentation fault', 'User defined signal 2', 'Broken pipe', 'Alarm clock', 'Terminated', 'Stack fault', 'Child exited',
  'Continued', 'Stopped (signal)', 'Stopped', 'Stopped (tty input)', 'Stopped (tty output)', 'Urgent I/O condition', 'CPU time limit exceeded',
  'File size limit exceeded', 'Virtual timer expired', 'Profiling timer expired', 'Window changed', 'I/O possible', 'Power failure', 'Bad system call',
];

export const signalText = (signal: number): string => TEXTS[signal] || `Unknown signal ${signal}`;

/** The number of `9`, `KILL`, `SIGKILL` or `kill`; undefined when there is no such signal. `0` is one for kill(2). */
export function parseSignal(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) <= 64 ? Number(text) : undefined;
  const name = text.toUpperCase();
  return name === '0' || name === 'EXIT' ? 0 : signalNumber(name);
}

/** 'KILL' of 9. */
export const shortName = (signal: number): string => signalName(signal).replace(/^SIG(?!RT)/, '');
