/**
 * What VM entry checks of the guest state: SDM 27.3.1 (26.3.1 in older editions). A failure is a VM exit with reason 33
 * and one of the qualifications below.
 *
 * Most of it need be looked at only after VMWRITEs, because a guest cannot bring itself into a state that entry would
 * refuse (Vmcs.clean); RIP, RFLAGS, interruptibility and activity are written so often that they are always checked.
 */
import * as C from './controls.ts';
import * as F from './fields.ts';
import { isCanonical } from '../cpu/memory.ts';
import {
  CS, DS, EFER_LMA, EFER_LME, ES, FS, GS, LDTR, SEG_DB, SEG_G, SEG_L, SEG_P, SEG_S, SEG_TYPE, SEG_UNUSABLE, SS, TR,
  X86_CR0_PE, X86_CR0_PG, X86_CR4_PAE, X86_CR4_PCIDE, X86_EFLAGS_IF, X86_EFLAGS_TF, X86_EFLAGS_VM,
} from '../cpu/state.ts';
import { EFER_BITS, INTR_INFO_VALID_MASK, PHYSICAL_LIMIT, isPat, secondaryControls } from './entry-checks.ts';
import { CLEAN_GUEST, type Vmcs } from './vmcs.ts';

/** Exit qualifications of an entry failed by guest state; -1 is none. */
export const ENTRY_FAIL_DEFAULT = 0;
export const ENTRY_FAIL_PDPTE = 2;
export const ENTRY_FAIL_NMI = 3;
export const ENTRY_FAIL_VMCS_LINK_PTR = 4;
export const ENTRY_GOOD = -1;

export const GUEST_INTR_STATE_STI = 1 << 0;
export const GUEST_INTR_STATE_MOV_SS = 1 << 1;
export const GUEST_INTR_STATE_NMI = 1 << 3;
export const GUEST_ACTIVITY_ACTIVE = 0;
export const GUEST_ACTIVITY_HLT = 1;
export const GUEST_ACTIVITY_SHUTDOWN = 2;

const RFLAGS_RESERVED = 0xffc0_8028;
const NO_VMCS = 0xffff_ffff_ffff_ffffn;

export function checkGuest(v: Vmcs): number {
  if ((v.clean & CLEAN_GUEST) === 0) {
    if (v.read64(F.VMCS_LINK_POINTER) !== NO_VMCS) return ENTRY_FAIL_VMCS_LINK_PTR;
    if (!controlRegistersAreValid(v) || !segmentsAreValid(v)) return ENTRY_FAIL_DEFAULT;
    if (!pdptesAreValid(v)) return ENTRY_FAIL_PDPTE;
    v.clean |= CLEAN_GUEST;
  }
  return checkExecution(v);
}

const segmentField = (first: number, seg: number): number => first + 2 * seg;
const rights = (v: Vmcs, seg: number): number => v.read32(segmentField(F.GUEST_ES_AR_BYTES, seg));
const isLong = (v: Vmcs): boolean => (v.read32(F.VM_ENTRY_CONTROLS) & C.VM_ENTRY_IA32E_MODE) !== 0;

function controlRegistersAreValid(v: Vmcs): boolean {
  const entry = v.read32(F.VM_ENTRY_CONTROLS);
  const long = isLong(v);
  const cr0 = v.read64(F.GUEST_CR0);
  const cr4 = v.read64(F.GUEST_CR4);
  const unrestricted = (secondaryControls(v) & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) !== 0;
  const required = unrestricted ? C.CR0_FIXED0_UNRESTRICTED : C.CR0_FIXED0;
  if ((cr0 & required) !== required || (cr0 & ~C.CR0_FIXED1) !== 0n) return false;
  if ((cr0 & X86_CR0_PG) !== 0n && (cr0 & X86_CR0_PE) === 0n) return false;
  if ((cr4 & C.CR4_FIXED0) !== C.CR4_FIXED0 || (cr4 & ~C.CR4_FIXED1) !== 0n) return false;
  if (long && ((cr0 & X86_CR0_PG) === 0n || (cr4 & X86_CR4_PAE) === 0n)) return false;
  if (!long && (cr4 & X86_CR4_PCIDE) !== 0n) return false;
  if (v.readNumber(F.GUEST_CR3) >= PHYSICAL_LIMIT) return false;
  if ((entry & C.VM_ENTRY_LOAD_DEBUG_CONTROLS) !== 0 && v.readHigh(F.GUEST_DR7) !== 0) return false;
  if (!isCanonical(v.read64(F.GUEST_SYSENTER_ESP)) || !isCanonical(v.read64(F.GUEST_SYSENTER_EIP))) return false;
  if ((entry & C.VM_ENTRY_LOAD_IA32_PAT) !== 0 && !isPat(v.read64(F.GUEST_IA32_PAT))) return false;
  if ((entry & C.VM_ENTRY_LOAD_IA32_EFER) !== 0) {
    const efer = v.read64(F.GUEST_IA32_EFER);
    if ((efer & ~EFER_BITS) !== 0n || ((efer & EFER_LMA) !== 0n) !== long) return false;
    if ((cr0 & X86_CR0_PG) !== 0n && ((efer & EFER_LME) !== 0n) !== long) return false;
  }
  return true;
}

