import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED } from '../../abi/mman.ts';
import { SIGALRM, SIGKILL } from '../../abi/signal.ts';
import type { Sys } from '../../abi/process.ts';
import { close, fork, kill, loadBytes, mmap, munmap, nice, open, pthread_create, pthread_join, sched_setaffinity, sigaction, storeBytes, usleep, wait4 } from '../../userland/libc.ts';
import { anon, setmem, word64, words } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, chipsProgram, machine, make, next, out, rawIoctl, rm } from './chips-program.ts';
import { holdings } from './fuzz-program.ts';

function notes(body: (sys: number, note: (line: string) => void) => Sys, cpus = 2, seconds = 30): string[] {
  const lines: string[] = [];
  const { status } = run({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], cpus, seconds });
  assert.equal(status, 0);
  return lines;
}
const EFAULT = 14;
/** MOV AL,[2000h]; OUT 10h,AL; JMP back */
const readLoop = [0xa0, 0x00, 0x20, 0xe6, 0x10, 0xeb, 0xf9];
/** INC DWORD [3000h]; JMP back */
const countLoop = [0x66, 0xff, 0x06, 0x00, 0x30, 0xeb, 0xf9];
/** The same with a REP STOSB of 2 KiB in it: much virtual time for little work. */
const fillLoop = [0x66, 0xff, 0x06, 0x00, 0x30, 0xbf, 0x00, 0x20, 0xb9, 0x00, 0x08, 0xf3, 0xaa, 0xeb, 0xf1];
const shown = (g: { m: { runAt: number; run: K.kvm_run } }): string => loadBytes(g.m.runAt + Number(g.m.run.io.data_offset), 1)[0]!.toString(16);

test('a vCPU runs on after its VM was closed, and the last descriptor frees everything', () => {
  const lines = notes(function* body(sys, note) {
    const once = function* once(say: boolean): Sys {
      const g = yield* machine(sys, {}, [...out(0x10, 1), ...out(0x11, 1), HLT], []);
      if (say) note(yield* next(g));
      yield* close(g.m.vm);
      if (say) note(yield* next(g));
      if (say) note(yield* next(g));
      yield* munmap(g.m.runAt, 12288);
      yield* close(g.m.vcpu);
      yield* munmap(g.m.mem, g.m.size);
    };
    yield* once(true);
    const many = function* many(): Sys<number> { for (let i = 0; i < 20; i++) yield* once(false); return 0; };
    yield* wait4(yield* fork(many));
    const before = yield* holdings();
    yield* wait4(yield* fork(many));
    const after = yield* holdings();
    note(after === before ? 'nothing is left' : `${before} became ${after}`);
  });
  assert.deepEqual(lines, ['out 10', 'out 11', `exit ${K.KVM_EXIT_HLT}`, 'nothing is left']);
});

test('killing a process inside KVM_RUN ends its guest and frees all it held', () => {
  const lines = notes(function* body(sys, note) {
    const round = function* round(parts: object, code: readonly number[]): Sys<number> {
      const pid = yield* fork(function* child() {
        const g = yield* machine(sys, parts, code, []);
        yield* next(g);
        return 0;
      });
      yield* usleep(3000);
      yield* kill(pid, SIGKILL);
      return (yield* wait4(pid)).status;
    };
    yield* round({}, countLoop);
    const before = yield* holdings();
    note(`status ${yield* round({}, countLoop)}`);
    // Asleep in HLT, with a timer that ticks.
    note(`status ${yield* round({ irqchip: true, pit: true }, [...out(0x43, 0x34), 0xfa, HLT])}`);
    const after = yield* holdings();
    note(after === before ? 'nothing is left' : `${before} became ${after}`);
  });
  assert.deepEqual(lines.filter((l) => !l.startsWith('out')), ['status 9', 'status 9', 'nothing is left']);
});

