/**
 * One argument of a system call as text, from its kind in abi/syscall-signatures.ts. What the kernel fills in is had
 * only when the call has returned.
 */
import type { Sys } from '../../abi/process.ts';
import { AT_FDCWD, iovec } from '../../abi/fcntl.ts';
import * as POLL from '../../abi/poll.ts';
import { signalName } from '../../abi/signal.ts';
import * as SCHED from '../../abi/sched.ts';
import { array, s32, u64 } from '../../abi/struct.ts';
import { __NR_pipe2 } from '../../abi/syscalls.ts';
import type { ArgKind, Names } from '../../abi/syscall-signatures.ts';
import { WCOREDUMP, WEXITSTATUS, WIFCONTINUED, WIFEXITED, WIFSIGNALED, WIFSTOPPED, WSTOPSIG, WTERMSIG } from '../../abi/wait.ts';
import { encode } from '../libc.ts';
import { requestsOf } from './ioctl-names.ts';
import { peek, peekString, peekValue } from './tracee.ts';
import { flagNames, hex, pointer, quoted, signed, sigsetText, structText } from './values.ts';

export interface Call {
  readonly pid: number;
  readonly nr: number;
  readonly args: readonly bigint[];
  /** Undefined on entry. */
  readonly result: bigint | undefined;
  /** -s: characters of a string that are shown. */
  readonly limit: number;
  readonly verbose: boolean;
}

const PATH = 4096;

const namesOf = (module: object, pattern: RegExp): Names =>
  new Map(Object.entries(module).flatMap(([name, value]) => (typeof value === 'number' && pattern.test(name) ? [[value, name] as const] : [])));
const CLONE_FLAGS = namesOf(SCHED, /^CLONE_/);
const POLL_EVENTS = namesOf(POLL, /^POLL[A-Z]/);

/** Whether the argument is known only when the call returns. */
export function isOutput(kind: ArgKind, call: Call): boolean {
  switch (kind.kind) {
    case 'out': case 'outBuf': case 'outInts': case 'outString': case 'iovecOut': case 'status': return true;
    case 'argument': {
      const [first] = requestsOf(Number(BigInt.asUintN(32, call.args[1] ?? 0n)));
      return first?.request.dir === 'out' || first?.request.dir === 'inout';
    }
    default: return false;
  }
}

/** The text of argument `index`. Memory that is not there is shown by its address, as is output of a call that failed. */
export function* argumentText(kind: ArgKind, index: number, call: Call): Sys<string> {
  const { pid, result, limit, verbose } = call;
  const value = call.args[index] ?? 0n;
  const failed = result !== undefined && result < 0n;
  switch (kind.kind) {
    case 'int': case 'fd': case 'pid': case 'device': return signed(value);
    case 'uint': return BigInt.asUintN(32, value).toString();
    case 'long': return BigInt.asIntN(64, value).toString();
    case 'size': return BigInt.asUintN(64, value).toString();
    case 'hex': return hex(value);
    case 'ptr': return pointer(value);
    case 'mode': return `0${BigInt.asUintN(32, value).toString(8)}`;
    case 'dirfd': return BigInt.asIntN(32, value) === BigInt(AT_FDCWD) ? 'AT_FDCWD' : signed(value);
    case 'signal': return signalName(Number(BigInt.asIntN(32, value)));
    case 'flags': return flagNames(value, kind.names, call.nr === __NR_pipe2 ? '0' : kind.zero);
    case 'enum': return kind.names.get(Number(BigInt.asIntN(32, value))) ?? kind.names.get(Number(BigInt.asUintN(32, value))) ?? hex(BigInt.asUintN(32, value));
    case 'clone': {
      const signal = Number(value & 0xffn);
      const flags = flagNames(value & ~0xffn, CLONE_FLAGS, '');
      return `flags=${[flags, signal === 0 ? '' : signalName(signal)].filter((s) => s !== '').join('|') || '0'}`;
    }
    case 'path': case 'string': return yield* stringAt(call, value, kind.kind === 'path' ? PATH : limit);
    case 'outString': return failed ? pointer(value) : yield* stringAt(call, value, PATH);
    case 'argv': return yield* vector(call, value, true);
    case 'envp': return yield* vector(call, value, false);
    case 'inBuf': return yield* buffer(call, value, Number(call.args[kind.len] ?? 0n));
    case 'outBuf': return failed ? pointer(value) : yield* buffer(call, value, kind.len === 'ret' ? Number(result ?? 0n) : Number(call.args[kind.len] ?? 0n));
    case 'in': case 'out': {
      if (value === 0n || (kind.kind === 'out' && failed)) return pointer(value);
      const found = yield* peekValue(pid, value, kind.of);
      return found === undefined ? pointer(value) : structText(found, kind.of.name, verbose);
    }
    case 'outInts': {
      if (failed) return pointer(value);
      const found = yield* peekValue(pid, value, array(s32, kind.count));
      return Array.isArray(found) ? `[${found.join(', ')}]` : pointer(value);
    }
    case 'sigset': {
      if (value === 0n) return 'NULL';
      const set = yield* peekValue(pid, value, u64);
      return typeof set === 'bigint' ? sigsetText(set) : pointer(value);
    }
    case 'status': {
      if (value === 0n || failed) return pointer(value);
      if (result === 0n) return pointer(value);
      const word = yield* peekValue(pid, value, s32);
      return typeof word === 'number' ? `[${statusText(word)}]` : pointer(value);
    }
    case 'pollfds': return yield* pollText(call, value, Number(call.args[kind.count] ?? 0n));
    case 'iovecIn': case 'iovecOut': return yield* vectors(call, value, Number(call.args[kind.count] ?? 0n), kind.kind === 'iovecOut' ? Number(result ?? 0n) : Number.POSITIVE_INFINITY);
    case 'command': {
      const names = requestsOf(Number(BigInt.asUintN(32, value))).map(({ name }) => name);
      return names.length > 0 ? [...new Set(names)].join(' or ') : hex(BigInt.asUintN(32, value));
    }
    case 'argument': {
      const [first] = requestsOf(Number(BigInt.asUintN(32, call.args[1] ?? 0n)));
      const type = first?.request.arg;
      if (!type || first.request.dir === 'none') return hex(value);
      if (value === 0n || (failed && first.request.dir === 'out')) return pointer(value);
      const found = yield* peekValue(pid, value, type);
      return found === undefined ? pointer(value) : type.kind === 'scalar' ? `[${String(found)}]` : structText(found, type.name, verbose);
    }
  }
}

