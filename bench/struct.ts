/**
 * Cost of one load and one store through a struct view, in flat memory and in memory behind an address space.
 * Many structs are declared and used first, as in the running system: an accessor shared between structs would be
 * fast alone and slow in company.
 */
import { performance } from 'node:perf_hooks';
import * as kvm from '../abi/kvm/index.ts';
import { type Of, type Space, type Struct, Mem, array, flat, struct, u32, u64 } from '../abi/struct.ts';

const N = 5_000_000;
const ROUNDS = 7;

class Paged implements Space {
  readonly mem = new Mem(new ArrayBuffer(1 << 20));
  gen = 1;
  wgen = 1;
  resolve(address: number): number {
    return ((address / 4096) % 16) * 4096 + (address & 4095);
  }
}

const probe = struct('probe', { a: u32, b: u32, c: u64, d: u64, list: array(u32, 64) });
type probe = Of<typeof probe>;

const rows: [string, (v: probe) => unknown][] = [
  ['u32 load', (v) => { let sum = 0; for (let i = 0; i < N; i++) sum = (sum + v.a) | 0; return sum; }],
  ['u32 store', (v) => { for (let i = 0; i < N; i++) v.b = i; }],
  ['u32 load and store', (v) => { for (let i = 0; i < N; i++) v.a = (v.a + i) & 0x7fffffff; }],
  ['u64 load and store', (v) => { for (let i = 0; i < N; i++) v.c = v.d; }],
  ['u64 add in place', (v) => { for (let i = 0; i < N; i++) v.c = BigInt.asUintN(64, v.c + 1n); }],
  ['array u32 load', (v) => { let sum = 0; for (let i = 0; i < N; i++) sum = (sum + v.list.get(i & 63)) | 0; return sum; }],
];

/** Uses an accessor of every scalar of every KVM struct, in both kinds of memory. */
function warm(space: Space): void {
  for (const type of Object.values(kvm)) {
    if (typeof type !== 'object' || !('members' in type)) continue;
    const s = type as unknown as Struct<never>;
    const view = s.at(space, 8192) as unknown as Record<string, number>;
    for (let i = 0; i < 50; i++) for (const m of s.members) if (m.field.kind === 'scalar') view[m.name] = view[m.name]!;
  }
}

const spaces: [string, Space, number][] = [
  ['flat', flat(new Mem(new ArrayBuffer(1 << 20))), 4096],
  ['paged', new Paged(), 0x7fff_0000_1000],
  ['paged, across two pages', new Paged(), 0x7fff_0000_1ff8],
];
for (const [, space] of spaces) warm(space);

for (const [name, run] of rows) {
  for (const [where, space, at] of spaces) {
    const view = probe.at(space, at);
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const start = performance.now();
      run(view);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    console.log(`struct ${name}, ${where}  ${((times[0]! * 1e6) / N).toFixed(2)} ns`);
  }
}
