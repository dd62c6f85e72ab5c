import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EPERM, ESRCH } from '../../../abi/errno.ts';
import { O_RDONLY, O_TRUNC, O_WRONLY } from '../../../abi/fcntl.ts';
import { type Sys, cpu } from '../../../abi/process.ts';
import * as NR from '../../../abi/syscalls.ts';
import { buffer, call, fork, readFile, runInit, text, waitFor } from './program.ts';

const sleep = (ms: number) => call(NR.__NR_nanosleep, new Uint8Array(BigInt64Array.of(0n, BigInt(ms) * 1_000_000n).buffer), 0);

/** Runs `body` with proc and sysfs mounted. */
const withProc = (body: () => Sys<void>, cpus = 2) => runInit(function* () {
  assert.equal(yield* call(NR.__NR_mount, 'proc', '/proc', 'proc', 0, 0), 0);
  assert.equal(yield* call(NR.__NR_mount, 'sysfs', '/sys', 'sysfs', 0, 0), 0);
  yield* body();
}, { cpus });

/** The recorded text of a file of Linux 6.x, and how ours is compared with it: what differs by nature is blotted out. */
const recorded = JSON.parse(readFileSync(new URL('../../golden/proc.json', import.meta.url), 'utf8')) as Record<string, string>;
/** Names of the lines: what stands before the first colon, or the first word. */
const keys = (content: string): string[] => content.split('\n').filter((line) => line !== '').map((line) => /^([^:]*):/.exec(line)?.[1] ?? line.split(/\s/)[0]!);
/** A line's shape: digits as 0, runs of blanks as they are. */
const shape = (line: string): string => line.replace(/[0-9a-f]{16}/g, 'H').replace(/\d+/g, '0');

test('status, limits and meminfo have the lines of Linux, in its order', () => {
  withProc(function* () {
    for (const [name, file] of [['status', '/proc/self/status'], ['meminfo', '/proc/meminfo']] as const) {
      const ours = keys(yield* readFile(file));
      const linux = keys(recorded[name]!).filter((key) => !LEFT_OUT.has(key));
      assert.deepEqual(ours, linux);
    }
    const limits = (yield* readFile('/proc/self/limits')).split('\n');
    const linux = recorded['limits']!.split('\n');
    assert.equal(limits[0], linux[0]);
    assert.deepEqual(limits.map((line) => line.slice(0, 25)), linux.map((line) => line.slice(0, 25)));
    assert.deepEqual(limits.map((line) => line.slice(68)), linux.map((line) => line.slice(68)));
  });
});
/** Lines of kernel options that this kernel does not have. */
const LEFT_OUT = new Set(['AnonHugePages', 'ShmemHugePages', 'ShmemPmdMapped', 'FileHugePages', 'FilePmdMapped', 'Balloon', 'DirectMap1G']);

test('columns of status and meminfo stand where Linux puts them', () => {
  withProc(function* () {
    for (const [name, file] of [['status', '/proc/self/status'], ['meminfo', '/proc/meminfo']] as const) {
      const linux = new Map(recorded[name]!.split('\n').map((line) => [keys(line)[0], line]));
      for (const line of (yield* readFile(file)).split('\n')) {
        const theirs = linux.get(keys(line)[0]);
        if (theirs === undefined || !/ kB$/.test(line)) continue;
        assert.equal(line.length, theirs.length, `${JSON.stringify(line)} is as wide as ${JSON.stringify(theirs)}`);
      }
    }
  });
});

test('stat has 52 fields that tell of the process', () => {
  withProc(function* () {
    const child = yield* fork(function* () {
      yield* call(NR.__NR_prctl, 15, 'a (b) c', 0, 0, 0);
      yield* call(NR.__NR_setpriority, 0, 0, 5);
      cpu.current!.burnt = 60_000_000;
      yield* sleep(20);
    });
    yield* sleep(70);
    const line = yield* readFile(`/proc/${child}/stat`);
    const [, pid, comm, rest] = /^(\d+) \((.*)\) (.*)\n$/s.exec(line)!;
    const fields = rest!.split(' ');
    assert.equal(Number(pid), child);
    assert.equal(comm, 'a (b) c');
    assert.equal(fields.length, 50);
    assert.equal(fields.length, /\) (.*)\n?$/.exec(recorded['stat']!)![1]!.split(' ').length);
    assert.deepEqual(fields.slice(0, 2), ['S', '1']);
    assert.equal(fields[16 - 1], '25', 'priority 20 + nice');
    assert.equal(fields[17 - 1], '5', 'nice');
    assert.equal(fields[18 - 1], '1', 'threads');
    assert.ok(Number(fields[11]) >= 5 && Number(fields[11]) <= 7, `${fields[11]} ticks of user time`);
    yield* call(NR.__NR_kill, child, 9);
    yield* waitFor(child);
    assert.equal(yield* call(NR.__NR_open, `/proc/${child}/stat`, O_RDONLY, 0), -2);
  });
});

test('files of a process that is gone answer ESRCH', () => {
  withProc(function* () {
    const child = yield* fork(function* () { yield* sleep(1000); });
    const fd = yield* call(NR.__NR_open, `/proc/${child}/status`, O_RDONLY, 0);
    assert.ok(fd > 0);
    yield* call(NR.__NR_kill, child, 9);
    yield* sleep(1);
    const at = buffer(4096);
    const n = yield* call(NR.__NR_read, fd, at, 4096);
    assert.match(text(at, n), /^State:\tZ \(zombie\)$/m);
    yield* waitFor(child);
    yield* call(NR.__NR_lseek, fd, 0, 0);
    assert.equal(yield* call(NR.__NR_read, fd, at, 4096), -ESRCH);
  });
});

