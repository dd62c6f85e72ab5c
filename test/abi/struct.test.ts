import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Field, type Of, type Space, Mem, addressOf, anonymousStruct, anonymousUnion, array, assign, bytesOf, copyIn, copyOut, fill, flat, flex,
  offsetof, plain, s16, s32, s64, s8, sizeof, struct, u16, u32, u64, u8, union, windowOf,
} from '../../abi/struct.ts';

const point = struct('point', { x: u32, y: u64, z: s16 });
type point = Of<typeof point>;

/** Pages scattered over a buffer in reverse order, counting how often a translation was asked for. */
class Paged implements Space {
  readonly mem: Mem;
  gen = 0;
  wgen = 0;
  resolves = 0;
  readonly frames = new Map<number, number>();
  readonly readOnly = new Set<number>();
  constructor(pages: number) {
    this.mem = new Mem(new ArrayBuffer(pages * 4096));
  }
  resolve(address: number, write: boolean): number {
    this.resolves++;
    const page = Math.floor(address / 4096);
    const frame = this.frames.get(page);
    if (frame === undefined || (write && this.readOnly.has(page))) throw new Fault(address);
    return frame * 4096 + (address & 4095);
  }
}
class Fault extends Error {
  readonly address: number;
  constructor(address: number) {
    super(`fault at ${address}`);
    this.address = address;
  }
}
const BASE = 0x7fff_0000_0000;
const twoPages = () => {
  const space = new Paged(4);
  space.frames.set(BASE / 4096, 3).set(BASE / 4096 + 1, 1);
  return space;
};

test('members lie where the System V ABI puts them', () => {
  assert.deepEqual([point.size, point.align, point.offset.x, point.offset.y, point.offset.z], [24, 8, 0, 8, 16]);
  const tail = struct('tail', { n: u32, of: flex(u64) });
  assert.deepEqual([tail.size, tail.offset.of], [8, 8]);
  const packed = struct('packed', { n: u32, data: u64 }, { packed: true });
  assert.deepEqual([packed.size, packed.align, packed.offset.data], [12, 1, 4]);
  assert.equal(struct('wide', { a: u8 }, { align: 64 }).size, 64);
  assert.equal(union('either', { a: u32, b: u64 }, 20).size, 24);
});

test('every scalar width holds its extremes, in aligned, unaligned and page-crossing places', () => {
  const all = struct('all', { a: u8, b: s8, c: u16, d: s16, e: u32, f: s32, g: u64, h: s64 });
  const values = { a: 255, b: -128, c: 65535, d: -32768, e: 0xffffffff, f: -0x80000000, g: 0xffff_ffff_ffff_ffffn, h: -0x8000_0000_0000_0000n };
  let seen = 0;
  for (let at = 4096 - 40; at <= 4096; at++) {
    const space = twoPages();
    const view = all.at(space, BASE + at);
    assign(view, values);
    assert.deepEqual(plain(view), values);
    assert.deepEqual(plain(view), values, 'read again through the remembered translation');
    Object.assign(view, { a: 1, b: -1, c: 2, d: -2, e: 3, f: -3, g: 4n, h: -4n });
    assert.deepEqual(plain(all.at(space, BASE + at)), { a: 1, b: -1, c: 2, d: -2, e: 3, f: -3, g: 4n, h: -4n });
    seen++;
  }
  assert.equal(seen, 41);
});

test('two views of one place see each other’s stores', () => {
  const mem = flat(new Mem(new ArrayBuffer(64)));
  const a: point = point.at(mem, 8);
  const b: point = point.at(mem, 8);
  a.y = 5n;
  assert.equal(b.y, 5n);
  assert.equal(addressOf(b), 8);
});

