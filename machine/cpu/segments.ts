/**
 * Segment registers and the descriptors they are loaded from. SDM Vol. 3 ch. 3.4, 3.5 and 5.
 *
 * A descriptor is read, checked in the order the SDM gives, marked accessed, and only then loaded. Errors carry the
 * selector with its RPL cleared; the caller adds the EXT bit when an event is being delivered.
 */
import { GP_VECTOR, NP_VECTOR, SS_VECTOR, raise } from './exceptions.ts';
import { isCanonical, readImplicit, readImplicitWords, tableAddress, writeLinear } from './memory.ts';
import { ACCESS_IMPLICIT } from './paging.ts';
import {
  CS, type CpuState, DS, ES, FS, GS, LDTR, MODE_PROTECTED, SEG_DB, SEG_DPL_SHIFT, SEG_L, SEG_P, SEG_S, SEG_UNUSABLE, SS, STATE,
  TYPE_CODE, TYPE_CONFORMING, TYPE_READABLE, TYPE_WRITABLE, updateMode,
} from './state.ts';

/** A descriptor as it lies in its table: two words, and the address to mark it accessed at. */
export interface Descriptor {
  readonly selector: number;
  readonly low: number;
  readonly high: number;
  /** Linear address of the descriptor. */
  readonly at: number;
}

export const descriptorAccess = (d: Descriptor): number => d.high >>> 8 & 0xf0ff;
export const descriptorDpl = (d: Descriptor): number => d.high >>> 13 & 3;
export const descriptorType = (d: Descriptor): number => d.high >>> 8 & 0xf;
export const isSystem = (d: Descriptor): boolean => (d.high & 0x1000) === 0;
export const isPresent = (d: Descriptor): boolean => (d.high & 0x8000) !== 0;
export const descriptorBase = (d: Descriptor): number => (d.low >>> 16 | (d.high & 0xff) << 16 | d.high & 0xff00_0000) >>> 0;
export function descriptorLimit(d: Descriptor): number {
  const limit = (d.low & 0xffff) | (d.high & 0xf_0000);
  return d.high & 0x80_0000 ? (limit << 12 | 0xfff) >>> 0 : limit;
}
export const isCode = (d: Descriptor): boolean => (d.high & 0x1800) === 0x1800;
export const isConforming = (d: Descriptor): boolean => (d.high & 0x1c00) === 0x1c00;

/** System descriptor types (SDM table 3-2). */
export const TYPE_TSS16 = 1, TYPE_LDT = 2, TYPE_TSS16_BUSY = 3, TYPE_CALL16 = 4, TYPE_TASK = 5, TYPE_INT16 = 6, TYPE_TRAP16 = 7;
export const TYPE_TSS32 = 9, TYPE_TSS32_BUSY = 11, TYPE_CALL32 = 12, TYPE_INT32 = 14, TYPE_TRAP32 = 15;

const words = new Uint32Array(2);

/** Where a selector's descriptor lies, undefined if it is outside its table. */
function descriptorAddress(cpu: CpuState, selector: number, size: number): number | undefined {
  const offset = selector & 0xfff8;
  if (selector & 4) {
    if (cpu.segAccess(LDTR) & SEG_UNUSABLE || offset + size - 1 > cpu.segLimit(LDTR)) return undefined;
    return tableAddress(cpu, cpu.segBase(LDTR), offset);
  }
  if (offset + size - 1 > cpu.u32[STATE.gdtr_limit >>> 2]!) return undefined;
  return tableAddress(cpu, cpu.u64[STATE.gdtr_base >>> 3]!, offset);
}

/** The descriptor of a selector, undefined where it is null or outside its table. May raise #PF. */
export function findDescriptor(cpu: CpuState, selector: number): Descriptor | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  const at = descriptorAddress(cpu, selector, 8);
  if (at === undefined) return undefined;
  readImplicitWords(cpu, at, 2, words);
  return { selector, at, low: words[0]!, high: words[1]! };
}

