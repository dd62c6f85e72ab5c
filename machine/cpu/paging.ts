/**
 * Linear to host-physical: no paging, 32-bit with PSE, PAE and 4-level paging, with the guest's second dimension
 * (EPT) under every step. SDM Vol. 3 ch. 4. Fills nothing itself: the engine's TLB asks walk() on a miss.
 *
 * Linear addresses are signed JavaScript numbers, canonical by construction: the upper half is negative. An access
 * is described by the bits of a page fault's error code. The hard part is to change nothing before the walk is known
 * to succeed: accessed and dirty bits are set last.
 */
import { PFERR_FETCH, PFERR_PK, PFERR_PRESENT, PFERR_RSVD, PFERR_USER, PFERR_WRITE, raisePageFault } from './exceptions.ts';
import { EXITED } from './hooks.ts';
import { type CpuState, STATE, X86_EFLAGS_AC } from './state.ts';

export const MAXPHYADDR = 46;

/** An access the processor makes for itself (descriptor tables, TSS): supervisor's, and SMAP knows no exception. */
export const ACCESS_IMPLICIT = 0x100;

const PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100;
const NX_HIGH = 0x8000_0000 | 0;
/** Bits 51:MAXPHYADDR, in the high word of an entry. */
const RESERVED_HIGH = (0xf_ffff & ~((1 << (MAXPHYADDR - 32)) - 1));
const ADDRESS_HIGH = (1 << (MAXPHYADDR - 32)) - 1;
const FOUR_GIB = 0x1_0000_0000;

/** What the last successful walk found; valid until the next. */
export const found = {
  /** Host-physical address of the byte asked for. */
  physical: 0,
  guestPhysical: 0,
  /** 4096, 2 MiB, 4 MiB or 1 GiB: the first dimension's. */
  pageSize: 0,
  user: false,
  global: false,
  /** A write may go through the same entry without another walk: writable, and dirty already. */
  writable: false,
};

/** Entries the walk went through, so that accessed bits can be set once it has succeeded. */
const entryAt = [0, 0, 0, 0];
let depth = 0;

/** Is there a second dimension? The low word of an EPT pointer is never 0: it holds the walk's length. */
const nested = (cpu: CpuState): boolean => cpu.u32[STATE.ept_pointer >>> 2] !== 0;

/** Host-physical address of an entry at a guest-physical one. */
const entryAddress = (cpu: CpuState, gpa: number, linear: number): number => (nested(cpu) ? cpu.vmx.translate(cpu, gpa, 0, linear, true) : gpa);

/** The address field of a 64-bit entry. */
const address = (low: number, high: number): number => (high & ADDRESS_HIGH) * FOUR_GIB + ((low & ~0xfff) >>> 0);

/** Index of the entry's low word in mem.u32, or -1 where there is no RAM: such an entry reads as all ones. */
const wordIndex = (cpu: CpuState, hpa: number): number => (hpa + 8 <= cpu.ramSize ? (cpu.ram + hpa) >>> 2 : -1);

/**
 * Translates `linear` for an access and returns the host-physical address. `access` is a set of PFERR_WRITE,
 * PFERR_USER, PFERR_FETCH and ACCESS_IMPLICIT. Throws #PF, or VM_EXIT from the second dimension; while cpu.returnsExits the
 * latter is EXITED instead.
 */
export function walk(cpu: CpuState, linear: number, access: number): number {
  const w = cpu.u32;
  const cr0 = w[STATE.cr0 >>> 2]!;
  if (cr0 < 0x8000_0000) return finish(cpu, linear >>> 0, access, linear, FOUR_GIB, true, true, false);
  const cr4 = w[STATE.cr4 >>> 2]!;
  const nxe = (w[STATE.efer >>> 2]! & 0x800) !== 0;
  const long = (w[STATE.efer >>> 2]! & 0x400) !== 0;
  const pae = (cr4 & 0x20) !== 0;
  depth = 0;
  return pae ? walk64(cpu, linear, access, cr0, cr4, nxe, long) : walk32(cpu, linear, access, cr0, cr4);
}

