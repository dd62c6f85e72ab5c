/** The TLB as software can see it: by what an access costs and by which translation it finds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { PF_VECTOR } from '../../machine/cpu/exceptions.ts';
import { CS, RAX, RBX, RDI, RSP, SS, updateMode } from '../../machine/cpu/state.ts';
import { STOP_FAULT, STOP_LIMIT } from '../../machine/engine/stop.ts';

const CODE = 0x1000, PT = 0x10_0000, WALK = 30;
const DATA = 0x40_0000;

/** 64-bit code at CODE, DATA mapped to `frame` by a 4 KiB page with these rights. */
function machine(code: string, frame = 0x20_0000, rights = 7): BareMachine {
  const m = new BareMachine(16 << 20, { pageWalk: WALK, nestedPageWalk: 100 });
  m.longMode(CODE);
  m.poke(CODE, code);
  m.cpu.gpr[RSP] = 0x9000n;
  m.cpu.gpr[RDI] = BigInt(DATA);
  map(m, frame, rights);
  return m;
}
function map(m: BareMachine, frame: number, rights: number): void {
  const { u64 } = m.ram.mem;
  u64[(m.ram.base + PT + 0x2000 + 2 * 8) >>> 3] = BigInt(PT + 0x3000 | 7);
  u64[(m.ram.base + PT + 0x3000) >>> 3] = BigInt(frame + rights);
}
const entry = (m: BareMachine): bigint => m.ram.mem.u64[(m.ram.base + PT + 0x3000) >>> 3]!;
const again = (m: BareMachine, instructions = 1): number => {
  m.cpu.rip = BigInt(CODE);
  let charged = 0;
  for (let i = 0; i < instructions; i++) {
    assert.equal(m.engine.run(m.cpu, 1), STOP_LIMIT);
    charged += m.engine.charged;
  }
  return charged;
};

test('the first access to a page pays for the walk, the next ones do not, until the TLB is flushed', () => {
  const m = machine('48 8b 07');
  assert.equal(again(m), WALK);
  assert.equal(again(m), 0);
  m.engine.flushTlb(m.cpu);
  assert.equal(again(m), WALK);
  m.engine.flushPage(m.cpu, DATA + 0x123);
  assert.equal(again(m), WALK);
  m.engine.flushPage(m.cpu, DATA + 0x1000);
  assert.equal(again(m), 0);
});

test('reads and writes have entries of their own, and a write sets the dirty bit once', () => {
  const m = machine('48 8b 07 48 89 07');
  assert.equal(again(m, 2), 2 * WALK);
  assert.equal(again(m, 2), 0);
  assert.equal(entry(m) & 0x60n, 0x60n);
  const read = machine('48 8b 07');
  again(read);
  assert.equal(entry(read) & 0x60n, 0x20n, 'a read sets accessed only');
});

test('a translation stays in force after its page table has changed, until it is dropped', () => {
  const m = machine('48 8b 07');
  m.ram.mem.u64[(m.ram.base + 0x20_0000) >>> 3] = 1n;
  m.ram.mem.u64[(m.ram.base + 0x30_0000) >>> 3] = 2n;
  again(m);
  map(m, 0x30_0000, 7);
  again(m);
  assert.equal(m.cpu.gpr[RAX], 1n);
  m.engine.flushPage(m.cpu, DATA);
  again(m);
  assert.equal(m.cpu.gpr[RAX], 2n);
});

test('what the supervisor may reach does not let the user through', () => {
  const m = machine('48 8b 07', 0x20_0000, 3);
  again(m);
  m.cpu.setSegment(CS, 0x1b, 0n, 0xffff_ffff, 0xa0fb);
  m.cpu.setSegment(SS, 0x23, 0n, 0xffff_ffff, 0xc0f3);
  updateMode(m.cpu);
  m.cpu.rip = BigInt(CODE);
  assert.equal(m.engine.run(m.cpu, 1), STOP_FAULT);
  assert.equal(m.engine.fault!.vector, PF_VECTOR);
  assert.equal(m.engine.fault!.error, 5);
});

test('more flushes than there are tags leave nothing behind', () => {
  const m = machine('48 8b 07');
  for (let i = 0; i < 5000; i++) {
    m.engine.flushTlb(m.cpu);
    assert.equal(again(m), WALK);
    assert.equal(again(m), 0);
  }
});

