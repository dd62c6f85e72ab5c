/**
 * What VM entry checks of controls and host state before it touches the guest: SDM 27.2 (26.2 in older editions).
 * A failure is VMfailValid with the error number; nothing has changed then. Guest state is in guest-checks.ts.
 *
 * What was found good and not written since is not looked at again, see Vmcs.clean; event injection always is.
 */
import * as C from './controls.ts';
import * as F from './fields.ts';
import { MAXPHYADDR } from '../cpu/paging.ts';
import { EFER_LMA, EFER_LME, EFER_NX, EFER_SCE } from '../cpu/state.ts';
import { isCanonical } from '../cpu/memory.ts';
import { pushesError } from '../cpu/exceptions.ts';
import { CLEAN_CONTROLS, CLEAN_HOST, type Vmcs } from './vmcs.ts';
import type { Ram } from '../ram.ts';

/** VM-instruction error numbers (SDM 31.4), names as in Linux's asm/vmx.h. */
export const VMXERR_VMCALL_IN_VMX_ROOT_OPERATION = 1;
export const VMXERR_VMCLEAR_INVALID_ADDRESS = 2;
export const VMXERR_VMCLEAR_VMXON_POINTER = 3;
export const VMXERR_VMLAUNCH_NONCLEAR_VMCS = 4;
export const VMXERR_VMRESUME_NONLAUNCHED_VMCS = 5;
export const VMXERR_ENTRY_INVALID_CONTROL_FIELD = 7;
export const VMXERR_ENTRY_INVALID_HOST_STATE_FIELD = 8;
export const VMXERR_VMPTRLD_INVALID_ADDRESS = 9;
export const VMXERR_VMPTRLD_VMXON_POINTER = 10;
export const VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID = 11;
export const VMXERR_UNSUPPORTED_VMCS_COMPONENT = 12;
export const VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT = 13;
export const VMXERR_VMXON_IN_VMX_ROOT_OPERATION = 15;
export const VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS = 26;
export const VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID = 28;

/** Interruption information (SDM 25.8.3). */
export const INTR_INFO_VECTOR_MASK = 0xff;
export const INTR_INFO_INTR_TYPE_MASK = 0x700;
export const INTR_INFO_DELIVER_CODE_MASK = 0x800;
export const INTR_INFO_UNBLOCK_NMI = 0x1000;
export const INTR_INFO_VALID_MASK = 0x8000_0000;
const INTR_INFO_RESERVED = 0x7fff_f000;

export const PHYSICAL_LIMIT = 2 ** MAXPHYADDR;
export const isPhysical = (address: number, alignment: number): boolean => address < PHYSICAL_LIMIT && address % alignment === 0;
export const isPat = (pat: bigint): boolean => {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = Number((pat >> i) & 0xffn);
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
};
export const EFER_BITS = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;

/** Secondary controls count only while they are activated. */
export const secondaryControls = (v: Vmcs): number =>
  (v.read32(F.CPU_BASED_VM_EXEC_CONTROL) & C.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) !== 0 ? v.read32(F.SECONDARY_VM_EXEC_CONTROL) : 0;

/** 0, or the VM-instruction error. */
export function checkEntry(v: Vmcs, ram: Ram): number {
  const clean = v.clean;
  if ((clean & CLEAN_CONTROLS) === 0) {
    if (!controlsAreValid(v)) return VMXERR_ENTRY_INVALID_CONTROL_FIELD;
    v.clean |= CLEAN_CONTROLS;
  }
  if (!windowIsValid(v) || !thresholdIsValid(v, ram) || !injectionIsValid(v)) return VMXERR_ENTRY_INVALID_CONTROL_FIELD;
  if ((clean & CLEAN_HOST) === 0) {
    if (!hostIsValid(v)) return VMXERR_ENTRY_INVALID_HOST_STATE_FIELD;
    v.clean |= CLEAN_HOST;
  }
  return 0;
}