function fail(cpu: CpuState, linear: number, access: number, cause: number, fetchKnown: boolean): never {
  const error = cause | (access & (PFERR_WRITE | PFERR_USER)) | (fetchKnown ? access & PFERR_FETCH : 0);
  raisePageFault(cpu, linear, error);
}

/** Is the access right under the rights the entries gave? `nx` already accounts for EFER.NXE. */
function permitted(cpu: CpuState, access: number, cr0: number, cr4: number, user: boolean, writable: boolean, nx: boolean): boolean {
  if (access & PFERR_FETCH) {
    if (nx) return false;
    return access & PFERR_USER ? user : !(user && cr4 & 0x10_0000);
  }
  if (access & PFERR_USER) return user && (writable || !(access & PFERR_WRITE));
  if (user && cr4 & 0x20_0000) {
    if (access & ACCESS_IMPLICIT || !(cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_AC)) return false;
    cpu.smapOpen = true;
  }
  return !(access & PFERR_WRITE) || writable || !(cr0 & 0x1_0000);
}

/** PFERR_PK where PKRU forbids data accesses to user pages with this protection key, else 0 (SDM 4.6.2). */
function keyRefusal(cpu: CpuState, key: number, access: number, cr0: number): number {
  const rights = cpu.u32[STATE.pkru >>> 2]! >>> 2 * key;
  const noWrite = rights & 2 && access & PFERR_WRITE && (access & PFERR_USER || cr0 & 0x1_0000);
  return rights & 1 || noWrite ? PFERR_PK : 0;
}

function finish(cpu: CpuState, gpa: number, access: number, linear: number, pageSize: number, user: boolean, writable: boolean, global: boolean): number {
  found.guestPhysical = gpa;
  found.pageSize = pageSize;
  found.user = user;
  found.writable = writable;
  found.global = global;
  found.physical = nested(cpu) ? cpu.vmx.translate(cpu, gpa, access & (PFERR_WRITE | PFERR_FETCH), linear, false) : gpa;
  return found.physical;
}

/** Sets accessed bits on the path and the leaf's dirty bit. With EPT these are guest-physical writes of their own: false when one of them exits. */
function setAccessedAndDirty(cpu: CpuState, path: readonly number[], guestPath: readonly number[], linear: number, write: boolean): boolean {
  const mem = cpu.mem.u32;
  for (let i = 0; i < depth; i++) {
    const want = PTE_A | (write && i === depth - 1 ? PTE_D : 0);
    let at = wordIndex(cpu, path[i]!);
    if (at < 0 || (mem[at]! & want) === want) continue;
    if (nested(cpu)) {
      const hpa = cpu.vmx.translate(cpu, guestPath[i]!, PFERR_WRITE, linear, true);
      if (hpa < 0) return false;
      at = wordIndex(cpu, hpa);
    }
    if (at >= 0) mem[at] = mem[at]! | want;
  }
  return true;
}

const guestEntryAt = [0, 0, 0, 0];

