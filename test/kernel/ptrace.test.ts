import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as P from '../../abi/ptrace.ts';
import type { Sys } from '../../abi/process.ts';
import { SIGKILL, SIGSTOP, SIGTRAP, SIGUSR1 } from '../../abi/signal.ts';
import { syscall_signatures } from '../../abi/syscall-signatures.ts';
import { syscallName } from '../../abi/syscalls.ts';
import { NR, boot, call, fork, mmap, peek32, self } from './support/boot.ts';
import { init_syscall_table, syscall_table } from '../../kernel/syscall-table.ts';

const ptrace = (request: number, pid: number, address = 0, data = 0): Sys<number> => call(NR.__NR_ptrace, request, pid, address, data);

/** Runs `body` traced and gives what the tracer saw: calls with results, signals, events, the end. */
function trace(body: () => Sys<number | undefined | void>, follow = false): string[] {
  const lines: string[] = [];
  const { status, output } = boot(function* () {
    const page = yield* mmap(4096);
    const first = yield* fork(function* () {
      yield* ptrace(P.PTRACE_TRACEME, 0);
      yield* call(NR.__NR_kill, yield* call(NR.__NR_getpid), SIGSTOP);
      yield* body();
      yield* call(NR.__NR_exit_group, 5);
    });
    const entered = new Map<number, string>();
    for (;;) {
      const pid = yield* call(NR.__NR_wait4, -1, page, 0x4000_0000, 0);
      if (pid < 0) return 0;
      const who = pid === first ? '' : 'child ';
      const status = peek32(page);
      if ((status & 0xff) !== 0x7f) {
        lines.push(`${who}+++ ${(status & 0x7f) === 0 ? `exited with ${status >> 8}` : `killed by ${status & 0x7f}`} +++`);
        continue;
      }
      const signal = (status >> 8) & 0xff;
      let inject = 0;
      if (signal === (SIGTRAP | 0x80)) {
        yield* ptrace(P.PTRACE_GET_SYSCALL_INFO, pid, P.ptrace_syscall_info.size, page + 64);
        const info = P.ptrace_syscall_info.at(self().space, page + 64);
        if (info.op === P.PTRACE_SYSCALL_INFO_ENTRY) entered.set(pid, syscallName(Number(info.entry.nr)));
        else lines.push(`${who}${entered.get(pid)} = ${info.exit.rval}`);
      } else if (status >> 16 !== 0) lines.push(`${who}event ${status >> 16}`);
      else if (signal === SIGSTOP) yield* ptrace(P.PTRACE_SETOPTIONS, pid, 0, P.PTRACE_O_TRACESYSGOOD | (follow ? P.PTRACE_O_TRACEFORK : 0));
      else {
        lines.push(`${who}--- signal ${signal} ---`);
        inject = signal;
      }
      yield* ptrace(P.PTRACE_SYSCALL, pid, 0, inject);
    }
  });
  assert.equal(status, 0, output);
  return lines;
}

test('a tracer sees each call with its result, and the end', () => {
  assert.deepEqual(trace(function* () {
    yield* call(NR.__NR_getppid);
    yield* call(NR.__NR_close, 77);
  }), ['getppid = 1', 'close = -9', '+++ exited with 5 +++']);
});

test('a signal stops the tracee first and is delivered when the tracer says so', () => {
  assert.deepEqual(trace(function* () {
    yield* call(NR.__NR_kill, yield* call(NR.__NR_getpid), SIGUSR1);
  }).slice(1), ['kill = 0', '--- signal 10 ---', '+++ killed by 10 +++']);
});

test('a child is traced from its first call when the tracer follows forks', () => {
  const lines = trace(function* () {
    yield* fork(function* () { yield* call(NR.__NR_getpgrp); yield* call(NR.__NR_exit_group, 1); });
    yield* call(NR.__NR_wait4, -1, 0, 0, 0);
  }, true);
  assert.ok(lines.includes('event 1'), lines.join('\n'));
  assert.ok(lines.some((l) => /^child getpgrp = /.test(l)), lines.join('\n'));
  assert.ok(lines.includes('child +++ exited with 1 +++'));
  assert.equal(lines.at(-1), '+++ exited with 5 +++');
});

test('a traced process can be killed in a stop', () => {
  const { status } = boot(function* () {
    const page = yield* mmap(4096);
    const pid = yield* fork(function* () {
      yield* ptrace(P.PTRACE_TRACEME, 0);
      yield* call(NR.__NR_kill, yield* call(NR.__NR_getpid), SIGSTOP);
    });
    yield* call(NR.__NR_wait4, pid, page, 0, 0);
    yield* call(NR.__NR_kill, pid, SIGKILL);
    yield* call(NR.__NR_wait4, pid, page, 0, 0);
    return peek32(page);
  });
  assert.equal(status, 9);
});

test('every system call of the signature table has its Linux number, and every handler a row', () => {
  init_syscall_table();
  let bound = 0;
  for (const { nr, name } of syscall_signatures) {
    assert.equal(syscallName(nr), name);
    if (syscall_table[nr] !== undefined) bound++;
  }
  assert.ok(bound > 150, `${bound} calls have a handler`);
  assert.equal(new Set(syscall_signatures.map((s) => s.nr)).size, syscall_signatures.length);
});
