/**
 * The tracer's hands: ptrace(2) by request, and the memory of the one traced.
 */
import type { Sys } from '../../abi/process.ts';
import { iovec } from '../../abi/fcntl.ts';
import { PTRACE_GETEVENTMSG, PTRACE_GETSIGINFO, PTRACE_GET_SYSCALL_INFO, PTRACE_SYSCALL_INFO_ENTRY, PTRACE_SYSCALL_INFO_EXIT, ptrace_syscall_info } from '../../abi/ptrace.ts';
import { siginfo } from '../../abi/signal.ts';
import { type Field, type Located, plain, u64 } from '../../abi/struct.ts';
import { __NR_process_vm_readv, __NR_ptrace } from '../../abi/syscalls.ts';
import { Errno, alloc, decode, free, loadBytes, malloc, storeBytes, syscall, userAddress, view } from '../libc.ts';

/** ptrace(2) with two plain words; throws Errno. */
export function* ptrace(request: number, pid: number, address = 0, data = 0): Sys<number> {
  const result = yield* syscall(__NR_ptrace, request, pid, address, data);
  if (result < 0) throw new Errno('ptrace', -result);
  return result;
}

export type Stop =
  | { readonly op: 'entry'; readonly nr: number; readonly args: readonly bigint[] }
  | { readonly op: 'exit'; readonly value: bigint; readonly error: boolean }
  | { readonly op: 'none' };

/** Where in a system call the tracee stands. */
export function* syscallInfo(pid: number): Sys<Stop> {
  const info = yield* alloc(ptrace_syscall_info);
  try {
    yield* ptrace(PTRACE_GET_SYSCALL_INFO, pid, ptrace_syscall_info.size, userAddress(info));
    if (info.op === PTRACE_SYSCALL_INFO_ENTRY) return { op: 'entry', nr: Number(info.entry.nr), args: [0, 1, 2, 3, 4, 5].map((i) => info.entry.args.get(i)) };
    if (info.op === PTRACE_SYSCALL_INFO_EXIT) return { op: 'exit', value: info.exit.rval, error: info.exit.is_error !== 0 };
    return { op: 'none' };
  } finally {
    yield* free(info);
  }
}

/** The pid that a fork or clone event is about. */
export function* eventMessage(pid: number): Sys<number> {
  const buffer = yield* malloc(8);
  try {
    yield* ptrace(PTRACE_GETEVENTMSG, pid, 0, buffer);
    return Number(view(u64, buffer));
  } finally {
    yield* free(buffer);
  }
}

export interface SignalInfo { readonly si_signo: number; readonly si_code: number; readonly si_pid: number; readonly si_uid: number; readonly si_status: number; readonly si_addr: bigint }

export function* signalInfo(pid: number): Sys<SignalInfo> {
  const info = yield* alloc(siginfo);
  try {
    yield* ptrace(PTRACE_GETSIGINFO, pid, 0, userAddress(info));
    const { si_signo, si_code, si_pid, si_uid, si_status, si_addr } = info;
    return { si_signo, si_code, si_pid, si_uid, si_status, si_addr };
  } finally {
    yield* free(info);
  }
}

/** Up to `n` bytes of the tracee at `address`, as many as are mapped; undefined when none are. */
export function* peek(pid: number, address: bigint, n: number): Sys<Uint8Array | undefined> {
  if (n === 0) return new Uint8Array(0);
  const vectors = yield* malloc(2 * iovec.size);
  const buffer = yield* malloc(n);
  try {
    const local = view(iovec, vectors);
    local.iov_base = BigInt(buffer);
    local.iov_len = BigInt(n);
    const remote = view(iovec, vectors + iovec.size);
    remote.iov_base = address;
    remote.iov_len = BigInt(n);
    const got = yield* syscall(__NR_process_vm_readv, pid, vectors, 1, vectors + iovec.size, 1, 0);
    return got > 0 ? loadBytes(buffer, got) : undefined;
  } finally {
    yield* free(buffer);
    yield* free(vectors);
  }
}

const WINDOW = 256;

/** The C string at `address`, up to `limit` bytes; undefined when it is not mapped. */
export function* peekString(pid: number, address: bigint, limit: number): Sys<{ text: string; whole: boolean } | undefined> {
  const bytes: number[] = [];
  while (bytes.length < limit) {
    // Not beyond the page: the next one may not be there.
    const at = address + BigInt(bytes.length);
    const room = Number(4096n - (at & 4095n));
    const part = yield* peek(pid, at, Math.min(WINDOW, room, limit - bytes.length));
    if (!part) return bytes.length > 0 ? { text: decode(Uint8Array.from(bytes)), whole: false } : undefined;
    const end = part.indexOf(0);
    bytes.push(...(end < 0 ? part : part.subarray(0, end)));
    if (end >= 0) return { text: decode(Uint8Array.from(bytes)), whole: true };
  }
  return { text: decode(Uint8Array.from(bytes)), whole: false };
}

/** A struct or other C value of the tracee as plain values; undefined when it is not mapped. */
export function* peekValue(pid: number, address: bigint, type: Field<unknown>): Sys<unknown> {
  const bytes = yield* peek(pid, address, type.size);
  if (!bytes || bytes.length < type.size) return undefined;
  const buffer = yield* malloc(Math.max(type.size, 1));
  storeBytes(buffer, bytes);
  const value = view(type, buffer);
  const copy = typeof value === 'object' && value !== null ? plain(value as Located) : value;
  yield* free(buffer);
  return copy;
}
