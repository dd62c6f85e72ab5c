/**
 * The machine and the time: clocks, sleep, uname(2), sysinfo(2), mount(2), modules, reboot(2).
 */
import type { Sys } from '../../abi/process.ts';
import type { Field, Located, Of } from '../../abi/struct.ts';
import { EINTR } from '../../abi/errno.ts';
import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from '../../abi/fcntl.ts';
import * as NR from '../../abi/syscalls.ts';
import { LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2 } from '../../abi/prctl.ts';
import { rusage, sysinfo as sysinfo_struct, utsname } from '../../abi/resource.ts';
import { CLOCK_REALTIME, timespec } from '../../abi/time.ts';
import { Errno, check } from './errno.ts';
import { close, open } from './files.ts';
import { view } from './malloc.ts';
import { self } from './state.ts';
import { arm, call, getScratch, loadBytes, loadString, mapMemory, pathCall, putScratch, storeString } from './syscall.ts';

const SECOND = 1_000_000_000n;

/** Calls the kernel with a struct to fill in and gives what `pick` makes of it. */
function* filled<T extends Located, R>(name: string, type: Field<T>, nr: number, args: (buffer: number) => [number, number], pick: (value: T, buffer: number) => R): Sys<R> {
  const buffer = yield* getScratch();
  const [a0, a1] = args(buffer);
  arm(nr, a0, a1);
  const result = yield;
  if (result < 0) {
    putScratch(buffer);
    throw new Errno(name, -result);
  }
  const picked = pick(view(type, buffer), buffer);
  putScratch(buffer);
  return picked;
}

/** Nanoseconds of a clock. */
export const clock_gettime = (clock: number): Sys<bigint> =>
  filled('clock_gettime', timespec, NR.__NR_clock_gettime, (buffer) => [clock, buffer], (t) => BigInt(t.tv_sec) * SECOND + BigInt(t.tv_nsec));

/** Seconds since 1970. */
export function* time(): Sys<number> {
  return Number((yield* clock_gettime(CLOCK_REALTIME)) / SECOND);
}

/** Sleeps for `ns` nanoseconds; gives how many were left when a signal cut it short, 0n otherwise. */
export function* nanosleep(ns: bigint): Sys<bigint> {
  const buffer = yield* getScratch();
  const left = buffer + timespec.size;
  timespec.store(self().space, buffer, { tv_sec: ns / SECOND, tv_nsec: ns % SECOND } as Of<typeof timespec>);
  timespec.store(self().space, left, { tv_sec: 0n, tv_nsec: 0n } as Of<typeof timespec>);
  arm(NR.__NR_nanosleep, buffer, left);
  const result = yield;
  const rest = view(timespec, left);
  const remaining = result === -EINTR ? BigInt(rest.tv_sec) * SECOND + BigInt(rest.tv_nsec) : 0n;
  putScratch(buffer);
  if (result < 0 && result !== -EINTR) throw new Errno('nanosleep', -result);
  return remaining;
}

/** Sleeps for a number of seconds, fractions allowed; gives the seconds left when a signal cut it short. */
export function* sleep(seconds: number): Sys<number> {
  return Number(yield* nanosleep(BigInt(Math.round(seconds * 1e9)))) / 1e9;
}
export const usleep = (microseconds: number): Sys<bigint> => nanosleep(BigInt(Math.round(microseconds)) * 1000n);

export interface Uname { readonly sysname: string; readonly nodename: string; readonly release: string; readonly version: string; readonly machine: string; readonly domainname: string }

export const uname = (): Sys<Uname> =>
  filled('uname', utsname, NR.__NR_uname, (buffer) => [buffer, 0], (_, buffer) => {
    const text = (field: keyof Uname): string => loadString(buffer + utsname.offset[field], 65);
    return { sysname: text('sysname'), nodename: text('nodename'), release: text('release'), version: text('version'), machine: text('machine'), domainname: text('domainname') };
  });

export interface SysInfo { readonly uptime: number; readonly loads: readonly number[]; readonly totalram: number; readonly freeram: number; readonly procs: number }