test('a view asks the space once for reads and once for writes until a generation moves', () => {
  const space = twoPages();
  const view = point.at(space, BASE + 64);
  view.x = 1; view.y = 2n;
  void view.x; void view.y;
  const before = space.resolves;
  for (let i = 0; i < 10; i++) { view.x++; view.y++; }
  assert.equal(space.resolves, before);
  assert.equal(view.x, 11);
  space.frames.set(BASE / 4096, 0);
  space.gen++; space.wgen++;
  assert.equal(view.x, 0);
  view.x = 7;
  assert.equal(space.mem.u32[64 / 4], 7);
});

test('a write generation alone voids writes and leaves reads', () => {
  const space = twoPages();
  const view = point.at(space, BASE);
  view.x = 1;
  void view.x;
  space.readOnly.add(BASE / 4096);
  space.wgen++;
  assert.throws(() => { view.x = 2; }, Fault);
  assert.equal(view.x, 1);
});

test('a store across two pages changes nothing when the second faults', () => {
  const space = twoPages();
  space.readOnly.add(BASE / 4096 + 1);
  const view = struct('one', { v: u64 }).at(space, BASE + 4093);
  assert.throws(() => { view.v = -1n; }, Fault);
  assert.equal(view.v, 0n);
});

test('arrays read and write across pages, aligned or not', () => {
  const line = struct('line', { head: u8, of: array(u32, 2048) });
  for (const at of [0, 4, 1, 2]) {
    const space = new Paged(8);
    for (let i = 0; i < 4; i++) space.frames.set(BASE / 4096 + i, 7 - i);
    const view = line.at(space, BASE + at);
    for (let i = 0; i < 2048; i++) view.of.set(i, i * 3);
    for (let i = 0; i < 2048; i++) assert.equal(view.of.get(i), i * 3);
    assert.equal([...view.of].length, 2048);
  }
});

test('an index outside an array throws, a flexible array has no bound', () => {
  const s = struct('s', { n: u64, a: array(u8, 3), rest: flex(u16) });
  const view = s.at(flat(new Mem(new ArrayBuffer(64))), 0);
  for (const i of [-1, 3, Number.NaN]) assert.throws(() => view.a.get(i), RangeError);
  view.rest.set(5, 77);
  assert.equal(view.rest.get(5), 77);
  assert.equal(view.rest.length, 0);
});

test('members of anonymous structs and unions belong to the parent', () => {
  const cap = struct('cap', {
    flags: u32,
    _arms: anonymousUnion({ whole: u64, _halves: anonymousStruct({ low: u32, high: u32 }) }, 16),
    after: u32,
  });
  assert.deepEqual([cap.offset.whole, cap.offset.low, cap.offset.high, cap.offset.after, cap.size], [8, 8, 12, 24, 32]);
  const view = cap.make({ whole: 0x1_0000_0002n });
  assert.deepEqual([view.low, view.high], [2, 1]);
  assert.deepEqual(cap.members.map((m) => m.name), ['flags', 'whole', 'low', 'high', 'after']);
});

test('nested members have dotted offsets and a view of their own', () => {
  const outer = struct('outer', { pad: u64, p: point, list: array(point, 2) });
  assert.equal(outer.offset['p.y'], 16);
  assert.equal(offsetof(outer, 'list.1.z'), 8 + 24 + 24 + 16);
  assert.throws(() => offsetof(outer, 'list.1.q'), TypeError);
  const view = outer.make({ p: { y: 9n }, list: [{ x: 1 }, { x: 2 }] });
  assert.equal(view.p, view.p);
  assert.deepEqual(plain(view), {
    pad: 0n, p: { x: 0, y: 9n, z: 0 }, list: [{ x: 1, y: 0n, z: 0 }, { x: 2, y: 0n, z: 0 }],
  });
  view.p = view.list.get(1);
  assert.deepEqual([view.p.x, view.p.y], [2, 0n]);
  assert.equal(sizeof(view), outer.size);
});

