/**
 * A failed system call as an exception: what errno and perror are in C.
 */
import { errnoName, strerror } from '../../abi/errno.ts';

export { errnoName, strerror };

/**
 * Thrown by every wrapper of libc when the kernel answers -errno. An Error by its prototype, but without the stack
 * that Error's constructor records: that costs 12 µs, and a program that asks a hundred thousand wrong questions is
 * an ordinary one here.
 */
export class Errno implements Error {
  /** The positive error number: EINVAL is 22. */
  readonly errno: number;
  /** The call that failed, as C names it. */
  readonly call: string;
  constructor(call: string, errno: number) {
    this.call = call;
    this.errno = errno;
  }
  /** The text alone, for messages of the form "ls: cannot access 'x': No such file or directory". */
  get text(): string {
    return strerror(this.errno);
  }
  get message(): string {
    return `${this.call}: ${this.text} (${errnoName(this.errno)})`;
  }
  get name(): string {
    return 'Errno';
  }
  get stack(): string {
    return `Errno: ${this.message}`;
  }
}
Object.setPrototypeOf(Errno.prototype, Error.prototype);

/** The result of a call, or its exception. */
export function check(call: string, result: number): number {
  if (result < 0) throw new Errno(call, -result);
  return result;
}

/**
 * Runs `body` and gives its error number when a system call in it fails, 0 when none does.
 * Anything else that is thrown passes through: a fatal fault of the thread must not be caught.
 */
export function* errnoOf(body: Generator<undefined, unknown, number>): Generator<undefined, number, number> {
  try {
    yield* body;
    return 0;
  } catch (e) {
    if (e instanceof Errno) return e.errno;
    throw e;
  }
}