export const sysinfo = (): Sys<SysInfo> =>
  filled('sysinfo', sysinfo_struct, NR.__NR_sysinfo, (buffer) => [buffer, 0], (s) => ({
    uptime: Number(s.uptime), loads: [0, 1, 2].map((i) => Number(s.loads.get(i)) / 65536),
    totalram: Number(s.totalram) * s.mem_unit, freeram: Number(s.freeram) * s.mem_unit, procs: s.procs,
  }));

export interface Usage { readonly user: bigint; readonly system: bigint; readonly maxrss: number; readonly nvcsw: number; readonly nivcsw: number }

/** Times in nanoseconds, switches of this process or of its dead children. */
export const getrusage = (who: number): Sys<Usage> =>
  filled('getrusage', rusage, NR.__NR_getrusage, (buffer) => [who, buffer], (u) => ({
    user: BigInt(u.ru_utime.tv_sec) * SECOND + BigInt(u.ru_utime.tv_usec) * 1000n,
    system: BigInt(u.ru_stime.tv_sec) * SECOND + BigInt(u.ru_stime.tv_usec) * 1000n,
    maxrss: Number(u.ru_maxrss), nvcsw: Number(u.ru_nvcsw), nivcsw: Number(u.ru_nivcsw),
  }));

/** `n` random bytes. */
export function* getrandom(n: number): Sys<Uint8Array> {
  const buffer = yield* getScratch();
  arm(NR.__NR_getrandom, buffer, Math.min(n, 4096), 0);
  const result = yield;
  const bytes = result > 0 ? loadBytes(buffer, result) : new Uint8Array(0);
  putScratch(buffer);
  check('getrandom', result);
  return bytes;
}

// ---------------------------------------------------------------- file systems

export function* mount(source: string, target: string, type: string, flags = 0, data = ''): Sys {
  const strings = [source, target, type, data];
  const buffers: number[] = [];
  for (const text of strings) {
    const buffer = yield* getScratch();
    storeString(buffer, text);
    buffers.push(buffer);
  }
  const [a = 0, b = 0, c = 0, d = 0] = buffers;
  arm(NR.__NR_mount, a, b, c, flags, d);
  const result = yield;
  for (const buffer of buffers) putScratch(buffer);
  check('mount', result);
}
export const umount = (target: string, flags = 0): Sys<number> => pathCall('umount2', NR.__NR_umount2, target, flags);

// ---------------------------------------------------------------- modules and power

/** Loads the module in the file at `path`; `parameters` as "name=value name=value". */
export function* finit_module(path: string, parameters = ''): Sys {
  const fd = yield* open(path, O_RDONLY | O_CLOEXEC);
  const buffer = yield* getScratch();
  storeString(buffer, parameters);
  arm(NR.__NR_finit_module, fd, buffer, 0);
  const result = yield;
  putScratch(buffer);
  yield* close(fd);
  check('finit_module', result);
}

export const delete_module = (name: string, flags = O_NONBLOCK): Sys<number> => pathCall('delete_module', NR.__NR_delete_module, name, flags);

/** Stops or restarts the machine at once. `status` is what the simulator exits with, where Linux has an argument for RESTART2 only. */
export const reboot = (command: number, status = 0): Sys<number> => call('reboot', NR.__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, status);
export const sync = (): Sys<number> => call('sync', NR.__NR_sync);

/** Reads the kernel's message buffer (syslog(2) action 3), or changes it (5 clear, 8 console level). */
export function* klogctl(action: number, size: number): Sys<Uint8Array> {
  const pages = Math.ceil(size / 4096) * 4096;
  const buffer = pages > 0 ? yield* mapMemory(pages) : 0;
  arm(NR.__NR_syslog, action, buffer, size);
  const result = yield;
  const bytes = result > 0 && buffer !== 0 ? loadBytes(buffer, Math.min(result, size)) : new Uint8Array(0);
  if (buffer !== 0) yield* call('munmap', NR.__NR_munmap, buffer, pages);
  check('syslog', result);
  return bytes;
}
