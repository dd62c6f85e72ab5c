/**
 * Waiting for children, and the status word that wait4 fills in.
 * Linux: include/uapi/linux/wait.h; the status word: kernel/exit.c
 */

// Options of wait4 and waitid
export const WNOHANG    = 1;
export const WUNTRACED  = 2;
export const WSTOPPED   = 2;
export const WEXITED    = 4;
export const WCONTINUED = 0x8;
export const WNOWAIT    = 0x1000000;

// Whom waitid waits for
export const P_ALL   = 0;
export const P_PID   = 1;
export const P_PGID  = 2;
export const P_PIDFD = 3;

/** The 0x7f that marks a stopped child and the 0xffff of a continued one stand where a signal number would. */
const STOPPED = 0x7f;
const CONTINUED = 0xffff;

export const exitStatus = (code: number): number => (code & 0xff) << 8;
export const killedStatus = (signal: number, dumped = false): number => signal | (dumped ? 0x80 : 0);
export const stoppedStatus = (signal: number): number => (signal << 8) | STOPPED;
export const continuedStatus = CONTINUED;

export const WIFEXITED = (status: number): boolean => (status & 0x7f) === 0;
export const WEXITSTATUS = (status: number): number => (status >> 8) & 0xff;
export const WIFSTOPPED = (status: number): boolean => (status & 0xff) === STOPPED;
export const WSTOPSIG = WEXITSTATUS;
export const WIFCONTINUED = (status: number): boolean => status === CONTINUED;
export const WIFSIGNALED = (status: number): boolean => (status & 0x7f) !== 0 && (status & 0x7f) !== STOPPED;
export const WTERMSIG = (status: number): number => status & 0x7f;
export const WCOREDUMP = (status: number): boolean => (status & 0x80) !== 0;
