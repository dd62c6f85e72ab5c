import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetCpu } from '../../machine/cpu/reset.ts';
import { CS, type CpuState, DS, ES, FS, GS, SS, updateMode } from '../../machine/cpu/state.ts';
import { Machine } from '../../machine/machine.ts';

const CODE = 0x4000, HANDLER = 0x5000, STACK = 0x8000, DATA = 0x6000, IDT = 0x2000, GDT = 0x1000;

/** Runs code in flat protected mode until HLT; #DB leads to a HLT of its own, with EIP of the frame on top of the stack. */
function run(code: number[], setUp: (cpu: CpuState) => void): { cpu: CpuState; trappedAt: number | undefined; dr6: number } {
  const machine = new Machine({
    memory: 1 << 20, cpus: 1, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: () => {}, read: () => 'eof' }, startDate: 0n },
  });
  const { ram } = machine;
  const { cpu } = machine.processors[0]!;
  machine.startEngine();
  resetCpu(cpu);
  const put = (address: number, bytes: ArrayLike<number>) => ram.mem.u8.set(Array.from(bytes), ram.base + address);
  put(CODE, [...code, 0xf4]);
  put(HANDLER, [0xf4]);
  ram.mem.u64[(ram.base + GDT + 8) / 8] = 0x00cf9b000000ffffn;
  ram.mem.u64[(ram.base + IDT + 8) / 8] = 0x00008e0000080000n | BigInt(HANDLER);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x10, 0n, 0xffff_ffff, 0xc093);
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xc09b);
  cpu.state.cr0 = 0x11n;
  cpu.state.gdtr_base = BigInt(GDT);
  cpu.state.gdtr_limit = 0xf;
  cpu.state.idtr_base = BigInt(IDT);
  cpu.state.idtr_limit = 0xf;
  cpu.rip = BigInt(CODE);
  cpu.gpr[4] = BigInt(STACK);
  setUp(cpu);
  updateMode(cpu);
  let ended = false;
  machine.install({ step: (p) => { if (!ended && p.runBare() !== 'limit') ended = true; if (ended) p.halt(); } });
  machine.run(1_000_000);
  assert.ok(ended);
  const trapped = cpu.rip === BigInt(HANDLER + 1);
  return { cpu, trappedAt: trapped ? ram.mem.u32[(ram.base + Number(cpu.gpr[4])) / 4]! - CODE : undefined, dr6: Number(cpu.state.dr.get(6)) };
}
const arm = (address: number, type: number, length: number) => (cpu: CpuState): void => {
  cpu.state.dr.set(0, BigInt(address));
  cpu.state.dr.set(7, 0x401n | BigInt(type) << 16n | BigInt(length) << 18n);
};
const LOAD = [0xa1, 0x02, 0x60, 0, 0], STORE = [0xa3, 0x02, 0x60, 0, 0], NOP = 0x90;

test('a write breakpoint traps behind the store that touches one of its bytes, and no load', () => {
  const r = run([...LOAD, NOP, ...STORE, NOP], arm(DATA, 1, 3));
  assert.deepEqual([r.trappedAt, r.dr6 & 0xf], [11, 1]);
  assert.equal(run([...STORE, NOP], arm(DATA + 8, 1, 3)).trappedAt, undefined);
});

test('a read-write breakpoint traps behind a load too', () => {
  assert.equal(run([NOP, ...LOAD, NOP], arm(DATA + 4, 3, 0)).trappedAt, 6);
});

test('a breakpoint sees what system instructions store', () => {
  assert.equal(run([0x0f, 0x01, 0x05, 0x00, 0x60, 0, 0, NOP], arm(DATA, 1, 0)).trappedAt, 7);
});

