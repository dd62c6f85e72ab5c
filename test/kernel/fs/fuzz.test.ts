import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buffer, call, fork, mapArena, put, runInit, text, waitFor } from './program.ts';
import { files_stat } from '../../../kernel/fs/file.ts';
import { file_pages } from '../../../kernel/fs/filemap.ts';
import { namespaceState } from '../../../kernel/fs/namespace.ts';
import { log } from '../../../kernel/printk.ts';
import type { Sys } from '../../../abi/process.ts';
import * as NR from '../../../abi/syscalls.ts';

/**
 * Calls that take files, names or descriptors, with what their arguments are meant to be: f descriptor, n name, b buffer, s small
 * number, z size, . nothing. None of these can wait for ever when every file is O_NONBLOCK or regular.
 */
const CALLS: readonly (readonly [name: string, args: string])[] = [
  ['read', 'fbz'], ['write', 'fbz'], ['open', 'nss'], ['open', 'nss'], ['open', 'nss'], ['close', 'f'], ['stat', 'nb'], ['fstat', 'fb'], ['lstat', 'nb'], ['lseek', 'fss'], ['mmap', 'szssfs'], ['munmap', 'sz'],
  ['ioctl', 'fsb'], ['pread64', 'fbzs'], ['pwrite64', 'fbzs'], ['readv', 'fbs'], ['writev', 'fbs'], ['access', 'ns'], ['pipe2', 'bs'], ['dup', 'f'], ['dup2', 'ff'], ['dup3', 'ffs'], ['sendfile', 'ffsz'],
  ['fcntl', 'fss'], ['fsync', 'f'], ['truncate', 'nz'], ['ftruncate', 'fz'], ['getdents64', 'fbz'], ['getcwd', 'bz'], ['chdir', 'n'], ['fchdir', 'f'], ['rename', 'nn'], ['mkdir', 'ns'], ['rmdir', 'n'],
  ['creat', 'ns'], ['link', 'nn'], ['unlink', 'n'], ['symlink', 'nn'], ['readlink', 'nbz'], ['chmod', 'ns'], ['fchmod', 'fs'], ['mknod', 'nss'], ['mount', 'nnns'], ['umount2', 'ns'], ['openat', 'fnss'],
  ['mkdirat', 'fns'], ['unlinkat', 'fns'], ['renameat', 'fnfn'], ['newfstatat', 'fnbs'], ['statx', 'fnssb'], ['statfs', 'nb'], ['fstatfs', 'fb'], ['eventfd2', 'ss'], ['epoll_create1', 's'], ['epoll_ctl', 'fsfb'],
  ['timerfd_create', 'ss'], ['timerfd_settime', 'fsbb'], ['timerfd_gettime', 'fb'], ['signalfd4', 'fbss'], ['memfd_create', 'ns'], ['fallocate', 'fssz'], ['copy_file_range', 'fbfbzs'], ['utimensat', 'fnbs'],
  ['close_range', 'ffs'], ['readlinkat', 'fnbz'], ['fadvise64', 'fsss'], ['chown', 'nss'], ['lchown', 'nss'], ['fchown', 'fss'], ['fchownat', 'fnsss'], ['faccessat2', 'fnss'], ['linkat', 'fnfns'],
  ['symlinkat', 'nfn'], ['renameat2', 'fnfns'], ['mknodat', 'fnss'], ['fchmodat', 'fns'], ['pwritev', 'fbss'], ['preadv', 'fbss'], ['utime', 'nb'],
];

const NAMES = [
  '.', '..', '/', '', 'a', 'b', 'd', 'd/a', 'd/../b', 'a/', '/tmp', '/proc', '/proc/self/fd/4', '/proc/self/status', '/proc/self/maps', '/proc/self', '/proc/1/fd', '/dev/null', '/dev/zero', '/dev/full', '/dev/kmsg', '/dev/tty',
  '/sys', '/sys/devices/system/cpu/online', '/proc/sys/vm/swappiness', 'x'.repeat(300), '/proc/interrupts', '/dev/urandom', 'tmpfs', 'proc', '/proc/self/exe', '/proc/self/cwd', '/proc/thread-self/fdinfo/3', '/bin/init',
];

const SHORT_NAMES = ['a', 'b', 'c', 'd', 'd/a', 'd/b', 'd/d', 'd/d/a', 'e', 'e/..', '.', '..'];