/** The descriptor of a selector; outside its table or null: `vector` with the selector as error code. */
export function fetchDescriptor(cpu: CpuState, selector: number, vector = GP_VECTOR, ext = 0): Descriptor {
  return findDescriptor(cpu, selector) ?? raise(cpu, vector, selector & 0xfffc | ext);
}

/** Base bits 63:32 of a 16-byte system descriptor. Its upper half's type field must be 0. */
function fetchUpperBase(cpu: CpuState, d: Descriptor, vector = GP_VECTOR, ext = 0): bigint {
  const offset = d.selector & 0xfff8;
  const limit = d.selector & 4 ? cpu.segLimit(LDTR) : cpu.u32[STATE.gdtr_limit >>> 2]!;
  if (offset + 15 > limit) raise(cpu, vector, d.selector & 0xfffc | ext);
  if (readImplicit(cpu, d.at + 12, 4) & 0x1f00) raise(cpu, vector, d.selector & 0xfffc | ext);
  return BigInt(readImplicit(cpu, d.at + 8, 4)) << 32n;
}

/** Marks a code or data descriptor accessed, in memory, as the load of it does. */
export function markAccessed(cpu: CpuState, d: Descriptor): void {
  if (d.high & 0x1000 && !(d.high & 0x100)) writeLinear(cpu, d.at + 5, 1, BigInt(d.high >>> 8 & 0xff | 1), ACCESS_IMPLICIT);
}

/** Sets or clears the busy bit of a TSS descriptor. */
export function markBusy(cpu: CpuState, at: number, busy: boolean): void {
  const type = readImplicit(cpu, at + 5, 1);
  writeLinear(cpu, at + 5, 1, BigInt(busy ? type | 2 : type & ~2), ACCESS_IMPLICIT);
}

/** Puts a checked descriptor into a segment register. */
export function installDescriptor(cpu: CpuState, seg: number, selector: number, d: Descriptor): void {
  cpu.setSegment(seg, selector, BigInt(descriptorBase(d)), descriptorLimit(d), descriptorAccess(d) | (d.high & 0x1000 ? 1 : 0));
}

/** A null selector in a data segment register: unusable, what else it holds is kept. */
export function loadNull(cpu: CpuState, seg: number, selector: number): void {
  const access = seg === SS ? SEG_UNUSABLE | SEG_DB | (selector & 3) << SEG_DPL_SHIFT : SEG_UNUSABLE;
  cpu.setSegment(seg, selector, 0n, 0, access);
}

/** Real-address mode and virtual-8086 mode: the selector is the base. Limit and rights stay (SDM 20.1.1), except in VM86. */
export function loadRealSegment(cpu: CpuState, seg: number, selector: number): void {
  if (cpu.realMode) cpu.setSegment(seg, selector, BigInt(selector << 4), cpu.segLimit(seg), cpu.segAccess(seg) & ~SEG_UNUSABLE | SEG_P | SEG_S);
  else cpu.setSegment(seg, selector, BigInt(selector << 4), 0xffff, 0xf3);
}

/** MOV, POP and LxS to ES, SS, DS, FS, GS. */
export function loadSegment(cpu: CpuState, seg: number, selector: number): void {
  if (!(cpu.mode & MODE_PROTECTED)) loadRealSegment(cpu, seg, selector);
  else if (seg === SS) loadStackSegment(cpu, selector, cpu.cpl, GP_VECTOR, 0);
  else if ((selector & 0xfffc) === 0) loadNull(cpu, seg, selector);
  else {
    const d = fetchDescriptor(cpu, selector);
    checkDataSegment(cpu, d);
    markAccessed(cpu, d);
    installDescriptor(cpu, seg, selector, d);
  }
  updateMode(cpu);
}

function checkDataSegment(cpu: CpuState, d: Descriptor): void {
  const error = d.selector & 0xfffc;
  const type = descriptorType(d);
  if (isSystem(d) || (type & TYPE_CODE && !(type & TYPE_READABLE))) raise(cpu, GP_VECTOR, error);
  if (!isConforming(d) && Math.max(cpu.cpl, d.selector & 3) > descriptorDpl(d)) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
}

