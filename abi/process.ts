/**
 * The protocol between a TypeScript user program and the kernel: what stands for the SYSCALL instruction,
 * its registers and the program image.
 *
 * A program is a generator. To make a system call it writes number and arguments into its thread's
 * registers and yields; the kernel resumes it with the return value (-errno on failure). Nothing else
 * passes between the two: buffers are user addresses, seen through the thread's address space.
 * The one thing registers cannot carry is code: fork and clone of a TypeScript program name the child's
 * body in `body`.
 */
import type { Space } from './struct.ts';

/** One argument register. A bigint only where a 64-bit value has no exact number. */
export type Word = number | bigint;

/** A program or any part of one: yields for each system call, is resumed with its return value. */
export type Sys<T = void> = Generator<undefined, T, number>;

/** `main` of a program. The value returned is the exit status, 0 when there is none. */
export type ProgramMain = (argv: string[], envp: string[]) => Sys<number | undefined | void>;

/** What user code can reach of its own thread. The kernel makes one for each thread. */
export interface UserThread {
  /** Memory as this thread sees it. A bad access throws the kernel's fault, which no program can catch for good. */
  space: Space;
  /** The system call being made: number (abi/syscalls.ts) and up to six arguments. */
  nr: number;
  a0: Word; a1: Word; a2: Word; a3: Word; a4: Word; a5: Word;
  /** Code for fork and clone: the body the child runs. */
  body: (() => Sys<number | undefined | void>) | undefined;
  /** Cycles computed since the last system call, charged at the next one (`burn`). */
  burnt: number;
  /** libc's state of the process: heap, stdio buffers. One object a process, shared by its threads, copied by fork. */
  libc: LibcState;
}

/** Owned by libc; the kernel only copies it at fork (`clone`) and drops it at exec. */
export interface LibcState { clone(): LibcState }

/** The thread whose code runs now. Set by the kernel at every resume of a program; read by libc. */
export const cpu: { current: UserThread | undefined } = { current: undefined };

/**
 * A program as the root of the system registers it; `/bin/NAME` in the initial ramfs stands for it.
 * `libc` makes the initial LibcState of a fresh process image.
 */
export interface Program { readonly name: string; readonly main: ProgramMain }

/** First bytes of a file that stands for a TypeScript program: this magic, then its registered name, then a newline. */
export const PROGRAM_MAGIC = '\u007fTS ';

/** A signal handler in a TypeScript program: run between two steps of the program, its own calls allowed. */
export type SignalHandler = (signal: number) => Sys<void>;