test('pages with translated code and devices cost no walk either once they are known', () => {
  const m = machine('48 89 07', CODE);      // DATA is the page of the code itself
  m.cpu.gpr[RDI] = BigInt(DATA + 0x800);
  assert.equal(again(m), WALK);
  assert.equal(again(m), 0);
  map(m, 0xfee0_0000, 7);
  m.engine.flushTlb(m.cpu);
  const written: string[] = [];
  m.cpu.bus.mmioWrite = (_cpu, address, size, value) => { written.push(`${address.toString(16)} ${size} ${value.toString(16)}`); };
  m.cpu.gpr[RAX] = 0x1234n;
  assert.equal(again(m), WALK);
  assert.equal(again(m), 0);
  assert.deepEqual(written, ['fee00800 8 1234', 'fee00800 8 1234']);
});

const PCIDE = 1n << 17n, PGE = 1n << 7n, KEEP = 1n << 63n, GLOBAL = 0x100;
/** MOV CR3, RBX; MOV RAX, [RDI]: what the load is charged in the address space that RBX names. */
const LOAD_IN_RBX = '0f 22 db 48 8b 07';
const load = (m: BareMachine, cr3: bigint): number => {
  m.cpu.gpr[RBX] = cr3;
  // Each PCID has a page of its own: two of the same number would share an entry.
  m.cpu.gpr[RDI] = BigInt(DATA) + ((cr3 & 2n) << 11n);
  return again(m, 2);
};
function tagged(rights = 7, bits = PCIDE): BareMachine {
  const m = machine(LOAD_IN_RBX, 0x20_0000, rights);
  m.ram.mem.u64[(m.ram.base + PT + 0x3008) >>> 3] = 0x20_1007n;
  m.cpu.state.cr4 |= bits;
  updateMode(m.cpu);
  return m;
}

test('with PCIDs each address space keeps its translations, and a load of CR3 without bit 63 drops its own', () => {
  const m = tagged();
  const one = BigInt(PT) | 1n, two = BigInt(PT) | 2n;
  assert.deepEqual([load(m, one), load(m, two), load(m, one | KEEP), load(m, two | KEEP)], [WALK, WALK, 0, 0]);
  assert.deepEqual([load(m, one), load(m, two | KEEP)], [WALK, 0]);
  m.engine.flushPcid(m.cpu, 1);
  assert.deepEqual([load(m, two | KEEP), load(m, one | KEEP)], [0, WALK]);
  m.engine.flushTlb(m.cpu, true);
  assert.deepEqual([load(m, two | KEEP), load(m, one | KEEP)], [WALK, WALK]);
  m.engine.flushPage(m.cpu, DATA);
  assert.deepEqual([load(m, one | KEEP), load(m, two | KEEP)], [WALK, 0]);
});

test('a global translation of a supervisor page outlives loads of CR3, not INVLPG and not a change of CR4.PGE', () => {
  const m = tagged(3 | GLOBAL, PGE);
  const { u64 } = m.ram.mem;
  assert.deepEqual([load(m, BigInt(PT)), load(m, BigInt(PT)), load(m, BigInt(PT))], [WALK, 0, 0]);
  m.engine.flushPage(m.cpu, DATA);
  assert.deepEqual([load(m, BigInt(PT)), load(m, BigInt(PT))], [WALK, 0]);
  m.engine.flushTlb(m.cpu, true);
  assert.equal(load(m, BigInt(PT)), WALK);
  u64[(m.ram.base + PT + 0x3000) >>> 3] = 0x20_0003n;
  m.engine.flushTlb(m.cpu, true);
  assert.deepEqual([load(m, BigInt(PT)), load(m, BigInt(PT))], [WALK, WALK], 'without G it does not');
});

test('INVLPG drops every part of a large page', () => {
  const m = machine('48 8b 07');
  m.ram.mem.u64[(m.ram.base + PT + 0x2000 + 2 * 8) >>> 3] = 0x60_0087n;
  assert.equal(again(m), WALK);
  m.engine.flushPage(m.cpu, DATA + 0x1f_f000);
  assert.equal(again(m), WALK);
  m.engine.flushPage(m.cpu, DATA + 0x20_0000);
  assert.equal(again(m), 0);
});

test('a page that becomes code is guarded through translations that were written through before', () => {
  const m = machine('8a 0f c6 07 c3 ff d3 c7 07 ff c0 c3 90 ff d3 eb fe', 0x20_0000, 0x67);       // mov cl,[rdi]; mov byte [rdi],ret; call rbx; mov dword [rdi],{inc eax; ret; nop}; call rbx; jmp $
  m.cpu.gpr[RBX] = 0x20_0000n;
  m.cpu.gpr[RAX] = 0n;
  m.engine.run(m.cpu, 1000);
  assert.equal(m.cpu.gpr[RAX], 1n);
});