function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** `n` random calls; how many succeeded. */
function* fuzz(seed: number, n: number): Sys<number> {
  const random = generator(seed);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const junk = put(Uint8Array.from({ length: 4096 }, () => random(256)));
  let good = 0;
  for (let i = 0; i < n; i++) {
    const [name, kinds] = pick(CALLS);
    const wild = (): number => pick([-1, -100, 0, 1, 8, 4096, 65536, 2 ** 31 - 1, -(2 ** 31), 2 ** 40, 0x7fff_ffff_f000, -4096, 2 ** 52, 0o2000000, buffer(100), junk + random(4000)]);
    const args = Array.from({ length: 6 }, (_, k) => {
      if (random(8) === 0) return wild();
      switch (kinds[k]) {
        case 'f': return random(10) === 0 ? -100 : 3 + random(16);
        case 'n': return put(new TextEncoder().encode(`${pick(random(4) === 0 ? NAMES : SHORT_NAMES)}\0`));
        case 'b': return random(2) === 0 ? buffer(300) : junk + random(4000);
        case 'z': return random(random(4) === 0 ? 20_000 : 300);
        default: return random(4) === 0 ? pick([0o644, 0o755, 1034, 1033, 0x5451, 0x541b, 0x5401]) : random(8);
      }
    });
    if (name === 'open' || name === 'openat') args[name === 'open' ? 1 : 2] = pick([0, 1, 2, 0o102, 0o102, 0o1102, 0o2102, 0o302, 0o200000, 0o10000000, random(0o10000)]) | 0o4000;
    // the console would be closed or read, and nothing may wait
    if (['read', 'readv', 'close', 'dup2', 'dup3', 'close_range', 'ioctl', 'fcntl', 'write', 'writev', 'sendfile', 'signalfd4'].includes(name)) for (const k of [0, 1]) if (typeof args[k] === 'number' && args[k]! < 3 && args[k]! >= 0) args[k]! += 3;
    if (name === 'pipe2') args[1] = 0o4000;
    if (name === 'eventfd2' || name === 'timerfd_create') args[1] = 0o4000;
    if (name === 'signalfd4') args[3] = 0o4000;
    if (name === 'fcntl' && args[1] === 4) args[2] = 0o4000;
    if (name === 'ioctl' && args[1] === 0x5421) args[1] = 0;
    if (name === 'mmap') { args[0] = 0; args[1] = random(65536); args[3]! &= ~0x10; }
    if (name === 'munmap') { args[0] = 0; args[1] = random(65536); }
    if (name === 'fallocate' || name === 'ftruncate' || name === 'truncate') args[name === 'fallocate' ? 3 : 1] = random(100_000);
    const result = yield* call((NR as unknown as Record<string, number>)[`__NR_${name}`]!, ...args);
    assert.ok(Number.isInteger(result) && result >= -4095 && result !== -512 && result !== -515, `${name}(${args.join(', ')}) answers ${result}`);
    if (result >= 0) good++;
  }
  return good;
}

test('random calls with random arguments never hurt the kernel, and leave no frame behind', () => {
  const calls = 20_000;
  const rounds = 8;
  let good = 0;
  runInit(function* () {
    for (const [dir, type] of [['/proc', 'proc'], ['/sys', 'sysfs'], ['/tmp', 'tmpfs']] as const) yield* call(NR.__NR_mount, type, dir, type, 0, 0);
    put(new Uint8Array(1_000_000));
    // /proc itself may be gone at the end
    const meminfo = yield* call(NR.__NR_open, '/proc/meminfo', 0o2000000, 0);
    yield* call(NR.__NR_dup2, meminfo, 100);
    yield* call(NR.__NR_close, meminfo);
    const free = function* (): Sys<number> {
      const at = buffer(4096);
      return Number(/MemFree: +(\d+)/.exec(text(at, yield* call(NR.__NR_pread64, 100, at, 4096, 0)))![1]);
    };
    const unexplained = function* (): Sys<number> { return (yield* free()) + file_pages().count * 4; };
    let before = 0;
    let open = 0;
    for (let round = 0; round < rounds; round++) {
      if (round === 1) {
        before = yield* unexplained();
        open = files_stat().nr_files;
      }
      const child = yield* fork(function* () {
        yield* mapArena();
        yield* call(NR.__NR_rt_sigaction, 13, new Uint8Array(BigUint64Array.of(1n, 0n, 0n, 0n).buffer), 0, 8);
        yield* call(NR.__NR_mkdir, '/tmp/fuzz', 0o755);
        yield* call(NR.__NR_mount, 'fuzz', '/tmp/fuzz', 'tmpfs', 0, 'size=4m');
        yield* call(NR.__NR_chdir, '/tmp/fuzz');
        good += yield* fuzz(round * 7919 + 1, calls / rounds);
      });
      assert.equal(yield* waitFor(child), 0, `round ${round}: ${log().ring.slice(-14).map((r) => r.text).join("\n")}`);
      while ((yield* call(NR.__NR_umount2, '/tmp/fuzz', 2)) === 0);
    }
    // what is left lies in files that can still be found; everything else is as before
    const found = new Set(namespaceState().mounts.map((m) => m.mnt_sb));
    assert.equal([...found].reduce((n, sb) => n + sb.s_pages, 0), file_pages().count);
    assert.equal(yield* unexplained(), before);
    assert.equal(files_stat().nr_files, open);
    const complaints = log().ring.filter((record) => record.level <= 3).map((record) => record.text);
    assert.deepEqual(complaints, []);
  }, { seconds: 3600 });
  assert.ok(good >= calls / 5, `${good} of ${calls} calls succeeded`);
  console.log(`# ${good} of ${calls} calls succeeded`);
});
