/** SMI and RSM on a bare machine: what the handler finds, and that the program notices nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APIC_DM_SMI } from '../../machine/chips/apic-registers.ts';
import { ACTIVITY_SHUTDOWN, CS, type CpuState, DS, ES, FS, GS, SS, STATE, updateMode } from '../../machine/cpu/state.ts';
import { resetCpu } from '../../machine/cpu/reset.ts';
import { Machine } from '../../machine/machine.ts';
import { TestCpu, enterLong } from './support.ts';

const CODE = 0x4000, TABLES = 0x1_0000, HANDLER = 0x3_8000, MOVED = 0x4_8000, COUNT = 0x500, RSM = [0x0f, 0xaa];
/** INC WORD [CS:…]: a handler reaches low memory through DS, whose base is 0. */
const COUNTING = [0xff, 0x06, COUNT & 0xff, COUNT >> 8];
/** MOV DWORD [CS:FF00h], 40000h: the next SMI finds its handler there. */
const MOVE_SMBASE = [0x66, 0x2e, 0xc7, 0x06, 0x00, 0xff, 0, 0, 4, 0];

interface Run { machine: Machine; cpu: CpuState; stop: string; count: number; word: (at: number) => number }

/** 64-bit code, SMIs at these cycles, until it halts or shuts down, or for 100,000 cycles. */
function run(code: number[], smis: number[], handler: number[], moved: number[] = handler): Run {
  const machine = new Machine({
    memory: 2 << 20, cpus: 1, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: () => {}, read: () => 'eof' }, startDate: 0n },
  });
  const { ram } = machine;
  const p = machine.processors[0]!;
  const { cpu } = p;
  machine.startEngine();
  resetCpu(cpu);
  ram.mem.u8.set(code, ram.base + CODE);
  ram.mem.u8.set(handler, ram.base + HANDLER);
  ram.mem.u8.set(moved, ram.base + MOVED);
  const { u64 } = ram.mem;
  u64[(ram.base + TABLES) >>> 3] = BigInt(TABLES + 0x1007);
  u64[(ram.base + TABLES + 0x1000) >>> 3] = 0x87n;
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x10, 0n, 0xffff_ffff, 0xc093);
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xa09b);
  Object.assign(cpu.state, { cr0: 0x8000_0011n, cr3: BigInt(TABLES), cr4: 0x20n, efer: 0x500n });
  cpu.rip = BigInt(CODE);
  cpu.gpr[4] = 0x9000n;
  updateMode(cpu);
  let stop = '';
  machine.install({ step: (q) => {
    const why = q.runBare();
    if (why === 'shutdown') stop = why;
    if (why !== 'limit') q.halt();
  } });
  for (const at of smis) machine.at(at, () => p.lapic.receive({ vector: 0, deliveryMode: APIC_DM_SMI, logical: false, destination: 0, level: false, assert: true }));
  machine.run(100_000);
  return { machine, cpu, stop, count: ram.mem.u16[(ram.base + COUNT) >>> 1]!, word: (at) => ram.mem.u32[(ram.base + at) >>> 2]! };
}
/** MOV ECX, 10000; ADD RAX, RCX; LOOP; HLT; JMP back to it */
const SUM = [0xb9, 0x10, 0x27, 0, 0, 0x48, 0x01, 0xc8, 0xe2, 0xfb, 0xf4, 0xeb, 0xfd];

test('a program in 64-bit mode goes on behind an SMI as if there had been none, and SMBASE can be moved', () => {
  const plain = run(SUM, [], []);
  const r = run(SUM, [3000, 7000], [...COUNTING, ...MOVE_SMBASE, ...RSM], [...COUNTING, ...COUNTING, ...RSM]);
  assert.equal(r.count, 3, 'once here, twice where SMBASE was moved to');
  assert.deepEqual([...r.cpu.gpr], [...plain.cpu.gpr]);
  assert.deepEqual([r.cpu.rip, r.cpu.longMode, r.cpu.segAccess(CS), r.cpu.engine.readFlags(r.cpu)], [plain.cpu.rip, true, 0xa09b, plain.cpu.engine.readFlags(plain.cpu)]);
  assert.equal(r.cpu.gpr[0], 50_005_000n);
  assert.deepEqual([r.word(0x3_fefc), r.word(0x3_fed0), r.word(0x3_ff58)], [0x2_0064, 0x500, 0x8000_0011], 'revision, EFER, CR0 in the save area');
});

test('an SMI that comes in the handler waits for RSM, and one that finds the processor halted leaves it so', () => {
  const slow = [0xb9, 0x10, 0x27, 0xe2, 0xfe, ...COUNTING, ...RSM];
  assert.equal(run(SUM, [3000, 3500], slow).count, 2);
  const halted = run(SUM, [60_000], [...COUNTING, ...RSM]);
  assert.deepEqual([halted.count, halted.cpu.rip], [1, BigInt(CODE + 11)]);
});

test('RSM with values no register takes is a shutdown', () => {
  const corrupt = [0x66, 0x2e, 0xc7, 0x06, 0x58, 0xff, 0, 0, 0, 0x80, ...RSM];
  const r = run(SUM, [3000], corrupt);
  assert.deepEqual([r.stop, r.cpu.u32[STATE.activity >>> 2]], ['shutdown', ACTIVITY_SHUTDOWN]);
});

test('outside system management mode RSM is #UD', () => {
  const t = new TestCpu();
  assert.equal(t.execute(...RSM)?.vector, 6);
  enterLong(t);
  assert.equal(t.execute(...RSM)?.vector, 6);
});
