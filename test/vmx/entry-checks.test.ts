import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as C from '../../machine/vmx/controls.ts';
import * as E from '../../machine/vmx/entry-checks.ts';
import * as F from '../../machine/vmx/fields.ts';
import { EXIT_REASON_INVALID_STATE, EXIT_REASON_MSR_LOAD_FAIL, VMX_EXIT_REASONS_FAILED_VMENTRY } from '../../machine/vmx/exit-reasons.ts';
import * as G from '../../machine/vmx/guest-checks.ts';
import type { Vmx } from '../../machine/vmx/vmx.ts';
import { GUEST_RAM, guest } from './guest.ts';

type Change = (v: Vmx) => void;
const set = (field: number, value: number | bigint): Change => (v) => v.write64(field, BigInt(value));
const or = (field: number, bits: number): Change => (v) => v.write32(field, v.read32(field) | bits);
const clear = (field: number, bits: number): Change => (v) => v.write32(field, v.read32(field) & ~bits);
const all = (...changes: Change[]): Change => (v) => { for (const change of changes) change(v); };
const inject = (info: number): Change => set(F.VM_ENTRY_INTR_INFO_FIELD, (info | E.INTR_INFO_VALID_MASK) >>> 0);

test('the guests of these tests enter', () => {
  for (const mode of ['real', 'protected', 'long'] as const) {
    const { vmx } = guest(mode, []);
    assert.equal(vmx.vmlaunch(), 'ok', mode);
    assert.ok(vmx.inGuest, mode);
  }
});

const controls: [string, Change][] = [
  ['a required pin-based control is 0', set(F.PIN_BASED_VM_EXEC_CONTROL, 0)],
  ['a control is set that does not exist', or(F.SECONDARY_VM_EXEC_CONTROL, 1)],
  ['secondary controls that are activated do not exist', or(F.SECONDARY_VM_EXEC_CONTROL, 1 << 30)],
  ['too many CR3 targets', set(F.CR3_TARGET_COUNT, 5)],
  ['the MSR bitmap is not page-aligned', set(F.MSR_BITMAP, 0x8010)],
  ['the I/O bitmap lies beyond physical memory', all(or(F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_USE_IO_BITMAPS), set(F.IO_BITMAP_A, 1n << 46n))],
  ['virtual NMIs without NMI exiting', clear(F.PIN_BASED_VM_EXEC_CONTROL, C.PIN_BASED_NMI_EXITING)],
  ['an NMI window without virtual NMIs', all(clear(F.PIN_BASED_VM_EXEC_CONTROL, C.PIN_BASED_VIRTUAL_NMIS), or(F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_NMI_WINDOW_EXITING))],
  ['an EPT pointer of three levels', set(F.EPT_POINTER, 0x3016)],
  ['an EPT pointer of memory type 5', set(F.EPT_POINTER, 0x301d)],
  ['unrestricted guest without EPT', clear(F.SECONDARY_VM_EXEC_CONTROL, C.SECONDARY_EXEC_ENABLE_EPT)],
  ['VPID 0', set(F.VIRTUAL_PROCESSOR_ID, 0)],
  ['the preemption timer is saved but not active', or(F.VM_EXIT_CONTROLS, C.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER)],
  ['an MSR list that is not 16-byte aligned', all(set(F.VM_ENTRY_MSR_LOAD_COUNT, 1), set(F.VM_ENTRY_MSR_LOAD_ADDR, 0x10_0008))],
  ['a TPR threshold above the virtual TPR', all(or(F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_TPR_SHADOW), set(F.TPR_THRESHOLD, 1))],
  ['injection with reserved bits', inject(0x1000 | 0x20)],
  ['injection of the reserved type', inject((1 << 8) | 0x20)],
  ['an injected NMI with another vector', inject((2 << 8) | 3)],
  ['an injected exception with vector 32', inject((3 << 8) | 32)],
  ['an error code for an exception that has none', inject((3 << 8) | 6 | E.INTR_INFO_DELIVER_CODE_MASK)],
  ['a software interrupt without a length', inject((4 << 8) | 0x20)],
];
for (const [name, change] of controls) {
  test(`entry fails with error 7: ${name}`, () => {
    const { vmx } = guest('real', [], change);
    assert.equal(vmx.vmlaunch(), 'valid');
    assert.equal(vmx.read32(F.VM_INSTRUCTION_ERROR), E.VMXERR_ENTRY_INVALID_CONTROL_FIELD);
    assert.ok(!vmx.inGuest);
  });
}