function* stringAt({ pid }: Call, address: bigint, limit: number): Sys<string> {
  if (address === 0n) return 'NULL';
  const found = yield* peekString(pid, address, limit);
  return found ? quoted(encode(found.text), limit, !found.whole) : pointer(address);
}

function* buffer({ pid, limit }: Call, address: bigint, length: number): Sys<string> {
  if (address === 0n) return 'NULL';
  if (length <= 0) return '""';
  const bytes = yield* peek(pid, address, Math.min(length, limit));
  return bytes ? quoted(bytes, limit, length > limit) : pointer(address);
}

/** argv in full, envp as a count, as strace abbreviates it. */
function* vector(call: Call, address: bigint, full: boolean): Sys<string> {
  if (address === 0n) return 'NULL';
  const strings: string[] = [];
  for (let i = 0; i < 256; i++) {
    const p = yield* peekValue(call.pid, address + BigInt(8 * i), u64);
    if (typeof p !== 'bigint') return pointer(address);
    if (p === 0n) break;
    strings.push(full ? yield* stringAt(call, p, call.limit) : '');
  }
  return full ? `[${strings.join(', ')}]` : `${hex(address)} /* ${strings.length} var${strings.length === 1 ? '' : 's'} */`;
}

function* vectors(call: Call, address: bigint, count: number, limit: number): Sys<string> {
  const parts: string[] = [];
  let left = limit;
  for (let i = 0; i < Math.min(count, 16); i++) {
    const v = (yield* peekValue(call.pid, address + BigInt(i * iovec.size), iovec)) as { iov_base: bigint; iov_len: bigint } | undefined;
    if (!v) return pointer(address);
    const n = Math.min(Number(v.iov_len), left);
    left -= n;
    parts.push(`{iov_base=${yield* buffer(call, v.iov_base, n)}, iov_len=${v.iov_len}}`);
  }
  return `[${parts.join(', ')}]`;
}

function* pollText(call: Call, address: bigint, count: number): Sys<string> {
  const parts: string[] = [];
  for (let i = 0; i < Math.min(count, 16); i++) {
    const p = (yield* peekValue(call.pid, address + BigInt(i * POLL.pollfd.size), POLL.pollfd)) as { fd: number; events: number } | undefined;
    if (!p) return pointer(address);
    parts.push(`{fd=${p.fd}, events=${flagNames(BigInt(p.events), POLL_EVENTS, '0')}}`);
  }
  return `[${parts.join(', ')}]`;
}

function statusText(word: number): string {
  if (WIFEXITED(word)) return `{WIFEXITED(s) && WEXITSTATUS(s) == ${WEXITSTATUS(word)}}`;
  if (WIFSIGNALED(word)) return `{WIFSIGNALED(s) && WTERMSIG(s) == ${signalName(WTERMSIG(word))}${WCOREDUMP(word) ? ' && WCOREDUMP(s)' : ''}}`;
  if (WIFCONTINUED(word)) return '{WIFCONTINUED(s)}';
  if (WIFSTOPPED(word)) return `{WIFSTOPPED(s) && WSTOPSIG(s) == ${signalName(WSTOPSIG(word))}}`;
  return hex(BigInt(word));
}