function segmentsAreValid(v: Vmcs): boolean {
  const vm86 = (v.read32(F.GUEST_RFLAGS) & X86_EFLAGS_VM) !== 0;
  for (const seg of [ES, CS, SS, DS, FS, GS]) {
    if (!(vm86 ? isVm86Segment(v, seg) : isSegment(v, seg))) return false;
  }
  if (!vm86 && !stackFitsCode(v)) return false;
  if (!isTaskRegister(v) || !isLdtr(v)) return false;
  for (const base of [F.GUEST_FS_BASE, F.GUEST_GS_BASE, F.GUEST_TR_BASE, F.GUEST_GDTR_BASE, F.GUEST_IDTR_BASE]) if (!isCanonical(v.read64(base))) return false;
  return v.read32(F.GUEST_GDTR_LIMIT) <= 0xffff && v.read32(F.GUEST_IDTR_LIMIT) <= 0xffff;
}

function isVm86Segment(v: Vmcs, seg: number): boolean {
  return v.readNumber(segmentField(F.GUEST_ES_BASE, seg)) === v.read32(segmentField(F.GUEST_ES_SELECTOR, seg)) * 16
    && v.read32(segmentField(F.GUEST_ES_LIMIT, seg)) === 0xffff && rights(v, seg) === 0xf3;
}

/** The granularity bit must be what the limit needs: low 12 bits not all ones: clear; high 12 bits not zero: set. */
const granularityFits = (limit: number, access: number): boolean =>
  ((access & SEG_G) === 0 || (limit & 0xfff) === 0xfff) && ((access & SEG_G) !== 0 || limit <= 0xf_ffff);

function isSegment(v: Vmcs, seg: number): boolean {
  const access = rights(v, seg);
  const type = access & SEG_TYPE;
  const usable = (access & SEG_UNUSABLE) === 0;
  if (seg !== CS && !usable) return true;
  const limit = v.read32(segmentField(F.GUEST_ES_LIMIT, seg));
  if (seg < FS && v.readHigh(segmentField(F.GUEST_ES_BASE, seg)) !== 0) return false;
  if ((access & SEG_S) === 0 || (access & SEG_P) === 0 || (access & 0xfffe_0f00) !== 0 || !granularityFits(limit, access)) return false;
  if (seg === CS) {
    const unrestricted = (secondaryControls(v) & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) !== 0;
    if (!usable || !((type & 9) === 9 || (unrestricted && type === 3))) return false;
    return !(isLong(v) && (access & SEG_L) !== 0 && (access & SEG_DB) !== 0);
  }
  if (seg === SS) return type === 3 || type === 7;
  return (type & 1) !== 0 && ((type & 8) === 0 || (type & 2) !== 0);
}

/** Privilege levels of SS and CS, and their selectors, fit each other (27.3.1.2). */
function stackFitsCode(v: Vmcs): boolean {
  const cs = rights(v, CS);
  const ss = rights(v, SS);
  const csDpl = (cs >> 5) & 3;
  const ssDpl = (ss >> 5) & 3;
  const type = cs & SEG_TYPE;
  const protectedMode = (v.read32(F.GUEST_CR0) & 1) !== 0;
  const unrestricted = (secondaryControls(v) & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) !== 0;
  if (!unrestricted && (ss & SEG_UNUSABLE) === 0 && ((v.read32(F.GUEST_SS_SELECTOR) ^ v.read32(F.GUEST_CS_SELECTOR)) & 3) !== 0) return false;
  if (type === 3 ? csDpl !== 0 : (type & 4) === 0 ? csDpl !== ssDpl : csDpl > ssDpl) return false;
  if (!unrestricted && (ss & SEG_UNUSABLE) === 0 && ssDpl !== (v.read32(F.GUEST_SS_SELECTOR) & 3)) return false;
  return !((type === 3 || !protectedMode) && ssDpl !== 0);
}

function isTaskRegister(v: Vmcs): boolean {
  const access = rights(v, TR);
  const type = access & SEG_TYPE;
  if ((v.read32(F.GUEST_TR_SELECTOR) & 4) !== 0) return false;
  if (!(type === 11 || (type === 3 && !isLong(v)))) return false;
  return (access & (SEG_S | SEG_P | SEG_UNUSABLE)) === SEG_P && (access & 0xfffe_0f00) === 0 && granularityFits(v.read32(F.GUEST_TR_LIMIT), access);
}

function isLdtr(v: Vmcs): boolean {
  const access = rights(v, LDTR);
  if ((access & SEG_UNUSABLE) !== 0) return true;
  if ((v.read32(F.GUEST_LDTR_SELECTOR) & 4) !== 0 || (access & SEG_TYPE) !== 2 || !isCanonical(v.read64(F.GUEST_LDTR_BASE))) return false;
  return (access & (SEG_S | SEG_P)) === SEG_P && (access & 0xfffe_0f00) === 0 && granularityFits(v.read32(F.GUEST_LDTR_LIMIT), access);
}