/** PAE (three levels, the top one in registers) and 4-level paging: 64-bit entries. */
function walk64(cpu: CpuState, linear: number, access: number, cr0: number, cr4: number, nxe: boolean, long: boolean): number {
  const low = linear >>> 0;
  const high = Math.floor(linear / FOUR_GIB) & 0xffff;
  const mem = cpu.mem.u32;
  const fetchKnown = nxe || (cr4 & 0x10_0000) !== 0;
  let user = true;
  let writable = true;
  let nx = false;
  let table: number;
  let level: number;
  if (long) {
    table = address(cpu.u32[STATE.cr3 >>> 2]!, cpu.u32[(STATE.cr3 >>> 2) + 1]!);
    level = 4;
  } else {
    const at = (STATE.pdpte >>> 2) + 2 * (low >>> 30);
    const entry = cpu.u32[at]!;
    if (!(entry & PTE_P)) fail(cpu, linear, access, 0, fetchKnown);
    table = address(entry, cpu.u32[at + 1]!);
    level = 2;
  }
  for (;; level--) {
    const index = level === 4 ? high >>> 7 & 0x1ff : level === 3 ? (high << 2 | low >>> 30) & 0x1ff : level === 2 ? low >>> 21 & 0x1ff : low >>> 12 & 0x1ff;
    const gpa = table + index * 8;
    const hpa = entryAddress(cpu, gpa, linear);
    if (hpa < 0) return EXITED;
    const at = wordIndex(cpu, hpa);
    const lo = at < 0 ? -1 : mem[at]! | 0;
    const hi = at < 0 ? -1 : mem[at + 1]! | 0;
    if (!(lo & PTE_P)) fail(cpu, linear, access, 0, fetchKnown);
    entryAt[depth] = hpa;
    guestEntryAt[depth++] = gpa;
    const leaf = level === 1 || (level <= 3 && (lo & PTE_PS) !== 0);
    let reserved = hi & (RESERVED_HIGH | (long ? 0 : 0x7ff0_0000) | (nxe ? 0 : NX_HIGH));
    if (level === 4) reserved |= lo & PTE_PS;
    if (leaf && level === 3) reserved |= lo & 0x3fff_e000;
    if (leaf && level === 2) reserved |= lo & 0x1f_e000;
    if (reserved !== 0) fail(cpu, linear, access, PFERR_PRESENT | PFERR_RSVD, fetchKnown);
    user &&= (lo & PTE_U) !== 0;
    writable &&= (lo & PTE_W) !== 0;
    nx ||= hi < 0;
    const base = address(lo, hi);
    if (!leaf) { table = base; continue; }
    const key = user && long && cr4 & 0x40_0000 && !(access & PFERR_FETCH) ? keyRefusal(cpu, hi >>> 27 & 0xf, access, cr0) : 0;
    if (!permitted(cpu, access, cr0, cr4, user, writable, nx) || key !== 0) fail(cpu, linear, access, PFERR_PRESENT | key, fetchKnown);
    const pageSize = level === 1 ? 4096 : level === 2 ? 0x20_0000 : 0x4000_0000;
    const page = level === 1 ? base : base - base % pageSize;
    const write = (access & PFERR_WRITE) !== 0;
    const physical = finish(cpu, page + (low & (pageSize - 1)), access, linear, pageSize, user, writable && (write || (lo & PTE_D) !== 0), (lo & PTE_G) !== 0 && (cr4 & 0x80) !== 0);
    return physical >= 0 && setAccessedAndDirty(cpu, entryAt, guestEntryAt, linear, write) ? physical : EXITED;
  }
}

/** 32-bit paging: two levels of 32-bit entries, 4 MiB pages with CR4.PSE (and 40 address bits in them, PSE-36). */
function walk32(cpu: CpuState, linear: number, access: number, cr0: number, cr4: number): number {
  const low = linear >>> 0;
  const mem = cpu.mem.u32;
  const fetchKnown = (cr4 & 0x10_0000) !== 0;
  const directory = (cpu.u32[STATE.cr3 >>> 2]! & ~0xfff) >>> 0;
  const gpa = directory + (low >>> 22) * 4;
  const hpa = entryAddress(cpu, gpa, linear);
  if (hpa < 0) return EXITED;
  let at = wordIndex(cpu, hpa);
  const pde = at < 0 ? -1 : mem[at]! | 0;
  if (!(pde & PTE_P)) fail(cpu, linear, access, 0, fetchKnown);
  entryAt[depth] = hpa;
  guestEntryAt[depth++] = gpa;
  let user = (pde & PTE_U) !== 0;
  let writable = (pde & PTE_W) !== 0;
  let entry = pde;
  let page: number;
  let pageSize = 4096;
  if (pde & PTE_PS && cr4 & 0x10) {
    if (pde & 0x20_0000) fail(cpu, linear, access, PFERR_PRESENT | PFERR_RSVD, fetchKnown);
    pageSize = 0x40_0000;
    page = (pde >>> 13 & 0xff) * FOUR_GIB + ((pde & 0xffc0_0000) >>> 0);
  } else {
    const guest = ((pde & ~0xfff) >>> 0) + (low >>> 12 & 0x3ff) * 4;
    const host = entryAddress(cpu, guest, linear);
    if (host < 0) return EXITED;
    at = wordIndex(cpu, host);
    entry = at < 0 ? -1 : mem[at]! | 0;
    if (!(entry & PTE_P)) fail(cpu, linear, access, 0, fetchKnown);
    entryAt[depth] = host;
    guestEntryAt[depth++] = guest;
    user &&= (entry & PTE_U) !== 0;
    writable &&= (entry & PTE_W) !== 0;
    page = (entry & ~0xfff) >>> 0;
  }
  if (!permitted(cpu, access, cr0, cr4, user, writable, false)) fail(cpu, linear, access, PFERR_PRESENT, fetchKnown);
  const write = (access & PFERR_WRITE) !== 0;
  const physical = finish(cpu, page + (low & (pageSize - 1)), access, linear, pageSize, user, writable && (write || (entry & PTE_D) !== 0), (entry & PTE_G) !== 0 && (cr4 & 0x80) !== 0);
  return physical >= 0 && setAccessedAndDirty(cpu, entryAt, guestEntryAt, linear, write) ? physical : EXITED;
}

