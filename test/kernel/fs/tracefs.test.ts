import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EINVAL } from '../../../abi/errno.ts';
import { O_APPEND, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } from '../../../abi/fcntl.ts';
import type { Sys } from '../../../abi/process.ts';
import * as NR from '../../../abi/syscalls.ts';
import { buffer, call, fork, readFile, runInit, text, waitFor } from './program.ts';

const T = '/sys/kernel/tracing';

/** `echo text > file`, or `>> file`: what the write answers. */
function* echo(content: string, file: string, append = false): Sys<number> {
  const fd = yield* call(NR.__NR_open, `${T}/${file}`, O_WRONLY | (append ? O_APPEND : O_TRUNC), 0);
  assert.ok(fd >= 0, file);
  const result = yield* call(NR.__NR_write, fd, `${content}\n`, content.length + 1);
  yield* call(NR.__NR_close, fd);
  return result;
}

const withTracing = (body: () => Sys<void>) => runInit(function* () {
  yield* call(NR.__NR_mount, 'sysfs', '/sys', 'sysfs', 0, 0);
  assert.equal(yield* call(NR.__NR_mount, 'tracefs', T, 'tracefs', 0, 0), 0);
  yield* body();
});

test('set_event turns trace points on and off by name, and > starts anew', () => {
  withTracing(function* () {
    assert.match(yield* readFile(`${T}/available_events`), /^sched:sched_switch$/m);
    assert.equal(yield* readFile(`${T}/set_event`), '');
    assert.ok((yield* echo('sched:sched_switch', 'set_event')) > 0);
    assert.ok((yield* echo('irq', 'set_event', true)) > 0);
    assert.equal(yield* readFile(`${T}/set_event`), 'sched:sched_switch\nirq:irq_handler_entry\nirq:irq_handler_exit\n');
    assert.ok((yield* echo('!irq:*', 'set_event', true)) > 0);
    assert.equal(yield* readFile(`${T}/events/irq/enable`), '0\n');
    assert.equal(yield* readFile(`${T}/events/sched/enable`), 'X\n');
    assert.equal(yield* readFile(`${T}/events/sched/sched_switch/enable`), '1\n');
    assert.equal(yield* echo('no_such_event', 'set_event', true), -EINVAL);
    yield* echo('', 'set_event');
    assert.equal(yield* readFile(`${T}/set_event`), '');
    assert.ok((yield* echo('1', 'events/enable')) > 0);
    assert.equal(yield* readFile(`${T}/events/enable`), '1\n');
    yield* echo('0', 'events/enable');
  });
});