function controlsAreValid(v: Vmcs): boolean {
  const pin = v.read32(F.PIN_BASED_VM_EXEC_CONTROL);
  const cpuBased = v.read32(F.CPU_BASED_VM_EXEC_CONTROL);
  const second = secondaryControls(v);
  const exit = v.read32(F.VM_EXIT_CONTROLS);
  const entry = v.read32(F.VM_ENTRY_CONTROLS);
  if (!C.permits(C.pinBased, pin) || !C.permits(C.cpuBased, cpuBased) || !C.permits(C.secondary, second)) return false;
  if (!C.permits(C.vmExit, exit) || !C.permits(C.vmEntry, entry)) return false;
  if (v.read32(F.CR3_TARGET_COUNT) > C.CR3_TARGETS) return false;
  if ((cpuBased & C.CPU_BASED_USE_IO_BITMAPS) !== 0
    && !(isPhysical(v.readNumber(F.IO_BITMAP_A), 4096) && isPhysical(v.readNumber(F.IO_BITMAP_B), 4096))) return false;
  if ((cpuBased & C.CPU_BASED_USE_MSR_BITMAPS) !== 0 && !isPhysical(v.readNumber(F.MSR_BITMAP), 4096)) return false;
  if ((cpuBased & C.CPU_BASED_TPR_SHADOW) !== 0 && !isPhysical(v.readNumber(F.VIRTUAL_APIC_PAGE_ADDR), 4096)) return false;
  if ((pin & C.PIN_BASED_VIRTUAL_NMIS) !== 0 && (pin & C.PIN_BASED_NMI_EXITING) === 0) return false;
  const ept = (second & C.SECONDARY_EXEC_ENABLE_EPT) !== 0;
  if (ept && !isEptPointer(v.readNumber(F.EPT_POINTER))) return false;
  if (!ept && (second & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) !== 0) return false;
  if ((second & C.SECONDARY_EXEC_ENABLE_VPID) !== 0 && v.read32(F.VIRTUAL_PROCESSOR_ID) === 0) return false;
  if ((pin & C.PIN_BASED_VMX_PREEMPTION_TIMER) === 0 && (exit & C.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER) !== 0) return false;
  return isMsrList(v, F.VM_EXIT_MSR_STORE_COUNT, F.VM_EXIT_MSR_STORE_ADDR) && isMsrList(v, F.VM_EXIT_MSR_LOAD_COUNT, F.VM_EXIT_MSR_LOAD_ADDR)
    && isMsrList(v, F.VM_ENTRY_MSR_LOAD_COUNT, F.VM_ENTRY_MSR_LOAD_ADDR);
}

function isMsrList(v: Vmcs, count: number, address: number): boolean {
  const n = v.read32(count);
  const at = v.readNumber(address);
  return n === 0 || (isPhysical(at, 16) && at + 16 * n <= PHYSICAL_LIMIT);
}

/** Memory type UC or WB, a walk of four levels, the A/D flag, nothing reserved. */
export function isEptPointer(pointer: number): boolean {
  const low = pointer % 4096;
  const type = low & 7;
  return (type === 0 || type === 6) && ((low >> 3) & 7) === 3 && (low & 0xf80) === 0 && pointer < PHYSICAL_LIMIT;
}

const windowIsValid = (v: Vmcs): boolean =>
  (v.read32(F.CPU_BASED_VM_EXEC_CONTROL) & C.CPU_BASED_NMI_WINDOW_EXITING) === 0 || (v.read32(F.PIN_BASED_VM_EXEC_CONTROL) & C.PIN_BASED_VIRTUAL_NMIS) !== 0;

