/**
 * Memory as exec functions reach it: segmentation (SDM Vol. 3, 3.3 and 5.3), then paging, then RAM or a device.
 *
 * Each access translates for itself; emitted code has the TLB. An access that crosses a page translates both before it
 * touches either. Linear addresses are signed numbers, see paging.ts.
 */
import { breakpointsArmed, noteAccess } from './debug.ts';
import { AC_VECTOR, GP_VECTOR, PFERR_USER, PFERR_WRITE, SS_VECTOR, raise } from './exceptions.ts';
import { ACCESS_IMPLICIT, walk } from './paging.ts';
import {
  type CpuState, MODE_64, MODE_ALIGN, MODE_PROTECTED, MODE_SIZE, SEG_DB, SEG_TYPE, SEG_UNUSABLE, SS,
  TYPE_CODE, TYPE_EXPAND_DOWN, TYPE_READABLE, TYPE_WRITABLE,
} from './state.ts';

export type Size = 1 | 2 | 4 | 8;

const FOUR_GIB = 0x1_0000_0000;

export const isCanonical = (value: bigint): boolean => BigInt.asIntN(48, value) === BigInt.asIntN(64, value);
/** The same by the upper half of the value. */
export const isCanonicalHigh = (high: number): boolean => (high | 0) >> 15 === 0 || (high | 0) >> 15 === -1;
/** A canonical 64-bit value as linear addresses are written here. */
export const toLinear = (value: bigint): number => Number(BigInt.asIntN(64, value));

/** The access bits of an explicit access at the current privilege level. */
export const explicit = (cpu: CpuState): number => (cpu.cpl === 3 ? PFERR_USER : 0);

/**
 * Linear address of `size` bytes at an offset in a segment. Raises #SS for the stack segment and #GP else, both with
 * error code 0, where the offset, the segment's kind or canonicality forbids it.
 */
export function linearAddress(cpu: CpuState, seg: number, offset: bigint, size: number, write = false): number {
  const vector = seg === SS ? SS_VECTOR : GP_VECTOR;
  const mode = cpu.mode;
  if ((mode & MODE_SIZE) === MODE_64) {
    const linear = BigInt.asUintN(64, seg >= 4 && seg <= 5 ? cpu.segBase(seg) + offset : offset);
    if (!isCanonical(linear) || !isCanonical(linear + BigInt(size - 1))) raise(cpu, vector);
    return toLinear(linear);
  }
  const first = Number(BigInt.asUintN(32, offset));
  checkSegment(cpu, seg, first, size, write, vector);
  return (Number(BigInt.asUintN(32, cpu.segBase(seg))) + first) >>> 0;
}

export function checkSegment(cpu: CpuState, seg: number, first: number, size: number, write: boolean, vector: number): void {
  const access = cpu.segAccess(seg);
  if (access & SEG_UNUSABLE) raise(cpu, vector);
  const type = access & SEG_TYPE;
  if (cpu.mode & MODE_PROTECTED) {
    if (type & TYPE_CODE ? write || !(type & TYPE_READABLE) : write && !(type & TYPE_WRITABLE)) raise(cpu, vector);
  }
  const limit = cpu.segLimit(seg);
  const last = first + size - 1;
  if (!(type & TYPE_CODE) && type & TYPE_EXPAND_DOWN) {
    if (first <= limit || last > (access & SEG_DB ? 0xffff_ffff : 0xffff)) raise(cpu, vector);
  // A segment of 4 GiB has no end: an access over it goes on at 0.
  } else if (last > limit && limit !== 0xffff_ffff) raise(cpu, vector);
}

// ---------------------------------------------------------------- physical

export function readPhysical(cpu: CpuState, address: number, size: number): bigint {
  if (address + size > cpu.ramSize) return cpu.bus.mmioRead(cpu, address, size);
  const { mem } = cpu;
  const at = cpu.ram + address;
  if (size === 8 && at % 8 === 0) return mem.u64[at / 8]!;
  if (size === 4 && at % 4 === 0) return BigInt(mem.u32[at / 4]!);
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = value << 8n | BigInt(mem.u8[at + i]!);
  return value;
}

export function writePhysical(cpu: CpuState, address: number, size: number, value: bigint): void {
  if (address + size > cpu.ramSize) return cpu.bus.mmioWrite(cpu, address, size, value);
  cpu.engine.codeWritten(cpu, address, size);
  const { mem } = cpu;
  const at = cpu.ram + address;
  if (size === 8 && at % 8 === 0) mem.u64[at / 8] = value;
  else for (let i = 0; i < size; i++) mem.u8[at + i] = Number(value >> BigInt(8 * i) & 0xffn);
}

// ---------------------------------------------------------------- linear

/** Through the TLB, but for implicit accesses while ring 0 may see user pages: those are still forbidden to them. */
export const translate = (cpu: CpuState, linear: number, access: number): number =>
  access & ACCESS_IMPLICIT && cpu.smapOpen ? walk(cpu, linear, access) : cpu.engine.translate(cpu, linear, access);

const next = (cpu: CpuState, linear: number, n: number): number => (cpu.longMode ? linear + n : (linear + n) >>> 0);
const pageOffset = (linear: number): number => (linear >>> 0) & 0xfff;