/**
 * Checks a stack segment for privilege level `cpl` and returns its descriptor; undefined for the null selector, which
 * 64-bit mode allows below CPL 3. `vector` is #GP for MOV and returns, #TS for stacks taken from a TSS.
 */
export function checkStackSegment(cpu: CpuState, selector: number, cpl: number, vector: number, ext: number, code64: boolean): Descriptor | undefined {
  const error = selector & 0xfffc | ext;
  if ((selector & 0xfffc) === 0) {
    if (code64 && cpl !== 3 && (selector & 3) === cpl) return undefined;
    raise(cpu, vector, ext);
  }
  const d = fetchDescriptor(cpu, selector, vector, ext);
  if ((selector & 3) !== cpl || isSystem(d) || (descriptorType(d) & (TYPE_CODE | TYPE_WRITABLE)) !== TYPE_WRITABLE || descriptorDpl(d) !== cpl) raise(cpu, vector, error);
  if (!isPresent(d)) raise(cpu, SS_VECTOR, error);
  return d;
}

export function installStackSegment(cpu: CpuState, selector: number, d: Descriptor | undefined): void {
  if (d === undefined) loadNull(cpu, SS, selector);
  else {
    markAccessed(cpu, d);
    installDescriptor(cpu, SS, selector, d);
  }
}

function loadStackSegment(cpu: CpuState, selector: number, cpl: number, vector: number, ext: number): void {
  installStackSegment(cpu, selector, checkStackSegment(cpu, selector, cpl, vector, ext, (cpu.segAccess(CS) & SEG_L) !== 0 && cpu.longMode));
}

/**
 * After a return to an outer level: data segments the new level may not use become null (SDM 5.8.6). Only the selector
 * and the right to use them go; a base that FS or GS had from its MSR stays.
 */
export function dropInnerSegments(cpu: CpuState, cpl: number): void {
  for (const seg of [ES, DS, FS, GS]) {
    const access = cpu.segAccess(seg);
    if (access & SEG_UNUSABLE) continue;
    const conforming = (access & (TYPE_CODE | TYPE_CONFORMING)) === (TYPE_CODE | TYPE_CONFORMING);
    if ((access & SEG_S) === 0 || (!conforming && (access >>> SEG_DPL_SHIFT & 3) < cpl)) cpu.setSegment(seg, 0, cpu.segBase(seg), cpu.segLimit(seg), access | SEG_UNUSABLE);
  }
}

// ---------------------------------------------------------------- LLDT, LTR

export function loadLdt(cpu: CpuState, selector: number): void {
  if ((selector & 0xfffc) === 0) return cpu.setSegment(LDTR, selector, 0n, 0, SEG_UNUSABLE);
  const error = selector & 0xfffc;
  if (selector & 4) raise(cpu, GP_VECTOR, error);
  const d = fetchDescriptor(cpu, selector);
  if (!isSystem(d) || descriptorType(d) !== TYPE_LDT) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
  const base = BigInt(descriptorBase(d)) | (cpu.longMode ? fetchUpperBase(cpu, d) : 0n);
  if (!isCanonical(base)) raise(cpu, GP_VECTOR, error);
  cpu.setSegment(LDTR, selector, base, descriptorLimit(d), descriptorAccess(d));
}

/** Makes the TSS current and busy. The error vector is #GP for LTR, #TS in a task switch. */
export function loadTaskRegister(cpu: CpuState, selector: number, seg: number): void {
  const error = selector & 0xfffc;
  if (error === 0 || selector & 4) raise(cpu, GP_VECTOR, error);
  const d = fetchDescriptor(cpu, selector);
  const type = descriptorType(d);
  if (!isSystem(d) || !(type === TYPE_TSS32 || (type === TYPE_TSS16 && !cpu.longMode))) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
  const base = BigInt(descriptorBase(d)) | (cpu.longMode ? fetchUpperBase(cpu, d) : 0n);
  if (!isCanonical(base)) raise(cpu, GP_VECTOR, error);
  markBusy(cpu, d.at, true);
  cpu.setSegment(seg, selector, base, descriptorLimit(d), descriptorAccess(d) | 2);
}

