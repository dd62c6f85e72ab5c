import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EPT_EXEC, EPT_READ, EPT_WRITE, eptFault, walkEpt } from '../../machine/vmx/ept.ts';
import { Ram } from '../../machine/ram.ts';

const TABLES = 4;
const ram = new Ram(1 << 20);
const words = ram.mem.u64.subarray(ram.base >>> 3, (ram.base + ram.size) >>> 3);

/** The walk as the SDM tells it, in big integers: an address, or why not. */
function model(pointer: bigint, gpa: bigint, access: number): { address: bigint } | { failure: string; rights: number } {
  let table = pointer & ~0xfffn;
  let rights = 7;
  for (const shift of [39n, 30n, 21n, 12n]) {
    const entry = words[Number(table + ((gpa >> shift) & 511n) * 8n) / 8] ?? 0n;
    const bits = Number(entry & 7n);
    if (bits === 0) return { failure: 'violation', rights: 0 };
    const leaf = shift === 12n || (shift <= 30n && (entry & 0x80n) !== 0n);
    const reserved = ((1n << 6n) - 1n) << 46n;
    let bad = bits === 2 || bits === 6 || (entry & reserved) !== 0n;
    if (!leaf) bad ||= (entry & 0x78n) !== 0n || (shift === 39n && (entry & 0x80n) !== 0n);
    else bad ||= [2n, 3n, 7n].includes((entry >> 3n) & 7n) || (entry & ((1n << shift) - 1n) & ~0xfffn) !== 0n;
    if (bad) return { failure: 'misconfiguration', rights: 0 };
    rights &= bits;
    const base = entry & ((1n << 46n) - 1n) & ~0xfffn;
    if (!leaf) {
      table = base;
      continue;
    }
    if ((rights & access) !== access) return { failure: 'violation', rights };
    return { address: base + (gpa & ((1n << shift) - 1n)) };
  }
  throw new Error('unreachable');
}

/** Entries that are mostly good: a table or frame, some rights, now and then a bit that should not be. */
const entry = fc.record({
  table: fc.nat(TABLES - 1), frame: fc.nat(0xffff), leaf: fc.boolean(), rights: fc.constantFrom(7, 7, 7, 7, 5, 1, 3, 4, 2, 0), type: fc.constantFrom(0, 0, 6, 6, 3),
  odd: fc.constantFrom(0n, 0n, 0n, 0n, 1n << 47n, 1n << 12n, 1n << 21n, 1n << 63n, 1n << 8n),
}).map((e) => {
  const target = e.leaf ? (BigInt(e.frame) << 30n) & ((1n << 46n) - 1n) : BigInt(0x1000 * (e.table + 1));
  return target | BigInt(e.rights) | (e.leaf ? 0x80n | BigInt(e.type << 3) : 0n) | e.odd;
});

test('the walk agrees with the SDM\'s description for all kinds of entries and accesses', () => {
  const seen = new Map<string, number>();
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(TABLES - 1), fc.nat(1), entry), { minLength: 12, maxLength: 32 }),
    fc.tuple(fc.nat(1), fc.nat(1), fc.nat(1), fc.nat(1), fc.nat(4095)),
    fc.constantFrom(EPT_READ, EPT_WRITE, EPT_EXEC, EPT_READ | EPT_WRITE),
    (entries, [a, b, c, d, offset], access) => {
      words.fill(0n, 0, (TABLES + 1) * 512);
      for (const [table, index, value] of entries) words[(table + 1) * 512 + index] = value;
      const gpa = ((a * 512 + b) * 512 + c) * 512 * 4096 + d * 4096 + offset;
      const expected = model(0x101en, BigInt(gpa), access);
      const got = walkEpt(ram, 0x101e, gpa, access, true);
      if ('address' in expected) assert.equal(BigInt(got), expected.address);
      else {
        assert.equal(got, -1);
        assert.equal(eptFault.failure, expected.failure);
        if (expected.failure === 'violation') assert.equal(eptFault.qualification, access | (expected.rights << 3));
      }
      const kind = 'address' in expected ? 'mapped' : expected.failure;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    },
  ), { seed: 1, numRuns: 5000 });
  for (const kind of ['mapped', 'violation', 'misconfiguration']) assert.ok((seen.get(kind) ?? 0) > 100, `${kind}: ${seen.get(kind)}`);
});

test('A/D flags: set on the whole path, dirty at the leaf by writes, and never without bit 6 of the pointer', () => {
  words.fill(0n, 0, 5 * 512);
  words[512] = 0x2007n;
  words[1024] = 0x3007n;
  words[1536] = 0xb7n;
  walkEpt(ram, 0x101e, 0, EPT_WRITE, true);
  assert.deepEqual([words[512], words[1536]], [0x2007n, 0xb7n]);
  walkEpt(ram, 0x105e, 0, EPT_WRITE, false);
  assert.equal(words[1536], 0xb7n);
  walkEpt(ram, 0x105e, 0, EPT_READ, true);
  assert.deepEqual([words[512], words[1024], words[1536]], [0x2107n, 0x3107n, 0x1b7n]);
  walkEpt(ram, 0x105e, 0, EPT_WRITE, true);
  assert.deepEqual([words[512], words[1536]], [0x2107n, 0x3b7n]);
});

test('addresses beyond 48 bits and tables outside RAM are violations', () => {
  assert.equal(walkEpt(ram, 0x101e, 2 ** 48, EPT_READ, true), -1);
  assert.equal(walkEpt(ram, (1 << 30) | 0x1e, 0, EPT_READ, true), -1);
  assert.equal(eptFault.failure, 'violation');
});