test('what the process unmaps or maps anew, its guest loses or sees', () => {
  const lines = notes(function* body(sys, note) {
    const g = yield* machine(sys, {}, readLoop, []);
    g.put(0x2000, Uint8Array.of(0x42));
    note(`${yield* next(g)} ${shown(g)}`);
    g.put(0x2000, Uint8Array.of(0x43));
    note(`${yield* next(g)} ${shown(g)}`);
    yield* munmap(g.m.mem + 0x2000, 4096);
    note(yield* next(g));
    yield* mmap(g.m.mem + 0x2000, 4096, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    storeBytes(g.m.mem + 0x2000, Uint8Array.of(0x44));
    note(`${yield* next(g)} ${shown(g)}`);
    // The same memory, twice in the guest, then not at all.
    note(`slot ${yield* setmem(g.m.vm, 1, 0, 0x100000n, 0x1000, g.m.mem + 0x2000)}`);
    note(`slot ${yield* setmem(g.m.vm, 1, 0, 0x100000n, 0, 0)}`);
    yield* rm(g.m);
  });
  assert.deepEqual(lines, ['out 10 42', 'out 10 43', `error ${EFAULT}`, 'out 10 44', 'slot 0', 'slot 0']);
});

test('memory that changes under a running guest on another processor is gone for it at once', () => {
  const lines = notes(function* body(sys, note) {
    // Loops over reads of 2000h until the page is gone.
    const g = yield* machine(sys, {}, [0xa0, 0x00, 0x20, 0xeb, 0xfb], []);
    const thread = yield* pthread_create(function* vcpu() { note(yield* next(g)); return 0; });
    yield* usleep(2000);
    yield* munmap(g.m.mem + 0x2000, 4096);
    yield* pthread_join(thread);
    yield* rm(g.m);
  });
  assert.deepEqual(lines, [`error ${EFAULT}`]);
});

/** How far two endless guests get on one processor in some time, one of them nice. */
function share(niceness: number): [number, number] {
  let counts: [number, number] = [0, 0];
  notes(function* body(sys) {
    yield* sched_setaffinity(0, 1n);
    const counters = yield* anon(8192);
    storeBytes(counters, new Uint8Array(8192));
    const pids: number[] = [];
    for (let i = 0; i < 2; i++) {
      pids.push(yield* fork(function* child() {
        if (i === 1 && niceness > 0) yield* nice(niceness);
        const g = yield* machine(sys, {}, fillLoop, []);
        // Its counter lies in memory of the parent's.
        yield* setmem(g.m.vm, 0, 0, 0n, 0, 0);
        yield* setmem(g.m.vm, 0, 0, 0n, 0x3000, g.m.mem);
        yield* setmem(g.m.vm, 1, 0, 0x3000n, 0x1000, counters + 4096 * i);
        yield* next(g);
        return 0;
      }));
    }
    yield* usleep(150_000);
    for (const pid of pids) yield* kill(pid, SIGKILL);
    for (const pid of pids) yield* wait4(pid);
    const count = (at: number): number => new DataView(loadBytes(at, 4).buffer).getUint32(0, true);
    counts = [count(counters), count(counters + 4096)];
  }, 1);
  return counts;
}

test('two busy guests share one processor evenly', () => {
  const [a, b] = share(0);
  assert.ok(a > 0 && Math.abs(a - b) / (a + b) < 0.1, `${a} and ${b}`);
});

test('a guest whose process is nice gets what its weight is worth', () => {
  const [a, b] = share(5);
  // 1024 to 335.
  assert.ok(Math.abs(a / b - 1024 / 335) < 0.7, `${a} and ${b}: ${a / b}`);
});

test("a signal ends KVM_RUN with EINTR, and the guest goes on where it was", () => {
  const lines = notes(function* body(_sys, note) {
    const pid = yield* fork(function* guest() {
      yield* sigaction(SIGALRM, function* ignore() {});
      const g = yield* machine(yield* open('/dev/kvm', 2), {}, countLoop, []);
      const regs = yield* make(K.kvm_regs);
      const counts: number[] = [];
      for (let i = 0; i < 2; i++) {
        note(yield* next(g));
        yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
        note(regs.rip === 0x1000n || regs.rip === 0x1005n ? 'in the loop' : `at ${regs.rip.toString(16)}`);
        counts.push(new DataView(loadBytes(g.m.mem + 0x3000, 4).buffer).getUint32(0, true));
      }
      note(counts[1]! > counts[0]! ? 'counted on' : 'stood still');
      return 0;
    });
    for (let i = 0; i < 2; i++) {
      yield* usleep(5000);
      yield* kill(pid, SIGALRM);
    }
    yield* wait4(pid);
  });
  assert.deepEqual(lines, ['error 4', 'in the loop', 'error 4', 'in the loop', 'counted on']);
});

test('a machine check that is corrected stays in its bank; one that is not shuts down a guest that cannot take it', () => {
  const lines = notes(function* body(sys, note) {
    const g = yield* machine(sys, {}, [...out(0x10, 1), HLT], []);
    const set = function* set(status: bigint, bank = 1): Sys<number> { return yield* rawIoctl(g.m.vcpu, K.KVM_X86_SET_MCE.nr, yield* make(K.kvm_x86_mce, { status, addr: 0x1234n, bank })); };
    yield* rawIoctl(g.m.vcpu, K.KVM_X86_SETUP_MCE.nr, yield* words(0x1000104n));
    note(`corrected ${yield* set((1n << 63n) | 5n)}, not valid ${yield* set(5n)}, no such bank ${yield* set(1n << 63n, 4)}`);
    const msrs = yield* words(1n, 0x405n, 0n);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_MSRS.nr, msrs);
    note(`status ${word64(msrs + 16).toString(16)}`);
    note(yield* next(g));
    // Signalled, action required.
    note(`uncorrected ${yield* set((1n << 63n) | (1n << 61n) | (1n << 56n) | (1n << 55n))}`);
    note(yield* next(g));
    yield* rm(g.m);
  });
  assert.deepEqual(lines, ['corrected 0, not valid -22, no such bank -22', 'status 8000000000000005', 'out 10', 'uncorrected 0', `exit ${K.KVM_EXIT_SHUTDOWN}`]);
});
