/**
 * Extended page tables: guest-physical to host-physical, 4-level, with leaves of 4 KiB, 2 MiB and 1 GiB. SDM 29.3
 * (28.3 in older editions).
 *
 * The processor's page walker calls translate() for every paging-structure entry it reads and for the final address.
 * What is not permitted is an EPT violation, an entry that could never be right a misconfiguration; both are noted as
 * exits and thrown. Accessed and dirty flags are set only when the EPT pointer asks for them.
 */
import { PFERR_FETCH, PFERR_WRITE } from '../cpu/exceptions.ts';
import { MAXPHYADDR } from '../cpu/paging.ts';
import type { Ram } from '../ram.ts';

export const EPT_READ = 1;
export const EPT_WRITE = 2;
export const EPT_EXEC = 4;
const EPT_RWX = 7;
const EPT_PAGE_SIZE = 1 << 7;
const EPT_ACCESSED = 1 << 8;
const EPT_DIRTY = 1 << 9;
const EPTP_AD_ENABLE = 1 << 6;
export const MEMORY_TYPES = 0b0111_0011;   // UC WC WT WP WB: 0 1 4 5 6
const FOUR_GIB = 0x1_0000_0000;
const ADDRESS_HIGH = (1 << (MAXPHYADDR - 32)) - 1;
const RESERVED_HIGH = 0xf_ffff & ~ADDRESS_HIGH;

/** Exit qualification of an EPT violation (SDM table 28-7). */
export const EPT_VIOLATION_ACC_READ = 1 << 0;
export const EPT_VIOLATION_ACC_WRITE = 1 << 1;
export const EPT_VIOLATION_ACC_INSTR = 1 << 2;
export const EPT_VIOLATION_RWX_SHIFT = 3;
export const EPT_VIOLATION_GVA_IS_VALID = 1 << 7;
export const EPT_VIOLATION_GVA_TRANSLATED = 1 << 8;

export type EptFailure = 'violation' | 'misconfiguration';

/** What a failed walk found; valid until the next. */
export const eptFault = { failure: 'violation' as EptFailure, qualification: 0 };

/** Words of the entries on the path, for the accessed flags. */
const path = new Int32Array(4);

/**
 * Host-physical address of `gpa`, or -1 with eptFault filled. `access` is EPT_READ, EPT_WRITE or EPT_EXEC; `touch`
 * false leaves accessed and dirty flags alone.
 */
export function walkEpt(ram: Ram, pointer: number, gpa: number, access: number, touch: boolean): number {
  const { u32 } = ram.mem;
  const low = gpa >>> 0;
  const high = Math.floor(gpa / FOUR_GIB);
  let table = pointer - (pointer % 4096);
  let allowed = EPT_RWX;
  if (high > 0xffff) return violation(access, 0);
  for (let level = 4; ; level--) {
    const index = level === 4 ? high >>> 7 : level === 3 ? ((high << 2) | (low >>> 30)) & 0x1ff : level === 2 ? (low >>> 21) & 0x1ff : (low >>> 12) & 0x1ff;
    const address = table + index * 8;
    if (address >= ram.size) return violation(access, 0);
    const at = (ram.base + address) >>> 2;
    const lo = u32[at]!;
    const hi = u32[at + 1]!;
    if ((lo & EPT_RWX) === 0) return violation(access, 0);
    const leaf = level === 1 || (level <= 3 && (lo & EPT_PAGE_SIZE) !== 0);
    if (isMisconfigured(lo, hi, level, leaf)) {
      eptFault.failure = 'misconfiguration';
      eptFault.qualification = 0;
      return -1;
    }
    allowed &= lo;
    path[4 - level] = at;
    const base = (hi & ADDRESS_HIGH) * FOUR_GIB + ((lo & ~0xfff) >>> 0);
    if (!leaf) {
      table = base;
      continue;
    }
    if ((allowed & access) !== access) return violation(access, allowed);
    if (touch && (pointer & EPTP_AD_ENABLE) !== 0) setAccessed(u32, 5 - level, access);
    if (level === 1) return base + (low & 0xfff);
    const size = level === 2 ? 0x20_0000 : 0x4000_0000;
    return base - (base % size) + (low & (size - 1));
  }
}

function violation(access: number, allowed: number): number {
  eptFault.failure = 'violation';
  eptFault.qualification = access | (allowed << EPT_VIOLATION_RWX_SHIFT);
  return -1;
}

/** SDM 29.3.3.1: write without read, reserved bits, a memory type that does not exist. */
function isMisconfigured(lo: number, hi: number, level: number, leaf: boolean): boolean {
  if ((lo & (EPT_READ | EPT_WRITE)) === EPT_WRITE) return true;
  if ((hi & RESERVED_HIGH) !== 0) return true;
  if (!leaf) return (lo & (level === 4 ? 0xf8 : 0x78)) !== 0;
  if (level === 2 && (lo & 0x1f_f000) !== 0) return true;
  if (level === 3 && (lo & 0x3fff_f000) !== 0) return true;
  return ((MEMORY_TYPES >> ((lo >> 3) & 7)) & 1) === 0;
}

function setAccessed(u32: Uint32Array, depth: number, access: number): void {
  for (let i = 0; i < depth; i++) {
    const want = EPT_ACCESSED | (i === depth - 1 && (access & EPT_WRITE) !== 0 ? EPT_DIRTY : 0);
    const at = path[i]!;
    if ((u32[at]! & want) !== want) u32[at] = u32[at]! | want;
  }
}

/** An access as the page walker writes it, as EPT rights. With A/D flags on, walking the guest's tables counts as writing. */
export const eptAccess = (access: number, walk: boolean, pointer: number): number =>
  (access & PFERR_WRITE) !== 0 ? EPT_WRITE : (access & PFERR_FETCH) !== 0 ? EPT_EXEC : walk && (pointer & EPTP_AD_ENABLE) !== 0 ? EPT_READ | EPT_WRITE : EPT_READ;
