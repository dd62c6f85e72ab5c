/**
 * System management mode of a processor that runs machine code by itself: SMI saves the registers at SMBASE + FE00h and
 * starts the handler at SMBASE + 8000h, RSM takes them back. SDM Vol. 3 ch. 32; the area is laid out as AMD's 64-bit
 * one (APM Vol. 2 table 10-1), the layout KVM and QEMU have. Guests of KVM get their SMM from KVM.
 *
 * What RSM finds may be anything: values that no register takes end in a shutdown.
 */
import { CR0_BITS, CR4_BITS, EFER_BITS } from './control-registers.ts';
import { DR7_FIXED } from './debug.ts';
import { UD_VECTOR, raise } from './exceptions.ts';
import { isCanonical, readPhysical, writePhysical } from './memory.ts';
import { loadPdptes } from './paging.ts';
import {
  ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, CS, type CpuState, DS, EFER_LMA, EFER_LME, ES, EVENT_SMI, FS, GS, LDTR, SEG_P, SEG_UNUSABLE, SS, STATE, TR, X86_CR0_CD,
  X86_CR0_ET, X86_CR0_NW, X86_CR0_PE, X86_CR0_PG, X86_CR4_PAE, X86_CR4_PCIDE, updateMode,
} from './state.ts';

/** Offsets from SMBASE. */
const ENTRY = 0x8000, SEGMENTS = 0xfe00, AUTO_HALT = 0xfec9, NMI_MASK = 0xfeca, EFER = 0xfed0, REVISION = 0xfefc, SMBASE = 0xff00;
const CR4 = 0xff48, CR3 = 0xff50, CR0 = 0xff58, DR7 = 0xff60, DR6 = 0xff68, RFLAGS = 0xff70, RIP = 0xff78, RAX_AT = 0xfff8;
/** The order in which the area has them, 16 bytes each; the tables have no selector. */
const PLACES = [ES, CS, SS, DS, FS, GS, 'gdtr', LDTR, 'idtr', TR] as const;
const REVISION_64 = 0x2_0064n;
/** Present, accessed, writable data of 4 GiB, in a 16-bit stack. */
const SMM_SEGMENT = 0x8093;

const word = (cpu: CpuState, offset: number): bigint => cpu.u64[offset >>> 3]!;

/** An SMI that is not held off: called between two instructions. */
export function enterSmm(cpu: CpuState): void {
  const { smm, state } = cpu;
  const save = (at: number, size: number, value: bigint): void => writePhysical(cpu, smm.base + at, size, value);
  PLACES.forEach((place, i) => {
    const at = SEGMENTS + 16 * i;
    if (typeof place === 'string') {
      save(at + 4, 4, BigInt(place === 'gdtr' ? state.gdtr_limit : state.idtr_limit));
      save(at + 8, 8, place === 'gdtr' ? state.gdtr_base : state.idtr_base);
      return;
    }
    const access = cpu.segAccess(place);
    save(at, 2, BigInt(cpu.selector(place)));
    save(at + 2, 2, BigInt(access & SEG_UNUSABLE ? access & 0xffff & ~SEG_P : access & 0xffff));
    save(at + 4, 4, BigInt(cpu.segLimit(place)));
    save(at + 8, 8, cpu.segBase(place));
  });
  save(AUTO_HALT, 1, state.activity === ACTIVITY_HLT ? 1n : 0n);
  save(NMI_MASK, 1, BigInt(state.nmi_blocked));
  for (const [at, value] of [
    [EFER, state.efer], [CR4, state.cr4], [CR3, state.cr3], [CR0, state.cr0], [DR7, state.dr.get(7)], [DR6, state.dr.get(6)], [RFLAGS, BigInt(cpu.engine.readFlags(cpu))], [RIP, cpu.rip],
  ] as const) save(at, 8, value);
  save(REVISION, 4, REVISION_64);
  save(SMBASE, 4, BigInt(smm.base));
  for (let i = 0; i < 16; i++) save(RAX_AT - 8 * i, 8, cpu.gpr[i]!);

  smm.inside = true;
  cpu.pending &= ~EVENT_SMI;
  cpu.u32[STATE.activity >>> 2] = ACTIVITY_ACTIVE;
  state.nmi_blocked = 1;
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0, 0n, 0xffff_ffff, SMM_SEGMENT);
  cpu.setSegment(CS, smm.base >>> 4 & 0xffff, BigInt(smm.base), 0xffff_ffff, SMM_SEGMENT);
  state.cr0 = state.cr0 & (X86_CR0_CD | X86_CR0_NW) | X86_CR0_ET;
  state.cr4 = state.efer = 0n;
  state.dr.set(7, DR7_FIXED);
  cpu.rip = BigInt(ENTRY);
  cpu.engine.writeFlags(cpu, 2);
  cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}

