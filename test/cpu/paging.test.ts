import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Fault, PFERR_FETCH, PFERR_PRESENT, PFERR_RSVD, PFERR_USER, PFERR_WRITE } from '../../machine/cpu/exceptions.ts';
import { MAXPHYADDR, found, loadPdptes, peekTranslate, walk } from '../../machine/cpu/paging.ts';
import { EFER_LMA, EFER_LME, EFER_NX, STATE, X86_CR0_PE, X86_CR0_PG, X86_CR0_WP, X86_CR4_PAE, X86_CR4_PSE, X86_CR4_SMAP, X86_CR4_SMEP, X86_EFLAGS_AC, updateMode } from '../../machine/cpu/state.ts';
import { TestCpu } from './support.ts';

const P = 1n, W = 2n, U = 4n, A = 0x20n, D = 0x40n, PS = 0x80n, NX = 1n << 63n;

/** The error code of the page fault an access raises, or the physical address it gets. */
function attempt(t: TestCpu, linear: number, access: number): { error: number } | { physical: number } {
  try {
    return { physical: walk(t.cpu, linear, access) };
  } catch (e) {
    assert.ok(e instanceof Fault);
    assert.equal(e.vector, 14);
    assert.equal(e.address, linear);
    return { error: e.error };
  }
}

function longMode(t: TestCpu): void {
  const { state } = t.cpu;
  state.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP;
  state.cr4 = X86_CR4_PAE;
  state.efer = EFER_LME | EFER_LMA | EFER_NX;
  state.cr3 = 0x1_0000n;
  updateMode(t.cpu);
}

test('without paging a linear address is the physical one, cut to 32 bits', () => {
  const t = new TestCpu();
  assert.equal(walk(t.cpu, 0x1234_5678, PFERR_WRITE), 0x1234_5678);
  assert.equal(walk(t.cpu, 0xffff_fff0, 0), 0xffff_fff0);
});

test('4-level paging translates 4 KiB, 2 MiB and 1 GiB pages and the upper half', () => {
  const t = new TestCpu();
  longMode(t);
  t.write64(0x1_0000, 0x1_1000n | P | W | U);
  t.write64(0x1_0000 + 511 * 8, 0x1_1000n | P | W | U);
  t.write64(0x1_1000, 0x1_2000n | P | W | U);
  t.write64(0x1_1008, 0x4000_0000n | P | W | U | PS);
  t.write64(0x1_2000, 0x1_3000n | P | W | U);
  t.write64(0x1_2008, 0x60_0000n | P | W | U | PS);
  t.write64(0x1_3000 + 5 * 8, 0x7_7000n | P | W | U);
  assert.equal(walk(t.cpu, 0x5123, 0), 0x7_7123);
  assert.equal(found.pageSize, 4096);
  assert.equal(walk(t.cpu, 0x20_0000 + 0x12_3456, 0), 0x72_3456);
  assert.equal(found.pageSize, 0x20_0000);
  assert.equal(walk(t.cpu, 0x4000_0000 + 0x123_4567, 0), 0x4123_4567);
  assert.equal(found.pageSize, 0x4000_0000);
  assert.equal(walk(t.cpu, -(2 ** 39) + 0x5123, 0), 0x7_7123, 'entry 511 of the top table is the top of the address space');
  assert.equal(peekTranslate(t.cpu, -(2 ** 39) + 0x5123), 0x7_7123);
});

test('PAE paging takes its top entries from registers and refuses reserved bits when they are loaded', () => {
  const t = new TestCpu();
  const { state } = t.cpu;
  t.write64(0x1_0020, 0x1_1000n | P);
  t.write64(0x1_0028, 0n);
  t.write64(0x1_1000, 0x1_2000n | P | W | U);
  t.write64(0x1_2000, 0x5000n | P | W | U);
  assert.ok(loadPdptes(t.cpu, 0x1_0020n));
  state.cr0 = X86_CR0_PE | X86_CR0_PG;
  state.cr4 = X86_CR4_PAE;
  state.cr3 = 0x1_0020n;
  t.write64(0x1_0020, 0n);
  assert.equal(walk(t.cpu, 0x123, 0), 0x5123);
  assert.deepEqual(attempt(t, 0x4000_0000, 0), { error: 0 });
  t.write64(0x1_0020, 0x1_1000n | P | W);
  assert.equal(loadPdptes(t.cpu, 0x1_0020n), false, 'bit 1 of a PDPTE is reserved');
  t.write64(0x1_2000, 0x5000n | P | NX);
  assert.deepEqual(attempt(t, 0x123, 0), { error: PFERR_PRESENT | PFERR_RSVD }, 'NX is reserved while EFER.NXE is 0');
});