/** The TPR threshold is compared with memory, so it is looked at on every entry. */
function thresholdIsValid(v: Vmcs, ram: Ram): boolean {
  if ((v.read32(F.CPU_BASED_VM_EXEC_CONTROL) & C.CPU_BASED_TPR_SHADOW) === 0) return true;
  const threshold = v.read32(F.TPR_THRESHOLD);
  const page = v.readNumber(F.VIRTUAL_APIC_PAGE_ADDR);
  return (threshold & ~0xf) === 0 && page + 4096 <= ram.size && threshold <= ((ram.mem.u8[ram.base + page + 0x80]! >> 4) & 0xf);
}

function injectionIsValid(v: Vmcs): boolean {
  const info = v.read32(F.VM_ENTRY_INTR_INFO_FIELD);
  if ((info & INTR_INFO_VALID_MASK) === 0) return true;
  const vector = info & INTR_INFO_VECTOR_MASK;
  const type = (info >> 8) & 7;
  if ((info & INTR_INFO_RESERVED) !== 0 || type === 1) return false;
  if (type === 7 && vector !== 0) return false;
  if (type === 2 && vector !== 2) return false;
  if (type === 3 && vector > 31) return false;
  const restricted = (secondaryControls(v) & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) === 0 || (v.read32(F.GUEST_CR0) & 1) !== 0;
  const withError = type === 3 && restricted && pushesError(vector);
  if (((info & INTR_INFO_DELIVER_CODE_MASK) !== 0) !== withError) return false;
  if (withError && (v.read32(F.VM_ENTRY_EXCEPTION_ERROR_CODE) & ~0xffff) !== 0) return false;
  if (type === 4 || type === 5 || type === 6) {
    const length = v.read32(F.VM_ENTRY_INSTRUCTION_LEN);
    if (length < 1 || length > 15) return false;
  }
  return true;
}

function hostIsValid(v: Vmcs): boolean {
  const exit = v.read32(F.VM_EXIT_CONTROLS);
  const cr0 = v.read64(F.HOST_CR0);
  const cr4 = v.read64(F.HOST_CR4);
  if ((cr0 & C.CR0_FIXED0) !== C.CR0_FIXED0 || (cr0 & ~C.CR0_FIXED1) !== 0n) return false;
  if ((cr4 & C.CR4_FIXED0) !== C.CR4_FIXED0 || (cr4 & ~C.CR4_FIXED1) !== 0n) return false;
  if (v.readNumber(F.HOST_CR3) >= PHYSICAL_LIMIT) return false;
  for (const field of [F.HOST_IA32_SYSENTER_ESP, F.HOST_IA32_SYSENTER_EIP, F.HOST_FS_BASE, F.HOST_GS_BASE, F.HOST_TR_BASE, F.HOST_GDTR_BASE, F.HOST_IDTR_BASE, F.HOST_RIP]) {
    if (!isCanonical(v.read64(field))) return false;
  }
  if ((exit & C.VM_EXIT_LOAD_IA32_PAT) !== 0 && !isPat(v.read64(F.HOST_IA32_PAT))) return false;
  // The processor enters guests from 64-bit mode alone, and goes back to it.
  const long = (exit & C.VM_EXIT_HOST_ADDR_SPACE_SIZE) !== 0;
  if (!long || (cr4 & 0x20n) === 0n) return false;
  if ((exit & C.VM_EXIT_LOAD_IA32_EFER) !== 0) {
    const efer = v.read64(F.HOST_IA32_EFER);
    if ((efer & ~EFER_BITS) !== 0n || (efer & (EFER_LMA | EFER_LME)) !== (EFER_LMA | EFER_LME)) return false;
  }
  for (const field of [F.HOST_ES_SELECTOR, F.HOST_CS_SELECTOR, F.HOST_SS_SELECTOR, F.HOST_DS_SELECTOR, F.HOST_FS_SELECTOR, F.HOST_GS_SELECTOR, F.HOST_TR_SELECTOR]) {
    if ((v.read32(field) & 7) !== 0) return false;
  }
  return v.read32(F.HOST_CS_SELECTOR) !== 0 && v.read32(F.HOST_TR_SELECTOR) !== 0;
}