/** Loads PAE paging's four top entries from where CR3 points. False: one has a reserved bit set, nothing is loaded. */
export function loadPdptes(cpu: CpuState, cr3: bigint): boolean {
  const table = Number(cr3 & 0xffff_ffe0n);
  const read = new BigUint64Array(4);
  for (let i = 0; i < 4; i++) {
    const hpa = entryAddress(cpu, table + 8 * i, table + 8 * i);
    const at = wordIndex(cpu, hpa);
    const entry = at < 0 ? 0n : BigInt(cpu.mem.u32[at + 1]!) << 32n | BigInt(cpu.mem.u32[at]!);
    if (entry & 1n && entry & (0x1e6n | (0xffff_ffff_ffff_ffffn >> BigInt(MAXPHYADDR)) << BigInt(MAXPHYADDR))) return false;
    read[i] = entry;
  }
  cpu.u64.set(read, STATE.pdpte >>> 3);
  return true;
}

/**
 * Guest-physical address of `linear` by the tables as they stand, -1 where nothing is mapped. No rights are checked,
 * nothing is set or remembered: for debuggers.
 */
export function peekTranslate(cpu: CpuState, linear: number): number {
  const cr0 = cpu.u32[STATE.cr0 >>> 2]!;
  const low = linear >>> 0;
  if (cr0 < 0x8000_0000) return low;
  const cr3 = cpu.u32[STATE.cr3 >>> 2]!;
  const mem = cpu.mem.u32;
  const word = (gpa: number) => {
    const hpa = nested(cpu) ? cpu.vmx.peek(cpu, gpa) : gpa;
    return hpa < 0 ? -1 : wordIndex(cpu, hpa);
  };
  if ((cpu.u32[STATE.cr4 >>> 2]! & 0x20) === 0) {
    let at = word(((cr3 & ~0xfff) >>> 0) + (low >>> 22) * 4);
    const pde = at < 0 ? 0 : mem[at]!;
    if (!(pde & PTE_P)) return -1;
    if (pde & PTE_PS && cpu.u32[STATE.cr4 >>> 2]! & 0x10) return (pde >>> 13 & 0xff) * FOUR_GIB + (((pde & 0xffc0_0000) | (low & 0x3f_ffff)) >>> 0);
    at = word(((pde & ~0xfff) >>> 0) + (low >>> 12 & 0x3ff) * 4);
    const pte = at < 0 ? 0 : mem[at]!;
    return pte & PTE_P ? ((pte & ~0xfff) | (low & 0xfff)) >>> 0 : -1;
  }
  let table = address(cr3, cpu.u32[(STATE.cr3 >>> 2) + 1]!);
  let level = 4;
  if (!cpu.longMode) {
    const at = (STATE.pdpte >>> 2) + 2 * (low >>> 30);
    if (!(cpu.u32[at]! & PTE_P)) return -1;
    table = address(cpu.u32[at]!, cpu.u32[at + 1]!);
    level = 2;
  }
  for (;; level--) {
    const shift = 12 + 9 * (level - 1);
    const at = word(table + Math.floor(linear / 2 ** shift - Math.floor(linear / 2 ** (shift + 9)) * 512) * 8);
    if (at < 0 || !(mem[at]! & PTE_P)) return -1;
    table = address(mem[at]!, mem[at + 1]!);
    if (level > 1 && !(level < 4 && mem[at]! & PTE_PS)) continue;
    const size = 2 ** shift;
    return table - table % size + (low & (size - 1));
  }
}