test('32-bit paging has 4 MiB pages with PSE only, and puts address bits 39:32 in their bits 20:13', () => {
  const t = new TestCpu();
  const { state } = t.cpu;
  state.cr0 = X86_CR0_PE | X86_CR0_PG;
  state.cr3 = 0x1_0000n;
  t.write32(0x1_0000 + 4, 0x0040_0000 | 0x87);
  assert.deepEqual(attempt(t, 0x40_0123, 0), { physical: 0xffff_f123 }, 'without PSE the entry names a page table; this one lies outside RAM, where all ones are read');
  state.cr4 = X86_CR4_PSE;
  assert.equal(walk(t.cpu, 0x41_2345, 0), 0x41_2345);
  assert.equal(found.pageSize, 0x40_0000);
  t.write32(0x1_0000 + 8, 0x0040_0000 | 3 << 13 | 0x87);
  assert.equal(walk(t.cpu, 0x80_0000, 0), 3 * 2 ** 32 + 0x40_0000);
  t.write32(0x1_0000 + 8, 0x0060_0000 | 0x87);
  assert.deepEqual(attempt(t, 0x80_0000, 0), { error: PFERR_PRESENT | PFERR_RSVD }, 'bit 21 is reserved');
});

test('reserved bits above MAXPHYADDR fault with RSVD whatever the access', () => {
  const t = new TestCpu();
  longMode(t);
  t.write64(0x1_0000, 0x1_1000n | P | W | U | 1n << BigInt(MAXPHYADDR));
  assert.deepEqual(attempt(t, 0, PFERR_USER | PFERR_WRITE), { error: PFERR_PRESENT | PFERR_RSVD | PFERR_USER | PFERR_WRITE });
  t.write64(0x1_0000, 0x1_1000n | P | W | U);
  t.write64(0x1_1000, PS | P | 1n << BigInt(MAXPHYADDR - 1));
  assert.deepEqual(attempt(t, 0, 0), { physical: 2 ** (MAXPHYADDR - 1) });
});

test('SMAP keeps ring 0 from user pages unless RFLAGS.AC is set, and always from implicit accesses', () => {
  const t = new TestCpu();
  longMode(t);
  t.cpu.state.cr4 |= X86_CR4_SMAP;
  t.write64(0x1_0000, 0x1_1000n | P | W | U);
  t.write64(0x1_1000, PS | P | W | U);
  assert.deepEqual(attempt(t, 0, 0), { error: PFERR_PRESENT });
  t.cpu.state.rflags |= X86_EFLAGS_AC;
  assert.deepEqual(attempt(t, 0, 0), { physical: 0 });
  assert.deepEqual(attempt(t, 0, 0x100), { error: PFERR_PRESENT });
  t.cpu.state.cr4 |= X86_CR4_SMEP;
  assert.deepEqual(attempt(t, 0, PFERR_FETCH), { error: PFERR_PRESENT | PFERR_FETCH }, 'SMEP knows no AC');
});

// ---------------------------------------------------------------- the rule itself, written out again the slow way