test('trace shows what happened in the format of Linux, and is emptied by writing to it', () => {
  withTracing(function* () {
    yield* echo('1', 'events/sched/sched_process_fork/enable');
    for (let i = 0; i < 3; i++) yield* waitFor(yield* fork(function* () {}));
    yield* echo('0', 'tracing_on');
    yield* waitFor(yield* fork(function* () {}));
    const trace = yield* readFile(`${T}/trace`);
    assert.match(trace, /^# tracer: nop\n#\n# entries-in-buffer\/entries-written: 3\/3 {3}#P:1\n/);
    const lines = trace.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.equal(lines.length, 3);
    for (const line of lines) assert.match(line, /^ {12}init-1 {6} \[000\] \S{5} {5}\d\.\d{6}: sched_process_fork: comm=init pid=1 child_comm=init child_pid=\d+$/);
    yield* echo('', 'trace');
    assert.match(yield* readFile(`${T}/trace`), /written: 0\/0/);
    yield* echo('0', 'events/enable');
  });
});

test('each system call has a trace point for its begin and its end, with its parameters by name', () => {
  withTracing(function* () {
    yield* echo('syscalls:sys_enter_lseek syscalls:sys_exit_lseek raw_syscalls:sys_enter', 'set_event');
    yield* call(NR.__NR_lseek, 77, -1, 2);
    yield* echo('', 'set_event');
    const lines = (yield* readFile(`${T}/trace`)).split('\n').filter((line) => /lseek|NR 8 /.test(line)).map((line) => line.slice(line.indexOf(': ') + 2));
    assert.deepEqual(lines, ['sys_enter: NR 8 (4d, ffffffffffffffff, 2, 0, 0, 0)', 'sys_lseek(fd: 4d, offset: ffffffffffffffff, whence: 2)', 'sys_lseek -> 0xfffffffffffffff7']);
    const format = yield* readFile(`${T}/events/syscalls/sys_enter_newstat/format`);
    assert.match(format, /\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:const char \* filename;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:struct stat \* statbuf;\toffset:24;/);
    assert.match(format, /print fmt: "filename: 0x%08lx, statbuf: 0x%08lx", \(\(unsigned long\)\(REC->filename\)\), \(\(unsigned long\)\(REC->statbuf\)\)\n$/);
  });
});

test('trace_pipe gives each record once and waits for the next', () => {
  withTracing(function* () {
    yield* echo('sched_process_fork', 'set_event');
    const fd = yield* call(NR.__NR_open, `${T}/trace_pipe`, O_RDONLY | O_NONBLOCK, 0);
    const at = buffer(4096);
    assert.equal(yield* call(NR.__NR_read, fd, at, 4096), -11);
    yield* waitFor(yield* fork(function* () {}));
    const n = yield* call(NR.__NR_read, fd, at, 4096);
    assert.match(text(at, n), /sched_process_fork/);
    assert.equal(yield* call(NR.__NR_read, fd, at, 4096), -11);
    const waiting = yield* call(NR.__NR_open, `${T}/trace_pipe`, O_RDONLY, 0);
    const child = yield* fork(function* () {
      yield* call(NR.__NR_nanosleep, new Uint8Array(BigInt64Array.of(0n, 5_000_000n).buffer), 0);
      yield* waitFor(yield* fork(function* () {}));
    });
    assert.match(text(at, yield* call(NR.__NR_read, waiting, at, 4096)), /child_pid/);
    assert.match(text(at, yield* call(NR.__NR_read, waiting, at, 4096)), /child_pid/);
    yield* waitFor(child);
    yield* echo('', 'set_event');
  });
});

test('a format file gives the layout of a record and its print format, made from the declaration', () => {
  withTracing(function* () {
    const id = (yield* readFile(`${T}/events/sched/sched_wakeup/id`)).trim();
    assert.equal(yield* readFile(`${T}/events/sched/sched_wakeup/format`), `name: sched_wakeup
ID: ${id}
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:char comm[16];	offset:8;	size:16;	signed:0;
	field:int pid;	offset:24;	size:4;	signed:1;
	field:int prio;	offset:28;	size:4;	signed:1;
	field:int target_cpu;	offset:32;	size:4;	signed:1;

print fmt: "comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu
`);
    // an unsigned long begins at a multiple of its size
    assert.match(yield* readFile(`${T}/events/raw_syscalls/sys_exit/format`), /field:long id;\toffset:8;\tsize:8;\tsigned:1;\n\tfield:long ret;\toffset:16;/);
  });
});

test('the clock x86-tsc tells the time of a line in cycles, and changing it empties the buffer', () => {
  withTracing(function* () {
    assert.equal(yield* readFile(`${T}/trace_clock`), '[local] x86-tsc\n');
    yield* echo('sched_process_fork', 'set_event');
    yield* waitFor(yield* fork(function* () {}));
    yield* echo('x86-tsc', 'trace_clock');
    assert.match(yield* readFile(`${T}/trace`), /written: 0\/0/);
    yield* waitFor(yield* fork(function* () {}));
    assert.match(yield* readFile(`${T}/trace`), /\] \S{5} +\d+: sched_process_fork: /);
    assert.equal(yield* echo('sundial', 'trace_clock'), -EINVAL);
    yield* echo('local', 'trace_clock');
    yield* echo('', 'set_event');
  });
});

test('a filter lets only records pass that fulfil its condition, and 0 takes it away', () => {
  withTracing(function* () {
    const filter = 'events/sched/sched_process_fork/filter';
    assert.equal(yield* readFile(`${T}/${filter}`), 'none\n');
    yield* echo('sched_process_fork', 'set_event');
    const recorded = function* (condition: string): Sys<boolean> {
      assert.ok((yield* echo(condition, filter)) > 0, condition);
      yield* echo('', 'trace');
      yield* waitFor(yield* fork(function* () {}));
      return /sched_process_fork/.test(yield* readFile(`${T}/trace`));
    };
    for (const [condition, passes] of [
      ['parent_pid == 1', true], ['parent_pid != 1', false], ['parent_pid >= 0x1 && child_pid > 1', true], ['parent_pid < 1 || child_pid & 0', false],
      ['parent_comm == init', true], ['parent_comm ~ "in*"', true], ["parent_comm != 'init'", false], ['!(parent_pid == 2 || common_pid == 3)', true], ['0', true],
    ] as const) assert.equal(yield* recorded(condition), passes, condition);
    yield* echo('parent_pid == 1', filter);
    assert.equal(yield* readFile(`${T}/${filter}`), 'parent_pid == 1\n');
    for (const wrong of ['nothing == 1', 'parent_pid ==', 'parent_pid == x', 'parent_pid ~ 1', '(parent_pid == 1', 'parent_pid == 1 child_pid', `${'('.repeat(3000)}parent_pid == 1`]) {
      assert.equal(yield* echo(wrong, filter), -EINVAL, wrong);
    }
    assert.equal(yield* readFile(`${T}/${filter}`), 'none\n');
    yield* echo('', 'set_event');
  });
});
