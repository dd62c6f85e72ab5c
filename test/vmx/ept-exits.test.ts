/** Violations and misconfigurations of EPT as a guest meets them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as E from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import { EPT, EPTP, GUEST_RAM, HLT, guest, host, qualification, rip, setEpt } from './guest.ts';

test('an EPT violation names the access, what is allowed, and both addresses; after the mend the instruction runs', () => {
  // mov byte [0x9000], 1 ; hlt
  const g = guest('protected', [0xc6, 0x05, 0, 0x90, 0, 0, 1, HLT]);
  setEpt(g, 0x9000, BigInt(GUEST_RAM + 0x9000) | 0x35n);
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(g), 0x2 | (5 << 3) | 0x180);
  assert.deepEqual([g.read(F.GUEST_PHYSICAL_ADDRESS), g.read(F.GUEST_LINEAR_ADDRESS), rip(g)], [0x9000, 0x9000, 0]);
  setEpt(g, 0x9000, BigInt(GUEST_RAM + 0x9000) | 0x37n);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.ram[0x9000], 1);
});

test('EPT violations of a read, of a fetch, and of the walk through the guest\'s own tables', () => {
  const read = guest('protected', [0xa1, 0, 0x90, 0, 0]);
  setEpt(read, 0x9000, 0n);
  assert.equal(read.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(read), 0x181);
  const fetch = guest('protected', [0xe9, 0xfb, 0x0f, 0, 0]);
  setEpt(fetch, 0x8000, BigInt(GUEST_RAM + 0x8000) | 0x33n);
  assert.equal(fetch.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(fetch), 0x4 | (3 << 3) | 0x180);
  assert.equal(fetch.read(F.GUEST_RIP), 0x8000);
  const walk = guest('long', [0xa1, 0, 0x90, 0, 0, 0, 0, 0, 0]);
  setEpt(walk, 0x2000, 0n);
  assert.equal(walk.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(walk), 0x81);
  assert.equal(walk.read(F.GUEST_PHYSICAL_ADDRESS), 0x2000);
});

test('an EPT entry that can never be right is a misconfiguration', () => {
  for (const entry of [2n, 6n, BigInt(GUEST_RAM) | 0x17n, BigInt(GUEST_RAM) | 7n | (1n << 51n)]) {
    const g = guest('protected', [0xa1, 0, 0x90, 0, 0]);
    setEpt(g, 0x9000, entry);
    assert.equal(g.run(), E.EXIT_REASON_EPT_MISCONFIG, entry.toString(16));
    assert.equal(g.read(F.GUEST_PHYSICAL_ADDRESS), 0x9000);
  }
});

test('2 MiB leaves map, and A/D flags are set when the EPT pointer asks for them', () => {
  const g = guest('protected', [0xc6, 0x05, 0, 0x90, 0, 0, 1, HLT], (v) => v.writeNumber(F.EPT_POINTER, EPTP | 0x40));
  const pd = new DataView(host(g, EPT + 0x2000).buffer, host(g, EPT + 0x2000).byteOffset);
  pd.setBigUint64(0, BigInt(GUEST_RAM) | 0xb7n, true);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.ram[0x9000], 1);
  assert.equal(pd.getBigUint64(0, true), BigInt(GUEST_RAM) | 0x3b7n);
});