test('an injected fault needs its error code in protected mode, and has none in real mode', () => {
  const status = (mode: 'real' | 'protected', info: number) => guest(mode, [], inject(info)).vmx.vmlaunch();
  const gp = (3 << 8) | 13;
  assert.equal(status('protected', gp), 'valid');
  assert.equal(status('protected', gp | E.INTR_INFO_DELIVER_CODE_MASK), 'ok');
  assert.equal(status('real', gp), 'ok');
});

const host: [string, Change][] = [
  ['CR0 without paging', set(F.HOST_CR0, 0x33)],
  ['CR4 without VMXE', set(F.HOST_CR4, 0x20)],
  ['CR3 beyond physical memory', set(F.HOST_CR3, 1n << 46n)],
  ['a base that is not canonical', set(F.HOST_GS_BASE, 1n << 47n)],
  ['a selector with an RPL', set(F.HOST_CS_SELECTOR, 0x13)],
  ['a null CS', set(F.HOST_CS_SELECTOR, 0)],
  ['a null TR', set(F.HOST_TR_SELECTOR, 0)],
  ['EFER without LMA', set(F.HOST_IA32_EFER, 0x100)],
  ['an exit that would not go back to 64-bit mode', clear(F.VM_EXIT_CONTROLS, C.VM_EXIT_HOST_ADDR_SPACE_SIZE)],
];
for (const [name, change] of host) {
  test(`entry fails with error 8: ${name}`, () => {
    const { vmx } = guest('real', [], change);
    assert.equal(vmx.vmlaunch(), 'valid');
    assert.equal(vmx.read32(F.VM_INSTRUCTION_ERROR), E.VMXERR_ENTRY_INVALID_HOST_STATE_FIELD);
  });
}

const PAE: Change = all(set(F.GUEST_CR0, 0x8000_0031), set(F.GUEST_CR4, 0x2020), set(F.GUEST_PDPTR0, 0x2001));
const state: [string, 'real' | 'protected' | 'long', Change, number?][] = [
  ['a VMCS link pointer', 'real', set(F.VMCS_LINK_POINTER, 0x1000), G.ENTRY_FAIL_VMCS_LINK_PTR],
  ['paging without protection', 'real', set(F.GUEST_CR0, 0x8000_0030)],
  ['CR0.PE clear in a restricted guest', 'real', clear(F.SECONDARY_VM_EXEC_CONTROL, C.SECONDARY_EXEC_UNRESTRICTED_GUEST)],
  ['CR4 without VMXE', 'protected', set(F.GUEST_CR4, 0)],
  ['CR4 with a bit that does not exist', 'protected', set(F.GUEST_CR4, 0x2000 | (1 << 15))],
  ['long mode without PAE', 'long', set(F.GUEST_CR4, 0x2000)],
  ['PCIDE outside long mode', 'protected', set(F.GUEST_CR4, 0x2_2000)],
  ['EFER.LMA against the entry control', 'long', set(F.GUEST_IA32_EFER, 0)],
  ['EFER with reserved bits', 'protected', set(F.GUEST_IA32_EFER, 1 << 9)],
  ['DR7 with high bits', 'protected', set(F.GUEST_DR7, 1n << 32n)],
  ['SYSENTER_EIP not canonical', 'protected', set(F.GUEST_SYSENTER_EIP, 1n << 47n)],
  ['a code segment that is data in 64-bit mode and DB set', 'long', set(F.GUEST_CS_AR_BYTES, 0xe09b)],
  ['an unusable code segment', 'protected', set(F.GUEST_CS_AR_BYTES, 0x1_c09b)],
  ['a data segment that is not accessed', 'protected', set(F.GUEST_DS_AR_BYTES, 0xc092)],
  ['a segment that is not present', 'protected', set(F.GUEST_ES_AR_BYTES, 0xc013)],
  ['a limit that its granularity cannot give', 'protected', set(F.GUEST_DS_LIMIT, 0xffff_fffe)],
  ['byte granularity with a limit over 1 MiB', 'protected', set(F.GUEST_DS_AR_BYTES, 0x4093)],
  ['a DS base over 4 GiB', 'long', set(F.GUEST_DS_BASE, 1n << 32n)],
  ['privilege levels of CS and SS that differ', 'protected', set(F.GUEST_SS_AR_BYTES, 0xc0f3)],
  ['an available TSS in TR', 'protected', set(F.GUEST_TR_AR_BYTES, 0x89)],
  ['an unusable TR', 'protected', set(F.GUEST_TR_AR_BYTES, 0x1_008b)],
  ['a usable LDTR that is no LDT', 'protected', set(F.GUEST_LDTR_AR_BYTES, 0x8b)],
  ['an IDT limit over 64 KiB', 'protected', set(F.GUEST_IDTR_LIMIT, 0x1_0000)],
  ['RFLAGS without bit 1', 'protected', set(F.GUEST_RFLAGS, 0)],
  ['RFLAGS with a reserved bit', 'protected', set(F.GUEST_RFLAGS, 0xa)],
  ['virtual-8086 mode in long mode', 'long', set(F.GUEST_RFLAGS, 0x2_0002)],
  ['RIP over 4 GiB outside 64-bit mode', 'protected', set(F.GUEST_RIP, 1n << 32n)],
  ['RIP with bits 63 to 48 unlike', 'long', set(F.GUEST_RIP, 1n << 48n)],
  ['an activity state that does not exist', 'real', set(F.GUEST_ACTIVITY_STATE, 4)],
  ['blocking by STI with IF clear', 'real', set(F.GUEST_INTERRUPTIBILITY_INFO, 1)],
  ['blocking by STI and MOV SS at once', 'real', all(set(F.GUEST_RFLAGS, 0x202), set(F.GUEST_INTERRUPTIBILITY_INFO, 3))],
  ['an external interrupt injected with IF clear', 'real', inject(0x20)],
  ['an external interrupt injected in the shadow of STI', 'real', all(set(F.GUEST_RFLAGS, 0x202), set(F.GUEST_INTERRUPTIBILITY_INFO, 1), inject(0x20))],
  ['an NMI injected while NMIs are blocked', 'real', all(set(F.GUEST_INTERRUPTIBILITY_INFO, 8), inject(0x202)), G.ENTRY_FAIL_NMI],
  ['an NMI injected after MOV SS', 'real', all(set(F.GUEST_INTERRUPTIBILITY_INFO, 2), inject(0x202)), G.ENTRY_FAIL_NMI],
  ['a page fault injected into a halted guest', 'protected', all(set(F.GUEST_ACTIVITY_STATE, 1), inject(0xb0e))],
  ['a PDPTE with reserved bits', 'protected', all(PAE, set(F.GUEST_PDPTR0, 0x2003)), G.ENTRY_FAIL_PDPTE],
];
for (const [name, mode, change, qualification = G.ENTRY_FAIL_DEFAULT] of state) {
  test(`entry fails with exit 33: ${name}`, () => {
    const { vmx } = guest(mode, [], change);
    const rip = vmx.read64(F.GUEST_RIP);
    assert.equal(vmx.vmlaunch(), 'ok');
    assert.ok(!vmx.inGuest);
    assert.equal(vmx.read32(F.VM_EXIT_REASON), (EXIT_REASON_INVALID_STATE | VMX_EXIT_REASONS_FAILED_VMENTRY) >>> 0);
    assert.equal(vmx.readNumber(F.EXIT_QUALIFICATION), qualification);
    assert.equal(vmx.read64(F.GUEST_RIP), rip);
    assert.equal(vmx.vmresume(), 'valid', 'a failed launch leaves the VMCS clear');
  });
}