/** With EPT the four top entries of PAE paging come from the VMCS and must have no reserved bit set. */
function pdptesAreValid(v: Vmcs): boolean {
  if (!usesPdptes(v)) return true;
  for (const field of [F.GUEST_PDPTR0, F.GUEST_PDPTR1, F.GUEST_PDPTR2, F.GUEST_PDPTR3]) {
    const entry = v.read64(field);
    if ((entry & 1n) !== 0n && ((entry & 0x1e6n) !== 0n || entry >= BigInt(PHYSICAL_LIMIT))) return false;
  }
  return true;
}

export function usesPdptes(v: Vmcs): boolean {
  return (secondaryControls(v) & C.SECONDARY_EXEC_ENABLE_EPT) !== 0 && !isLong(v)
    && (v.read32(F.GUEST_CR0) & 0x8000_0000) !== 0 && (v.read32(F.GUEST_CR4) & 0x20) !== 0;
}

/** RIP, RFLAGS, activity and interruptibility, against each other and against the event to be injected. */
function checkExecution(v: Vmcs): number {
  const rflags = v.read32(F.GUEST_RFLAGS);
  if ((rflags & RFLAGS_RESERVED) !== 0 || (rflags & 2) === 0 || v.readHigh(F.GUEST_RFLAGS) !== 0) return ENTRY_FAIL_DEFAULT;
  const long = isLong(v);
  if ((rflags & X86_EFLAGS_VM) !== 0 && (long || (v.read32(F.GUEST_CR0) & 1) === 0)) return ENTRY_FAIL_DEFAULT;
  if (long && (rights(v, CS) & SEG_L) !== 0) {
    const high = v.readHigh(F.GUEST_RIP) | 0;
    // Bits 63 to 48 alike, not 63 to 47: the instruction at the last canonical address may have ended there.
    if (high >> 16 !== 0 && high >> 16 !== -1) return ENTRY_FAIL_DEFAULT;
  } else if (v.readHigh(F.GUEST_RIP) !== 0) {
    return ENTRY_FAIL_DEFAULT;
  }
  const blocked = v.read32(F.GUEST_INTERRUPTIBILITY_INFO);
  const activity = v.read32(F.GUEST_ACTIVITY_STATE);
  const shadow = blocked & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
  if ((blocked & ~(shadow | GUEST_INTR_STATE_NMI)) !== 0 || shadow === 3 || activity > GUEST_ACTIVITY_SHUTDOWN) return ENTRY_FAIL_DEFAULT;
  if ((blocked & GUEST_INTR_STATE_STI) !== 0 && (rflags & X86_EFLAGS_IF) === 0) return ENTRY_FAIL_DEFAULT;
  if (activity !== GUEST_ACTIVITY_ACTIVE && shadow !== 0) return ENTRY_FAIL_DEFAULT;
  if (activity === GUEST_ACTIVITY_HLT && ((rights(v, SS) >> 5) & 3) !== 0) return ENTRY_FAIL_DEFAULT;
  const pending = v.read32(F.GUEST_PENDING_DBG_EXCEPTIONS);
  if ((pending & ~0x1_500f) !== 0 || v.readHigh(F.GUEST_PENDING_DBG_EXCEPTIONS) !== 0) return ENTRY_FAIL_DEFAULT;
  // After an instruction that blocks for one more, a single-step trap is pending exactly if TF (and not BTF) is set.
  if ((shadow !== 0 || activity === GUEST_ACTIVITY_HLT) && ((pending & 0x4000) !== 0) !== ((rflags & X86_EFLAGS_TF) !== 0)) return ENTRY_FAIL_DEFAULT;
  const info = v.read32(F.VM_ENTRY_INTR_INFO_FIELD);
  return (info & INTR_INFO_VALID_MASK) === 0 ? ENTRY_GOOD : checkInjection(v, info, rflags, blocked, activity);
}

function checkInjection(v: Vmcs, info: number, rflags: number, blocked: number, activity: number): number {
  const type = (info >> 8) & 7;
  const vector = info & 0xff;
  const shadow = blocked & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
  if (type === 0 && ((rflags & X86_EFLAGS_IF) === 0 || shadow !== 0)) return ENTRY_FAIL_DEFAULT;
  if (type === 2) {
    if ((blocked & GUEST_INTR_STATE_MOV_SS) !== 0) return ENTRY_FAIL_NMI;
    if ((blocked & GUEST_INTR_STATE_NMI) !== 0 && (v.read32(F.PIN_BASED_VM_EXEC_CONTROL) & C.PIN_BASED_VIRTUAL_NMIS) !== 0) return ENTRY_FAIL_NMI;
  }
  if (activity === GUEST_ACTIVITY_HLT && !(type === 0 || type === 2 || type === 7 || (type === 3 && (vector === 1 || vector === 18)))) return ENTRY_FAIL_DEFAULT;
  if (activity === GUEST_ACTIVITY_SHUTDOWN && !(type === 2 || (type === 3 && vector === 18))) return ENTRY_FAIL_DEFAULT;
  return ENTRY_GOOD;
}
