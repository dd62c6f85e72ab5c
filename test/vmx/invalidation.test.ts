/** Which translations INVEPT and INVVPID make a processor forget: only with them need it look at changed tables again (SDM 29.4.3). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as F from '../../machine/vmx/fields.ts';
import { EPT, EPTP, GUEST_RAM, guest } from './guest.ts';

const EXIT_REASON_IO_INSTRUCTION = 30;
const DATA = 0x2000, ANOTHER = 0x3000;

/** A guest that tells by OUT what it reads at DATA, and has read it once; the EPT entry of DATA then leads to ANOTHER. */
function remapped() {
  // mov al,[2000h]; out 80h,al; jmp back
  const g = guest('real', [0xa0, 0x00, 0x20, 0xe6, 0x80, 0xeb, 0xf9]);
  g.ram[DATA] = 0x11;
  g.ram[ANOTHER] = 0x22;
  const read = (): string => {
    assert.equal(g.run(), EXIT_REASON_IO_INSTRUCTION);
    g.vmx.writeNumber(F.GUEST_RIP, g.read(F.GUEST_RIP) + 2);
    return (g.gpr(0) & 0xffn).toString(16);
  };
  assert.equal(read(), '11');
  const { mem, base } = g.machine.ram;
  mem.u64[(base + EPT + 0x3000 + (DATA >>> 12) * 8) >>> 3] = BigInt(GUEST_RAM + ANOTHER) | 0x37n;
  return { vmx: g.vmx, read };
}

test('INVEPT of one context drops what its own tables gave, and leaves what others gave', () => {
  const { vmx, read } = remapped();
  assert.equal(vmx.invept(1, BigInt(EPTP + 0x1000)), 'ok');
  assert.equal(read(), '11');
  // The other bits of the pointer do not matter.
  assert.equal(vmx.invept(1, BigInt(EPTP | 1 << 6)), 'ok');
  assert.equal(read(), '22');
});

test('INVEPT of all contexts drops what every table gave', () => {
  const { vmx, read } = remapped();
  assert.equal(vmx.invept(2, 0n), 'ok');
  assert.equal(read(), '22');
});

test('INVVPID drops what a guest of that VPID used, and leaves that of others', () => {
  const { vmx, read } = remapped();
  assert.equal(vmx.invvpid(1, 2, 0n), 'ok');
  assert.equal(read(), '11');
  assert.equal(vmx.invvpid(1, 1, 0n), 'ok');
  assert.equal(read(), '22');
});
