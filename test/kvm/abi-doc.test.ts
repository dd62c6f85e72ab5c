import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as errno from '../../abi/errno.ts';
import { kvm_vcpu_enable_caps, kvm_vm_enable_caps, kvm_vm_ioctl_check_extension, partial_caps } from '../../kvm/caps.ts';
import { partial_ioctls, refused_ioctls } from '../../kvm/ioctls-table.ts';
import { anon, mk } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { abiTable, beforeTables, capRows, command, document, ioctlRows, tables } from './abi-table.ts';
import { chipsProgram, rawIoctl } from './chips-program.ts';

test('docs/abi.md is what the tables of KVM say', () => {
  assert.ok(readFileSync(document, 'utf8') === abiTable(), `docs/abi.md is out of date: ${command}`);
});

test('each request a descriptor answers has a row, and each note belongs to one', () => {
  const rows = ioctlRows();
  for (const kind of ['dev', 'vm', 'vcpu'] as const) {
    const of = rows.filter((r) => r.kind === kind);
    for (const nr of tables[kind].keys()) assert.ok(of.some((r) => r.request.nr === nr), `${kind} 0x${nr.toString(16)}`);
    for (const name of [...Object.keys(partial_ioctls[kind]), ...Object.keys(refused_ioctls[kind])]) {
      assert.ok(of.some((r) => r.name === name && (tables[kind].has(r.request.nr) || beforeTables[kind].includes(name))), `a note on ${name}, which ${kind} does not answer`);
    }
  }
});

test('the requests answered before the tables are those kvm_main.ts names', () => {
  const source = readFileSync(new URL('../../kvm/kvm_main.ts', import.meta.url), 'utf8');
  const named = new Set([...source.matchAll(/\b(KVM_\w+)\.nr\b/g)].map((m) => m[1]!));
  assert.deepEqual([...named].sort(), Object.values(beforeTables).flat().sort());
});

test('each capability that is claimed, can be enabled or has a note stands in the table', () => {
  const rows = new Set(capRows().map((c) => c.cap));
  const claimed = Array.from({ length: 0x400 }, (_, cap) => cap).filter((cap) => kvm_vm_ioctl_check_extension(BigInt(cap)) !== 0);
  assert.ok(claimed.length > 50);
  for (const cap of [...claimed, ...kvm_vm_enable_caps, ...kvm_vcpu_enable_caps, ...Object.keys(partial_caps).map(Number)]) assert.ok(rows.has(cap), `capability ${cap}`);
});

test('what is called absent answers as the table says', () => {
  const absent = ioctlRows().filter((r) => r.state === 'absent');
  const numbers = new Map(Object.entries(errno) as [string, number][]);
  const wrong: string[] = [];
  let asked = 0;
  const { status } = run({
    init: ['-c', 'chips'], cpus: 1, seconds: 30, programs: [chipsProgram(function* body(sys) {
      const m = yield* mk(sys, { mem: true, vcpu: true });
      const at = yield* anon(0x10000);
      for (const r of absent) {
        const answer = yield* rawIoctl({ dev: sys, vm: m.vm, vcpu: m.vcpu }[r.kind], r.request.nr, r.request.dir === 'none' ? 0 : at);
        asked++;
        if (answer !== -numbers.get(r.note)!) wrong.push(`${r.kind} ${r.name}: ${answer}, not ${r.note}`);
      }
    })],
  });
  assert.equal(status, 0);
  assert.ok(asked > 20 && asked === absent.length, `${asked} asked`);
  assert.deepEqual(wrong, []);
});