/** Whether processors take these values together. */
function isLegal(cr0: bigint, cr4: bigint, efer: bigint, rip: bigint): boolean {
  const paged = (cr0 & X86_CR0_PG) !== 0n, long = (efer & EFER_LMA) !== 0n;
  if (cr0 & ~CR0_BITS || cr4 & ~CR4_BITS || efer & ~EFER_BITS || !isCanonical(rip)) return false;
  if ((paged && !(cr0 & X86_CR0_PE)) || (cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD))) return false;
  if (long !== (paged && (efer & EFER_LME) !== 0n) || (long && !(cr4 & X86_CR4_PAE))) return false;
  return !(cr4 & X86_CR4_PCIDE) || long;
}

export function rsm(cpu: CpuState): void {
  const { smm, state } = cpu;
  if (!smm.inside || cpu.inGuest) raise(cpu, UD_VECTOR);
  const load = (at: number, size = 8): bigint => readPhysical(cpu, smm.base + at, size);
  const cr0 = load(CR0), cr4 = load(CR4), efer = load(EFER), rip = load(RIP);
  cpu.engine.stopSoon(cpu);
  if (!isLegal(cr0, cr4, efer, rip)) {
    cpu.u32[STATE.activity >>> 2] = ACTIVITY_SHUTDOWN;
    return;
  }
  PLACES.forEach((place, i) => {
    const at = SEGMENTS + 16 * i;
    const limit = Number(load(at + 4, 4)), base = load(at + 8);
    if (place === 'gdtr') [state.gdtr_limit, state.gdtr_base] = [limit & 0xffff, base];
    else if (place === 'idtr') [state.idtr_limit, state.idtr_base] = [limit & 0xffff, base];
    else {
      const access = Number(load(at + 2, 2)) & 0xf0ff;
      cpu.setSegment(place, Number(load(at, 2)), base, limit, access & SEG_P ? access : access | SEG_UNUSABLE);
    }
  });
  state.cr0 = cr0;
  state.cr4 = cr4;
  state.cr3 = load(CR3);
  state.efer = efer;
  state.dr.set(6, load(DR6));
  state.dr.set(7, load(DR7) & 0xffff_ffffn | DR7_FIXED);
  for (let i = 0; i < 16; i++) cpu.gpr[i] = load(RAX_AT - 8 * i);
  cpu.engine.writeFlags(cpu, Number(load(RFLAGS) & 0x3f_7fd5n) | 2);
  cpu.rip = rip;
  state.nmi_blocked = Number(load(NMI_MASK, 1)) & 1;
  if (load(AUTO_HALT, 1) & 1n) cpu.u32[STATE.activity >>> 2] = ACTIVITY_HLT;
  smm.base = Number(load(SMBASE, 4));
  smm.inside = false;
  if (cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & EFER_LMA) && !loadPdptes(cpu, word(cpu, STATE.cr3))) cpu.u32[STATE.activity >>> 2] = ACTIVITY_SHUTDOWN;
  cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}