test('PAE paging with good PDPTEs enters', () => {
  const { vmx } = guest('protected', [], PAE);
  assert.equal(vmx.vmlaunch(), 'ok');
  assert.ok(vmx.inGuest);
});

test('an MSR list of which the second entry cannot be loaded fails with exit 34 and says 2', () => {
  const { vmx } = guest('protected', [], (v) => {
    const { mem, base } = v.ram;
    const at = (base + GUEST_RAM + 0x10_0000) >>> 3;
    mem.u64.set([0xc000_0081n, 0x1234n, 0xc000_0100n, 0n], at);
    set(F.VM_ENTRY_MSR_LOAD_ADDR, GUEST_RAM + 0x10_0000)(v);
    set(F.VM_ENTRY_MSR_LOAD_COUNT, 2)(v);
  });
  assert.equal(vmx.vmlaunch(), 'ok');
  assert.equal(vmx.read32(F.VM_EXIT_REASON), (EXIT_REASON_MSR_LOAD_FAIL | VMX_EXIT_REASONS_FAILED_VMENTRY) >>> 0);
  assert.equal(vmx.readNumber(F.EXIT_QUALIFICATION), 2);
  assert.equal(vmx.cpu.state.star, 0x1234n);
});

test('what passed its checks is checked again after it was written', () => {
  const { vmx } = guest('protected', []);
  set(F.GUEST_CR4, 0)(vmx);
  assert.equal(vmx.vmlaunch(), 'ok');
  assert.ok(!vmx.inGuest);
  set(F.GUEST_CR4, 0x2000)(vmx);
  set(F.HOST_TR_SELECTOR, 0)(vmx);
  assert.equal(vmx.vmlaunch(), 'valid');
  set(F.HOST_TR_SELECTOR, 0x40)(vmx);
  assert.equal(vmx.vmlaunch(), 'ok');
  assert.ok(vmx.inGuest);
});