test('maps prints areas in the format of Linux', () => {
  withProc(function* () {
    const fd = yield* call(NR.__NR_open, '/bin/init', O_RDONLY, 0);
    const at = yield* call(NR.__NR_mmap, 0, 8192, 1, 2, fd, 0);
    const maps = (yield* readFile('/proc/self/maps')).trimEnd().split('\n');
    for (const line of maps) assert.match(line, /^[0-9a-f]{8,12}-[0-9a-f]{8,12} [r-][w-][x-][sp] [0-9a-f]{8} [0-9a-f]{2}:[0-9a-f]{2} \d+ {1,}(\S.*)?$/);
    const stack = maps.find((line) => line.endsWith('[stack]'))!;
    assert.equal(stack.indexOf('[stack]'), recorded['maps']!.split('\n').find((line) => line.endsWith('[stack]'))!.indexOf('[stack]'));
    assert.match(maps.find((line) => line.startsWith(at.toString(16)))!, / r--p 00000000 00:\d\d \d+ +\/bin\/init$/);
    assert.match(yield* readFile('/proc/self/smaps'), /^Rss: {19}\d kB$/m);
  });
});

test('interrupts, stat, schedstat, uptime and loadavg have the shape of Linux', () => {
  withProc(function* () {
    cpu.current!.burnt = 200_000_000;
    yield* sleep(300);
    const interrupts = (yield* readFile('/proc/interrupts')).split('\n');
    const linux = recorded['interrupts']!.split('\n');
    assert.equal(interrupts[0], linux[0]);
    const timer = (lines: string[]) => lines.find((line) => line.startsWith('LOC:'))!;
    assert.equal(timer(interrupts).length, timer(linux).length);
    assert.equal(timer(interrupts).slice(-25), timer(linux).slice(-25));
    const serial = (lines: string[]) => shape(lines.find((line) => line.endsWith('ttyS0'))!.slice(26));
    assert.equal(serial(interrupts), serial(linux));
    const stat = (yield* readFile('/proc/stat')).split('\n');
    assert.match(stat[0]!, /^cpu {2}\d+( \d+){9}$/);
    assert.match(stat[1]!, /^cpu0 \d+( \d+){9}$/);
    const user = Number(stat[0]!.split(/\s+/)[1]);
    assert.ok(user >= 19 && user <= 22, `${user} ticks of user time`);
    assert.deepEqual(stat.slice(3).map((line) => line.split(' ')[0]), ['intr', 'ctxt', 'btime', 'processes', 'procs_running', 'procs_blocked', 'softirq', '']);
    assert.match(yield* readFile('/proc/uptime'), /^0\.5\d \d\.\d\d\n$/);
    assert.match(yield* readFile('/proc/loadavg'), /^\d\.\d\d \d\.\d\d \d\.\d\d \d+\/\d+ \d+\n$/);
    assert.match(yield* readFile('/proc/schedstat'), /^version 16\ntimestamp \d+\ncpu0( \d+){9}\ncpu1( \d+){9}\n/);
  });
});

test('self, thread-self, exe, cwd and fd lead where they should', () => {
  withProc(function* () {
    const at = buffer(64);
    const link = function* (name: string): Sys<string> {
      const n = yield* call(NR.__NR_readlink, name, at, 64);
      assert.ok(n >= 0, name);
      return text(at, n);
    };
    assert.equal(yield* link('/proc/self'), '1');
    assert.equal(yield* link('/proc/thread-self'), '1/task/1');
    assert.equal(yield* link('/proc/self/exe'), '/bin/init');
    yield* call(NR.__NR_chdir, '/tmp');
    assert.equal(yield* link('/proc/self/cwd'), '/tmp');
    assert.equal(yield* link('/proc/1/fd/1'), '/dev/console');
    yield* call(NR.__NR_pipe2, buffer(8), 0);
    assert.match(yield* link('/proc/self/fd/3'), /^pipe:\[\d+\]$/);
    assert.equal(yield* call(NR.__NR_eventfd2, 9, 0), 5);
    assert.equal(yield* link('/proc/self/fd/5'), 'anon_inode:[eventfd]');
    assert.match(yield* readFile('/proc/self/fdinfo/5'), /^pos:\t0\nflags:\t02\nmnt_id:\t\d+\nino:\t\d+\neventfd-count: {16}9\n/);
    assert.equal(yield* readFile('/proc/self/cmdline'), '/bin/init\0');
    assert.equal(yield* readFile('/proc/self/comm'), 'init\n');
    assert.equal(yield* readFile('/proc/self/task/1/comm'), 'init\n');
  });
});

test('settings under /proc/sys can be read, and written where Linux lets one', () => {
  withProc(function* () {
    assert.equal(yield* readFile('/proc/sys/kernel/ostype'), 'Linux\n');
    const fd = yield* call(NR.__NR_open, '/proc/sys/vm/swappiness', O_WRONLY | O_TRUNC, 0);
    assert.equal(yield* call(NR.__NR_write, fd, '10\n', 3), 3);
    assert.equal(yield* readFile('/proc/sys/vm/swappiness'), '10\n');
    const fixed = yield* call(NR.__NR_open, '/proc/sys/kernel/ostype', O_WRONLY, 0);
    assert.equal(yield* call(NR.__NR_write, fixed, 'x', 1), -EPERM);
    assert.equal(yield* readFile('/sys/devices/system/cpu/online'), '0-1\n');
  });
});