test('an instruction breakpoint is a fault, and RF lets the instruction run', () => {
  assert.deepEqual([run([NOP, NOP, NOP], arm(CODE + 1, 0, 0)).trappedAt], [1]);
  const withRf = run([NOP, NOP, NOP], (cpu) => { arm(CODE, 0, 0)(cpu); cpu.engine.writeFlags(cpu, 0x10002); });
  assert.equal(withRf.trappedAt, undefined);
  assert.equal(withRf.cpu.engine.readFlags(withRf.cpu) & 0x10000, 0, 'RF lasts one instruction');
});

test('a port breakpoint needs CR4.DE', () => {
  const out = [0xe6, 0x80, NOP];
  assert.equal(run(out, arm(0x80, 2, 0)).trappedAt, undefined);
  assert.equal(run(out, (cpu) => { arm(0x80, 2, 0)(cpu); cpu.state.cr4 = 8n; }).trappedAt, 2);
});

test('single-step and a data breakpoint on one instruction make one trap with both causes', () => {
  const r = run([...STORE, NOP], (cpu) => { arm(DATA, 1, 3)(cpu); cpu.engine.writeFlags(cpu, 0x102); });
  assert.deepEqual([r.trappedAt, r.dr6 & 0x400f], [5, 0x4001]);
});

test('what MOV SS hits is told after the next instruction, and single-step does not trap in between', () => {
  const MOV_SS = [0x8e, 0x15, 0x00, 0x60, 0, 0];
  const withStack = (cpu: CpuState): void => {
    arm(DATA, 3, 3)(cpu);
    cpu.mem.u64[(cpu.ram + GDT + 0x10) / 8] = 0x00cf93000000ffffn;
    cpu.mem.u16[(cpu.ram + DATA) / 2] = 0x10;
    cpu.state.gdtr_limit = 0x17;
  };
  const r = run([...MOV_SS, NOP, NOP], withStack);
  assert.deepEqual([r.trappedAt, r.dr6 & 0x400f], [7, 1]);
  const stepped = run([...MOV_SS, NOP, NOP], (cpu) => {
    withStack(cpu);
    cpu.engine.writeFlags(cpu, 0x102);
  });
  assert.deepEqual([stepped.trappedAt, stepped.dr6 & 0x400f], [7, 0x4001]);
});

test('the shadow of MOV SS keeps an instruction breakpoint out, and its instruction runs', () => {
  const MOV_SS = [0x8e, 0x15, 0x00, 0x60, 0, 0];
  const r = run([...MOV_SS, NOP, NOP], (cpu) => {
    arm(CODE + 6, 0, 0)(cpu);
    cpu.mem.u64[(cpu.ram + GDT + 0x10) / 8] = 0x00cf93000000ffffn;
    cpu.mem.u16[(cpu.ram + DATA) / 2] = 0x10;
    cpu.state.gdtr_limit = 0x17;
  });
  assert.deepEqual([r.trappedAt, r.dr6 & 0xf], [undefined, 0]);
  assert.equal(run([NOP, NOP], arm(CODE + 1, 0, 0)).trappedAt, 1);
});

test('with DEBUGCTL.BTF a single step ends at the next branch that is taken, and BTF is cleared', () => {
  const branches = (cpu: CpuState): void => {
    cpu.state.rflags |= 0x100;
    cpu.state.debugctl = 2n;
    cpu.gpr[1] = 3n;
    cpu.gpr[7] = BigInt(DATA);
  };
  const REP_STOSB = [0xf3, 0xaa], JNE_NOT_TAKEN = [0x31, 0xc0, 0x75, 0x02], JMP = [0xeb, 0x02];
  const r = run([NOP, ...REP_STOSB, ...JNE_NOT_TAKEN, ...JMP, NOP, NOP, NOP], branches);
  assert.deepEqual([r.trappedAt, r.dr6 & 0x400f], [11, 0x4000]);
  assert.equal(r.cpu.state.debugctl, 0n);
  assert.equal(run([NOP, ...JMP], (cpu) => { branches(cpu); cpu.state.debugctl = 0n; }).trappedAt, 1, 'without BTF behind any instruction');
  assert.equal(run([NOP, NOP], branches).trappedAt, undefined);
});