/** #AC for an explicit access of 2, 4 or 8 bytes that is not aligned, where that is asked for: before any page fault. */
export function checkAlignment(cpu: CpuState, linear: number, size: number, access: number): void {
  if (access & PFERR_USER && cpu.mode & MODE_ALIGN && ((linear >>> 0) & size - 1) !== 0) raise(cpu, AC_VECTOR);
}

/** 1 to 8 bytes, little-endian. `access` is 0, PFERR_USER, or ACCESS_IMPLICIT. */
export function readLinear(cpu: CpuState, linear: number, size: number, access: number): bigint {
  if (breakpointsArmed(cpu) && !(access & ACCESS_IMPLICIT)) noteAccess(cpu, linear, size, false);
  checkAlignment(cpu, linear, size, access);
  const physical = translate(cpu, linear, access);
  const here = 4096 - pageOffset(linear);
  if (size <= here) return readPhysical(cpu, physical, size);
  const second = translate(cpu, next(cpu, linear, here), access);
  return readPhysical(cpu, physical, here) | readPhysical(cpu, second, size - here) << BigInt(8 * here);
}

export function writeLinear(cpu: CpuState, linear: number, size: number, value: bigint, access: number): void {
  if (breakpointsArmed(cpu) && !(access & ACCESS_IMPLICIT)) noteAccess(cpu, linear, size, true);
  checkAlignment(cpu, linear, size, access);
  const physical = translate(cpu, linear, access | PFERR_WRITE);
  const here = 4096 - pageOffset(linear);
  if (size <= here) return writePhysical(cpu, physical, size, value);
  const second = translate(cpu, next(cpu, linear, here), access | PFERR_WRITE);
  writePhysical(cpu, physical, here, value & (1n << BigInt(8 * here)) - 1n);
  writePhysical(cpu, second, size - here, value >> BigInt(8 * here));
}

/** Up to 4 bytes as a number: the common case without bigints. */
export function readLinear32(cpu: CpuState, linear: number, size: 1 | 2 | 4, access: number): number {
  if (breakpointsArmed(cpu) && !(access & ACCESS_IMPLICIT)) noteAccess(cpu, linear, size, false);
  checkAlignment(cpu, linear, size, access);
  const physical = translate(cpu, linear, access);
  const at = cpu.ram + physical;
  if (at % size !== 0 || physical + size > cpu.ramSize) return Number(readLinear(cpu, linear, size, access));
  return size === 4 ? cpu.mem.u32[at / 4]! : size === 2 ? cpu.mem.u16[at / 2]! : cpu.mem.u8[at]!;
}

/** Raises what a write of `size` bytes would raise, and writes nothing. */
export function probeWrite(cpu: CpuState, linear: number, size: number, access: number): void {
  translate(cpu, linear, access | PFERR_WRITE);
  const here = 4096 - pageOffset(linear);
  if (size > here) translate(cpu, next(cpu, linear, here), access | PFERR_WRITE);
}

/** A block read or written page by page after every page was found accessible: FXSAVE and kin. */
export function readBlock(cpu: CpuState, linear: number, size: number, access: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = Number(readLinear(cpu, next(cpu, linear, i), 1, access));
  return bytes;
}
export function writeBlock(cpu: CpuState, linear: number, bytes: Uint8Array, access: number): void {
  for (let i = 0; i < bytes.length; i += 4096) probeWrite(cpu, next(cpu, linear, i), Math.min(4096, bytes.length - i), access);
  for (let i = 0; i < bytes.length; i++) writeLinear(cpu, next(cpu, linear, i), 1, BigInt(bytes[i]!), access);
}

/** Linear address of a byte of a table whose base is 64 bits in long mode: GDT, IDT, LDT, TSS. */
export const tableAddress = (cpu: CpuState, base: bigint, offset: number): number =>
  cpu.longMode ? toLinear(base) + offset : (Number(BigInt.asUintN(32, base)) + offset) % FOUR_GIB;

/**
 * `count` doublewords that the processor reads for itself, into `out`: a descriptor or a gate, which lies in one page as
 * a rule and then costs one translation.
 */
export function readImplicitWords(cpu: CpuState, linear: number, count: number, out: Uint32Array): void {
  if (pageOffset(linear) + 4 * count <= 4096 && (linear & 3) === 0) {
    const physical = translate(cpu, linear, ACCESS_IMPLICIT);
    if (physical + 4 * count <= cpu.ramSize) {
      const at = (cpu.ram + physical) / 4;
      for (let i = 0; i < count; i++) out[i] = cpu.mem.u32[at + i]!;
      return;
    }
  }
  for (let i = 0; i < count; i++) out[i] = readImplicit(cpu, next(cpu, linear, 4 * i), 4);
}

/** 1, 2 or 4 bytes that the processor reads for itself. */
export const readImplicit = (cpu: CpuState, linear: number, size: 1 | 2 | 4): number => readLinear32(cpu, linear, size, ACCESS_IMPLICIT);
export const readTable = (cpu: CpuState, base: bigint, offset: number, size: 1 | 2 | 4): number => readImplicit(cpu, tableAddress(cpu, base, offset), size);
export const readTable64 = (cpu: CpuState, base: bigint, offset: number): bigint =>
  readLinear(cpu, tableAddress(cpu, base, offset), 8, ACCESS_IMPLICIT);
