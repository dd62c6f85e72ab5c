import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as C from '../../machine/vmx/controls.ts';
import * as E from '../../machine/vmx/entry-checks.ts';
import * as F from '../../machine/vmx/fields.ts';
import { fieldNames, isReadOnly, widthOf } from '../../machine/vmx/vmcs.ts';
import { VMCS, VMXON, guest, newMachine } from './guest.ts';

const vmxOf = () => guest('real', []).vmx;

test('every field keeps what is written to it, cut to its width, and no two share storage', () => {
  const v = vmxOf();
  let n = 0;
  const written = new Map<number, bigint>();
  for (const field of fieldNames.keys()) {
    if (isReadOnly(field)) continue;
    const value = 0x1234_5678_0000_0000n + BigInt(field) * 0x1_0001n;
    v.write64(field, value);
    const bits = { 2: 16, 4: 32, 8: 64 }[field < 0x2000 ? 2 : widthOf(field)]!;
    written.set(field, BigInt.asUintN(bits, value));
    n++;
  }
  assert.ok(n > 100);
  for (const [field, value] of written) assert.equal(v.read64(field), value, fieldNames.get(field)!);
});

test('the high half of a 64-bit field has an encoding of its own', () => {
  const v = vmxOf();
  v.write64(F.TSC_OFFSET, 0x1122_3344_5566_7788n);
  assert.equal(v.read32(F.TSC_OFFSET | 1), 0x1122_3344);
  v.write32(F.TSC_OFFSET | 1, 0xaabb_ccdd);
  assert.equal(v.read64(F.TSC_OFFSET), 0xaabb_ccdd_5566_7788n);
});

test('a write of a number clears the high half, and signed numbers are sign-extended', () => {
  const v = vmxOf();
  v.write64(F.GUEST_RIP, 0xffff_ffff_ffff_ffffn);
  v.writeNumber(F.GUEST_RIP, 0x1234);
  assert.equal(v.read64(F.GUEST_RIP), 0x1234n);
  v.writeNumber(F.GUEST_RIP, -4096);
  assert.equal(v.read64(F.GUEST_RIP), 0xffff_ffff_ffff_f000n);
});

test('fields that do not exist or are read-only leave the instruction error', () => {
  const v = vmxOf();
  v.write32(0x4ffe, 1);
  assert.equal(v.read32(F.VM_INSTRUCTION_ERROR), E.VMXERR_UNSUPPORTED_VMCS_COMPONENT);
  v.write32(F.VM_EXIT_REASON, 1);
  assert.equal(v.read32(F.VM_INSTRUCTION_ERROR), E.VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT);
  assert.equal(v.read32(0x7fff_fffe), 0);
});

test('the VMCS pointer instructions fail as the SDM numbers it', () => {
  const m = newMachine();
  const { vmx } = m.processors[0]!;
  assert.equal(vmx.vmptrld(VMCS), 'invalid');
  assert.equal(vmx.vmxon(VMXON), 'invalid');
  for (const page of [VMXON, VMCS]) m.ram.mem.u32[(m.ram.base + page) >>> 2] = C.VMCS_REVISION_ID;
  assert.equal(vmx.vmxon(VMXON + 8), 'invalid');
  assert.equal(vmx.vmxon(VMXON), 'ok');
  assert.equal(vmx.vmptrld(VMXON), 'invalid');
  assert.equal(vmx.vmclear(VMCS), 'ok');
  assert.equal(vmx.vmlaunch(), 'invalid');
  assert.equal(vmx.vmptrld(VMCS), 'ok');
  const error = () => vmx.read32(F.VM_INSTRUCTION_ERROR);
  assert.equal(vmx.vmxon(VMXON), 'valid');
  assert.equal(error(), E.VMXERR_VMXON_IN_VMX_ROOT_OPERATION);
  assert.equal(vmx.vmptrld(VMXON), 'valid');
  assert.equal(error(), E.VMXERR_VMPTRLD_VMXON_POINTER);
  assert.equal(vmx.vmptrld(VMCS + 1), 'valid');
  assert.equal(error(), E.VMXERR_VMPTRLD_INVALID_ADDRESS);
  assert.equal(vmx.vmptrld(VMCS + 0x1000), 'valid');
  assert.equal(error(), E.VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID);
  assert.equal(vmx.vmclear(VMXON), 'valid');
  assert.equal(error(), E.VMXERR_VMCLEAR_VMXON_POINTER);
  assert.equal(vmx.vmresume(), 'valid');
  assert.equal(error(), E.VMXERR_VMRESUME_NONLAUNCHED_VMCS);
  assert.equal(vmx.invept(7, 0n), 'valid');
  assert.equal(error(), E.VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
  assert.equal(vmx.invvpid(1, 0, 0n), 'valid');
  assert.equal(vmx.invvpid(0, 1, 0x8000_0000_0000n), 'valid');
  assert.equal(vmx.invvpid(1, 1, 0n), 'ok');
});

test('capability MSRs name the required bits within the allowed ones, and adjust() stays within both', () => {
  for (const c of [C.pinBased, C.cpuBased, C.secondary, C.vmExit, C.vmEntry]) {
    assert.equal((c.required & ~c.allowed) >>> 0, 0);
    for (const wanted of [0, 0xffff_ffff, 0x1234_5678]) assert.ok(C.permits(c, C.adjust(c, wanted)));
  }
  assert.equal(C.vmxMsrs.get(0x48d), (0x7fn << 32n) | 0x16n);
  assert.equal(C.vmxMsrs.get(0x482)! & 0xffff_ffffn, 0x0401_e172n);
});
