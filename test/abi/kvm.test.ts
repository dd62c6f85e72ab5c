import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as kvm from '../../abi/kvm/index.ts';
import type { Ioctl } from '../../abi/ioctl.ts';
import { type Field, type Struct, offsetof } from '../../abi/struct.ts';
import { leftOutConstants, leftOutFields, leftOutIoctls, leftOutStructs } from './kvm-left-out.ts';

// Recorded from <linux/kvm.h> 6.12 with gcc: what a C program sees.
interface Golden {
  constants: Record<string, number>;
  structs: Record<string, { size: number; align: number; fields: Record<string, [offset: number, size: number]> }>;
  ioctls: Record<string, { num: number; dir: 'none' | 'r' | 'w' | 'rw'; size: number }>;
}
const golden: Golden = JSON.parse(readFileSync(new URL('../golden/abi.json', import.meta.url), 'utf8'));
// How much there is to compare
const IOCTLS = 107;
const CONSTANTS = 482;
const STRUCTS = 107;
const FIELDS = 696;

const ours = kvm as Record<string, unknown>;
const isIoctl = (x: unknown): x is Ioctl => typeof x === 'object' && x !== null && 'nr' in x && 'dir' in x;
// biome-ignore lint/suspicious/noExplicitAny: a struct of any shape
const isStruct = (x: unknown): x is Struct<any> => typeof x === 'object' && x !== null && 'members' in x;
const sorted = (names: Iterable<string>) => [...names].sort();

/** Checks a list of names left out: each is in the recording, and none is declared. */
function holds(leftOut: readonly string[], recorded: readonly string[], declared: (name: string) => boolean): void {
  assert.equal(new Set(leftOut).size, leftOut.length, 'no name twice');
  for (const name of leftOut) {
    assert.ok(recorded.includes(name), `${name} is left out but not in the recording`);
    assert.ok(!declared(name), `${name} is left out but declared`);
  }
}

test('every request of the recording has our number, size and direction, or is left out by name', () => {
  const recorded = Object.keys(golden.ioctls);
  holds(leftOutIoctls, recorded, (name) => name in ours);
  let compared = 0;
  for (const [name, { num, dir, size }] of Object.entries(golden.ioctls)) {
    if (leftOutIoctls.includes(name)) continue;
    const r = ours[name];
    assert.ok(isIoctl(r), name);
    assert.deepEqual([r.nr, r.size], [num, size], name);
    const bits = { none: 'none', r: 'out', w: 'in', rw: 'inout' } as const;
    const readsIts = ['KVM_SET_IRQCHIP', 'KVM_SET_PIT', 'KVM_MEMORY_ENCRYPT_REG_REGION', 'KVM_MEMORY_ENCRYPT_UNREG_REGION'];
    assert.equal(r.dir, readsIts.includes(name) ? 'in' : bits[dir], name);
    assert.equal(r.arg?.size ?? 0, size, name);
    compared++;
  }
  assert.equal(compared, IOCTLS);
  assert.equal(compared + leftOutIoctls.length, recorded.length);
  assert.deepEqual(sorted(Object.keys(ours).filter((n) => isIoctl(ours[n]))), sorted(recorded.filter((n) => !leftOutIoctls.includes(n))));
});

test('every constant of the recording has our value, or is left out by name', () => {
  // A string in C, recorded as the address it happened to have
  assert.ok('KVM_SIGNATURE' in golden.constants && kvm.KVM_SIGNATURE.length === 12);
  const recorded = Object.keys(golden.constants).filter((n) => !(n in golden.ioctls) && n !== 'KVM_SIGNATURE');
  holds(leftOutConstants, recorded, (name) => typeof ours[name] === 'number' || typeof ours[name] === 'bigint');
  let compared = 0;
  for (const name of recorded) {
    if (leftOutConstants.includes(name)) continue;
    const value = ours[name];
    assert.ok(typeof value === 'number' || typeof value === 'bigint', name);
    // The recording prints a long long: an unsigned one of 64 bits comes out negative.
    assert.equal(BigInt.asUintN(64, BigInt(value)), BigInt.asUintN(64, BigInt(golden.constants[name]!)), name);
    compared++;
  }
  assert.equal(compared, CONSTANTS);
  assert.equal(compared + leftOutConstants.length, recorded.length);
});

/** Size of what a path names, 0 for a flexible array, as the recording has it. */
function sizeAt(type: Field<unknown>, path: string): number {
  let field = type;
  for (const step of path.split('.')) {
    const { members, of } = field as { members?: Struct<never>['members']; of?: Field<unknown> };
    field = members?.find((m) => m.name === step)?.field ?? of!;
  }
  return field.size;
}

test('every struct of the recording has our size, alignment, and field offsets and sizes, or is left out by name', () => {
  const recorded = Object.keys(golden.structs);
  holds(leftOutStructs, recorded, (name) => name in ours);
  const allFields = recorded.filter((s) => !leftOutStructs.includes(s)).flatMap((s) => Object.keys(golden.structs[s]!.fields).map((f) => `${s}.${f}`));
  let structs = 0;
  let fields = 0;
  const left = new Set(leftOutFields);
  assert.equal(left.size, leftOutFields.length);
  for (const name of recorded) {
    if (leftOutStructs.includes(name)) continue;
    const type = ours[name];
    assert.ok(isStruct(type), name);
    const g = golden.structs[name]!;
    assert.deepEqual([type.name, type.size, type.align], [name, g.size, g.align], name);
    for (const [field, [offset, size]] of Object.entries(g.fields)) {
      const path = field.replace(/\[(\d+)\]/g, '.$1');
      if (left.has(`${name}.${field}`)) {
        assert.throws(() => offsetof(type, path), TypeError, `${name}.${field} is left out but declared`);
        continue;
      }
      assert.deepEqual([offsetof(type, path), sizeAt(type, path)], [offset, size], `${name}.${field}`);
      fields++;
    }
    structs++;
  }
  for (const f of leftOutFields) assert.ok(allFields.includes(f), `${f} is left out but not in the recording`);
  assert.equal(structs, STRUCTS);
  assert.equal(fields, FIELDS);
  assert.equal(structs + leftOutStructs.length, recorded.length);
  assert.equal(fields + leftOutFields.length, allFields.length);
});

test('the top-level members we declare are those of C, none more', () => {
  let members = 0;
  for (const [name, { fields }] of Object.entries(golden.structs)) {
    const type = ours[name];
    if (!isStruct(type)) continue;
    for (const m of type.members) {
      assert.ok(m.name in fields, `${name}.${m.name}`);
      members++;
    }
  }
  assert.ok(members > 400, String(members));
});

test('names of exits, capabilities and requests are found by number', () => {
  assert.equal(kvm.exitReasonName(5), 'KVM_EXIT_HLT');
  assert.equal(kvm.exitReasonName(0), 'KVM_EXIT_UNKNOWN');
  assert.equal(kvm.exitReasonName(40), '40');
  for (let reason = 0; reason <= 39; reason++) assert.match(kvm.exitReasonName(reason), /^KVM_EXIT_[A-Z]/);
  assert.equal(kvm.capName(0), 'KVM_CAP_IRQCHIP');
  assert.equal(kvm.kvmIoctlName(0xae80), 'KVM_RUN');
  assert.equal(kvm.kvmIoctlName(0x4020aea5), 'KVM_SIGNAL_MSI');
  assert.equal(kvm.kvmIoctlName(0x5000aea5), 'KVM_SET_XSAVE');
  assert.equal(kvm.kvmIoctlName(0xaeff), undefined);
});