interface World { levels: bigint[]; wp: boolean; smep: boolean; smap: boolean; ac: boolean; nxe: boolean; access: number }
const flagBits = fc.record({ p: fc.boolean(), w: fc.boolean(), u: fc.boolean(), a: fc.boolean(), d: fc.boolean(), nx: fc.boolean() });
const world: fc.Arbitrary<World> = fc.record({
  levels: fc.array(flagBits.map((f) => (f.p ? P : 0n) | (f.w ? W : 0n) | (f.u ? U : 0n) | (f.a ? A : 0n) | (f.d ? D : 0n) | (f.nx ? NX : 0n)), { minLength: 4, maxLength: 4 }),
  wp: fc.boolean(), smep: fc.boolean(), smap: fc.boolean(), ac: fc.boolean(), nxe: fc.boolean(),
  access: fc.constantFrom(0, PFERR_WRITE, PFERR_FETCH, PFERR_USER, PFERR_USER | PFERR_WRITE, PFERR_USER | PFERR_FETCH),
});

/** SDM 4.6 and 4.7 for one page mapped through four entries: the error code, or undefined when the access is right. */
function expected(w: World): number | undefined {
  const { levels, access } = w;
  const user = (access & PFERR_USER) !== 0, write = (access & PFERR_WRITE) !== 0, fetch = (access & PFERR_FETCH) !== 0;
  const id = fetch && (w.nxe || w.smep) ? PFERR_FETCH : 0;
  for (const entry of levels) {
    if (!(entry & P)) return access & ~PFERR_FETCH | id;
    if (entry & NX && !w.nxe) return access & ~PFERR_FETCH | id | PFERR_PRESENT | PFERR_RSVD;
  }
  const all = (bit: bigint) => levels.every((e) => (e & bit) !== 0n);
  const userPage = all(U), writable = all(W), nx = levels.some((e) => (e & NX) !== 0n);
  const denied = (user && !userPage) || (write && !writable && (user || w.wp)) || (fetch && nx)
    || (!user && fetch && userPage && w.smep) || (!user && !fetch && userPage && w.smap && !w.ac);
  return denied ? access & ~PFERR_FETCH | id | PFERR_PRESENT : undefined;
}

test('an access through any four entries faults with the error code the SDM gives, or sets exactly A and D', () => {
  const t = new TestCpu();
  fc.assert(fc.property(world, (w) => {
    const { state } = t.cpu;
    state.cr0 = X86_CR0_PE | X86_CR0_PG | (w.wp ? X86_CR0_WP : 0n);
    state.cr4 = X86_CR4_PAE | (w.smep ? X86_CR4_SMEP : 0n) | (w.smap ? X86_CR4_SMAP : 0n);
    state.efer = EFER_LME | EFER_LMA | (w.nxe ? EFER_NX : 0n);
    state.rflags = w.ac ? X86_EFLAGS_AC | 2 : 2;
    state.cr3 = 0x1_0000n;
    const at = [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000];
    const entries = w.levels.map((flags, i) => flags | BigInt(i === 3 ? 0x5000 : at[i + 1]!));
    entries.forEach((e, i) => { t.write64(at[i]!, e); });
    const result = attempt(t, 0x123, w.access);
    const error = expected(w);
    assert.deepEqual(result, error === undefined ? { physical: 0x5123 } : { error });
    const touched = error === undefined;
    entries.forEach((e, i) => {
      const want = touched ? e | A | (i === 3 && w.access & PFERR_WRITE ? D : 0n) : e;
      assert.equal(t.read64(at[i]!), want);
    });
    assert.equal(t.cpu.u64[STATE.cr2 >>> 3], 0n, 'CR2 moves only when the fault is delivered');
  }), { numRuns: 2000 });
});

test('peekTranslate agrees with walk, and changes nothing', () => {
  const t = new TestCpu();
  longMode(t);
  t.write64(0x1_0000, 0x1_1000n | P);
  t.write64(0x1_1000, 0x1_2000n | P);
  for (let i = 0; i < 512; i++) t.write64(0x1_2000 + 8 * i, BigInt(i ^ 5) << 21n | P | PS);
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 30 - 1 }), (linear) => {
    const before = t.read64(0x1_2000);
    const peeked = peekTranslate(t.cpu, linear);
    assert.equal(t.read64(0x1_2000), before);
    assert.equal(peeked, walk(t.cpu, linear, 0));
  }));
});
