/**
 * test(1) and `[`: conditions on files, strings and integers. POSIX.1-2017, test.
 */
import type { Sys } from '../../abi/process.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from '../../abi/fcntl.ts';
import { access, isatty, lstat, stat, type FileStatus } from '../libc.ts';
import { maybe } from './main.ts';

/** A condition that is none; `message` as test words it. */
export class TestError extends Error {}

const TYPES: Readonly<Record<string, number>> = { b: S_IFBLK, c: S_IFCHR, d: S_IFDIR, f: S_IFREG, p: S_IFIFO, S: S_IFSOCK };
const ACCESS: Readonly<Record<string, number>> = { r: 4, w: 2, x: 1 };

const STRINGS: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  '=': (a, b) => a === b, '==': (a, b) => a === b, '!=': (a, b) => a !== b, '<': (a, b) => a < b, '>': (a, b) => a > b,
};
const NUMBERS: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '-eq': (a, b) => a === b, '-ne': (a, b) => a !== b, '-lt': (a, b) => a < b, '-le': (a, b) => a <= b, '-gt': (a, b) => a > b, '-ge': (a, b) => a >= b,
};
const FILES: Readonly<Record<string, (a: FileStatus | undefined, b: FileStatus | undefined) => boolean>> = {
  '-nt': (a, b) => a !== undefined && (b === undefined || a.st_mtime > b.st_mtime),
  '-ot': (a, b) => b !== undefined && (a === undefined || a.st_mtime < b.st_mtime),
  '-ef': (a, b) => a !== undefined && b !== undefined && a.st_dev === b.st_dev && a.st_ino === b.st_ino,
};

function integer(text: string): bigint {
  if (!/^\s*[-+]?\d+\s*$/.test(text)) throw new TestError(`${text}: integer expression expected`);
  return BigInt(text.trim().replace(/^\+/, ''));
}

function* unary(operator: string, operand: string): Sys<boolean> {
  const letter = operator.charAt(1);
  switch (letter) {
    case 'n': return operand !== '';
    case 'z': return operand === '';
    case 't': return yield* isatty(Number(integer(operand)));
    case 'h': case 'L': return (((yield* maybe(lstat(operand)))?.st_mode ?? 0) & S_IFMT) === S_IFLNK;
    case 'r': case 'w': case 'x': return (yield* maybe(access(operand, ACCESS[letter] ?? 0))) !== undefined;
  }
  const status = yield* maybe(stat(operand));
  if (!status) return false;
  if (letter === 'e' || letter === 'a') return true;
  if (letter === 's') return status.st_size > 0;
  return (status.st_mode & S_IFMT) === TYPES[letter];
}

const isUnary = (text: string): boolean => /^-[abcdefhLnprsStwxz]$/.test(text);
const isBinary = (text: string): boolean => text in STRINGS || text in NUMBERS || text in FILES;

function* binary(a: string, operator: string, b: string): Sys<boolean> {
  const onStrings = STRINGS[operator];
  if (onStrings) return onStrings(a, b);
  const onNumbers = NUMBERS[operator];
  if (onNumbers) return onNumbers(integer(a), integer(b));
  return FILES[operator]?.(yield* maybe(stat(a)), yield* maybe(stat(b))) ?? false;
}

class Tester {
  private readonly args: readonly string[];
  private at = 0;
  constructor(args: readonly string[]) {
    this.args = args;
  }
  private peek(offset = 0): string | undefined {
    return this.args[this.at + offset];
  }
  get rest(): string | undefined {
    return this.peek();
  }

  *or(): Sys<boolean> {
    let value = yield* this.and();
    while (this.peek() === '-o') {
      this.at++;
      const right = yield* this.and();
      value ||= right;
    }
    return value;
  }
  private *and(): Sys<boolean> {
    let value = yield* this.not();
    while (this.peek() === '-a') {
      this.at++;
      const right = yield* this.not();
      value &&= right;
    }
    return value;
  }
  private *not(): Sys<boolean> {
    if (this.peek() === '!' && this.peek(1) !== undefined && !(isBinary(this.peek(1) ?? '') && this.peek(2) !== undefined)) {
      this.at++;
      return !(yield* this.not());
    }
    return yield* this.primary();
  }
  private *primary(): Sys<boolean> {
    const first = this.args[this.at++];
    if (first === undefined) throw new TestError('argument expected');
    const second = this.peek();
    if (second !== undefined && isBinary(second) && this.peek(1) !== undefined) {
      this.at += 2;
      return yield* binary(first, second, this.args[this.at - 1] ?? '');
    }
    if (first === '(' && second !== undefined) {
      const value = yield* this.or();
      if (this.args[this.at++] !== ')') throw new TestError("`)' expected");
      return value;
    }
    if (isUnary(first) && second !== undefined) {
      this.at++;
      return yield* unary(first, second);
    }
    return first !== '';
  }
}

/** Whether the condition holds. Few arguments are read by their number, as POSIX has it, so that `test -n` is true. */
export function* evaluateTest(args: readonly string[]): Sys<boolean> {
  if (args.length === 0) return false;
  if (args.length === 1) return args[0] !== '';
  if (args.length === 2 && args[0] !== '!' && !isUnary(args[0] ?? '')) throw new TestError(`${args[0]}: unary operator expected`);
  const tester = new Tester(args);
  const value = yield* tester.or();
  if (tester.rest !== undefined) throw new TestError(args.length === 3 ? `${args[1]}: binary operator expected` : 'too many arguments');
  return value;
}

/** The program: status 0 when it holds, 1 when not, 2 with a message when it is no condition. */
export function* runTest(argv: readonly string[], complain: (message: string) => Sys): Sys<number> {
  const name = argv[0] ?? 'test';
  let args = argv.slice(1);
  if (name === '[') {
    if (args.at(-1) !== ']') {
      yield* complain("[: missing `]'");
      return 2;
    }
    args = args.slice(0, -1);
  }
  try {
    return (yield* evaluateTest(args)) ? 0 : 1;
  } catch (e) {
    if (!(e instanceof TestError)) throw e;
    yield* complain(`${name}: ${e.message}`);
    return 2;
  }
}