test('an initializer zeroes what it does not name, and refuses what the struct does not have', () => {
  const view = point.make({ x: 1, y: 2n, z: 3 });
  assign(view, { z: 4 });
  assert.deepEqual(plain(view), { x: 0, y: 0n, z: 4 });
  assert.throws(() => assign(view, { q: 1 } as object), TypeError);
});

test('member names may be those of the view’s own parts', () => {
  const names = struct('names', { base: u64, mem: u32, gen: u32, size: u32, name: u32, type: u32, space: u32, at: u32 });
  const view = names.make({ base: 1n, mem: 2, gen: 3, size: 4, name: 5, type: 6, space: 7, at: 8 });
  assert.deepEqual(Object.values(plain(view) as object), [1n, 2, 3, 4, 5, 6, 7, 8]);
  assert.throws(() => struct('twice', { a: u8, _u: anonymousUnion({ a: u8 }) }), TypeError);
});

test('copies go page by page and a struct copied in is private', () => {
  const space = twoPages();
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i);
  copyOut(space, BASE + 100, bytes);
  const back = new Uint8Array(5000);
  copyIn(space, BASE + 100, back);
  assert.deepEqual(back, bytes);
  const copy = point.copyIn(space, BASE + 4090);
  assert.deepEqual(bytesOf(copy), bytes.slice(3990, 3990 + 24));
  windowOf(copy)[0] = 99;
  assert.equal(copy.x & 255, 99);
  fill(space, BASE, 8192);
  assert.equal(copy.x & 255, 99);
  assert.throws(() => copyOut(space, BASE + 8000, bytes), Fault);
});

test('a bad user pointer gives the space’s fault and never a RangeError', () => {
  const space = twoPages();
  for (const at of [0, 1, BASE - 100, BASE + 8192, 2 ** 53, -1, 0.5]) assert.throws(() => point.at(space, at).y, Fault);
  assert.throws(() => point.at(flat(new Mem(new ArrayBuffer(16))), 0), RangeError);
});

test('any struct anywhere reads and writes as a DataView of the same bytes does', () => {
  const kinds = { u8: 'Uint8', s8: 'Int8', u16: 'Uint16', s16: 'Int16', u32: 'Uint32', s32: 'Int32', u64: 'BigUint64', s64: 'BigInt64' } as const;
  const fields = { u8, s8, u16, s16, u32, s32, u64, s64 };
  const kind = fc.constantFrom(...(Object.keys(kinds) as (keyof typeof kinds)[]));
  const members = fc.array(kind, { minLength: 1, maxLength: 12 });
  const store = fc.record({ at: fc.nat(), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) });
  let stores = 0;
  fc.assert(fc.property(members, fc.boolean(), fc.integer({ min: 4096 - 120, max: 4096 }), fc.array(store, { maxLength: 20 }), (types, packed, base, writes) => {
    const type = struct('any', Object.fromEntries(types.map((t, i) => [`m${i}`, fields[t] as Field<number | bigint>])), { packed });
    const space = twoPages();
    const bytes = new DataView(new ArrayBuffer(8192));
    const view = type.at(space, BASE + base) as unknown as Record<string, number | bigint>;
    for (const { at, value } of writes) {
      const i = at % types.length;
      const accessor = kinds[types[i]!];
      const wide = accessor.startsWith('Big');
      const v = wide ? value : Number(value & 0xffffffffn);
      view[`m${i}`] = v;
      (bytes[`set${accessor}`] as (at: number, v: number | bigint, le: boolean) => void).call(bytes, base + type.offset[`m${i}`]!, v, true);
      for (let j = 0; j < types.length; j++) {
        const expected = bytes[`get${kinds[types[j]!]}`](base + type.offset[`m${j}`]!, true);
        assert.equal(view[`m${j}`], expected);
      }
      stores++;
    }
    const back = new Uint8Array(8192);
    copyIn(space, BASE, back);
    assert.deepEqual(back, new Uint8Array(bytes.buffer));
  }));
  assert.ok(stores > 100);
});
