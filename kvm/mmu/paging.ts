/**
 * A walk of the guest's own page tables by software: for the emulator, for KVM_TRANSLATE, and for shadow paging, which
 * needs to know every table on the way.
 *
 * Linux: arch/x86/kvm/mmu/paging_tmpl.h (walk_addr_generic)
 *
 * It must fault with the error codes the processor would give, and set accessed and dirty bits as it would.
 */
import { PF_VECTOR, type x86_exception } from '../emulate.ts';
import { kvm_read_guest_u32, kvm_read_guest_u64, kvm_write_guest_u32, kvm_write_guest_u64 } from '../guest-memory.ts';
import { type kvm_vcpu, is_long_mode, is_pae, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_x86 } from '../kvm_host.ts';

// Bits of a page fault's error code, and of a wanted access.
export const PFERR_PRESENT_MASK = 1;
export const PFERR_WRITE_MASK = 2;
export const PFERR_USER_MASK = 4;
export const PFERR_RSVD_MASK = 8;
export const PFERR_FETCH_MASK = 16;

// What an entry, and all above it, allow.
export const ACC_EXEC_MASK = 1;
export const ACC_WRITE_MASK = 2;
export const ACC_USER_MASK = 4;
export const ACC_ALL = ACC_EXEC_MASK | ACC_WRITE_MASK | ACC_USER_MASK;

const PRESENT = 1n, RW = 2n, USER = 4n, ACCESSED = 0x20n, DIRTY = 0x40n, PS = 0x80n, NX = 1n << 63n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

interface level { readonly shift: bigint; readonly bits: bigint; readonly leaf: boolean }
const LONG: readonly level[] = [{ shift: 39n, bits: 9n, leaf: false }, { shift: 30n, bits: 9n, leaf: true }, { shift: 21n, bits: 9n, leaf: true }, { shift: 12n, bits: 9n, leaf: false }];
const PAE: readonly level[] = [{ shift: 30n, bits: 2n, leaf: false }, { shift: 21n, bits: 9n, leaf: true }, { shift: 12n, bits: 9n, leaf: false }];
const LEGACY: readonly level[] = [{ shift: 22n, bits: 10n, leaf: true }, { shift: 12n, bits: 10n, leaf: false }];

/** What a walk found. Tables and entries stand at level - 1: the last table is at 0. */
export class guest_walker {
  /** Level of the entry that maps the page: 1, or 2 and 3 for a large page. */
  level = 0;
  gpa = 0;
  readonly table_gfn = [0, 0, 0, 0];
  readonly ptes = [0n, 0n, 0n, 0n];
  /** What the entries above the table allow. */
  readonly pt_access = [0, 0, 0, 0];
  /** The same for the page; a page that is not dirty yet does not allow writing, for its first write must set the bit. */
  pte_access = 0;
}

function fault(out: x86_exception | undefined, address: bigint, code: number): false {
  if (out !== undefined) {
    out.vector = PF_VECTOR;
    out.error_code_valid = true;
    out.error_code = code;
    out.address = address;
  }
  return false;
}

/** An entry's rights as ACC_ bits. */
export const gpte_access = (entry: bigint, wide: boolean): number =>
  ((entry & RW) !== 0n ? ACC_WRITE_MASK : 0) | ((entry & USER) !== 0n ? ACC_USER_MASK : 0) | (wide && (entry & NX) !== 0n ? 0 : ACC_EXEC_MASK);

/** The entry of a table at a guest-physical address; undefined where there is no memory. */
export function read_gpte(vcpu: kvm_vcpu, at: number, wide: boolean): bigint | undefined {
  if (wide) return kvm_read_guest_u64(vcpu, at);
  const word = kvm_read_guest_u32(vcpu, at);
  return word === undefined ? undefined : BigInt(word);
}

/**
 * Walks to `gva`. `access` is PFERR_WRITE, USER and FETCH bits as wanted; with `check` false rights do not matter and
 * nothing is set. False: a fault, described in `out`.
 */
export function walk_addr(vcpu: kvm_vcpu, w: guest_walker, gva: bigint, access: number, out: x86_exception | undefined, check: boolean): boolean {
  const cr4 = kvm_read_cr4(vcpu);
  const long = is_long_mode(vcpu);
  const pae = is_pae(vcpu);
  const nxe = (vcpu.arch.efer & 0x800n) !== 0n;
  const wide = long || pae;
  const levels = long ? LONG : pae ? PAE : LEGACY;
  const write = (access & PFERR_WRITE_MASK) !== 0;
  const fetch = (access & PFERR_FETCH_MASK) !== 0;
  const code = (access & (PFERR_WRITE_MASK | PFERR_USER_MASK)) | (fetch && (nxe || (cr4 & 0x100000n) !== 0n) ? PFERR_FETCH_MASK : 0);
  const reserved = wide ? (1n << 52n) - (1n << BigInt(vcpu.arch.maxphyaddr)) | (nxe ? 0n : NX) : 0n;

  let table = kvm_read_cr3(vcpu) & (long ? ADDRESS : pae ? 0xffff_ffe0n : 0xffff_f000n);
  let allowed = ACC_ALL;
  for (let i = 0; ; i++) {
    const { shift, bits, leaf } = levels[i]!;
    const level = levels.length - i;
    const index = (gva >> shift) & ((1n << bits) - 1n);
    const at = Number(table + index * (wide ? 8n : 4n));
    const pdpte = !long && pae && i === 0;
    const entry = pdpte ? kvm_x86.get_pdptr(vcpu, Number(index)) : read_gpte(vcpu, at, wide);
    // A table outside memory reads as not present.
    if (entry === undefined || (entry & PRESENT) === 0n) return fault(out, gva, code);
    const large = leaf && (entry & PS) !== 0n && (wide || (cr4 & 0x10n) !== 0n);
    if (!pdpte && (entry & reserved) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    if (wide && !leaf && !pdpte && level > 1 && (entry & PS) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    w.table_gfn[level - 1] = Number(table >> 12n);
    w.ptes[level - 1] = entry;
    w.pt_access[level - 1] = allowed;
    if (!pdpte) allowed &= gpte_access(entry, wide);
    if (!large && level > 1) {
      table = entry & (wide ? ADDRESS : 0xffff_f000n);
      continue;
    }
    const size = 1n << shift;
    let frame = entry & (wide ? ADDRESS : 0xffff_f000n) & ~(size - 1n);
    if (!wide && large) frame |= (entry & 0x1e000n) << 19n;       // PSE-36
    if (large && wide && (entry & ADDRESS & (size - 1n) & ~0x1000n) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    w.level = level;
    w.pte_access = allowed;
    w.gpa = Number(frame | (gva & (size - 1n)));
    if (check) {
      if (is_denied(vcpu, allowed, access, cr4)) return fault(out, gva, code | PFERR_PRESENT_MASK);
      set_accessed_dirty(vcpu, w, levels.length, write, wide, pae && !long, gva);
      if (!write && (entry & DIRTY) === 0n) w.pte_access &= ~ACC_WRITE_MASK;
    }
    return true;
  }
}

/** Is the access wrong under these rights? SDM Vol. 3, 4.6.1. */
function is_denied(vcpu: kvm_vcpu, allowed: number, access: number, cr4: bigint): boolean {
  const write = (access & PFERR_WRITE_MASK) !== 0, user = (access & PFERR_USER_MASK) !== 0, fetch = (access & PFERR_FETCH_MASK) !== 0;
  const userPage = (allowed & ACC_USER_MASK) !== 0;
  return (user && !userPage)
    || (write && (allowed & ACC_WRITE_MASK) === 0 && (user || (kvm_read_cr0(vcpu) & 0x10000n) !== 0n))
    || (fetch && (allowed & ACC_EXEC_MASK) === 0)
    || (fetch && !user && userPage && (cr4 & 0x100000n) !== 0n)
    || (!fetch && !user && userPage && (cr4 & 0x200000n) !== 0n && (kvm_x86.get_rflags(vcpu) & 0x40000) === 0);
}

function set_accessed_dirty(vcpu: kvm_vcpu, w: guest_walker, depth: number, write: boolean, wide: boolean, pdptes: boolean, gva: bigint): void {
  for (let level = pdptes ? depth - 1 : depth; level >= w.level; level--) {
    const entry = w.ptes[level - 1]!;
    const wanted = entry | ACCESSED | (write && level === w.level ? DIRTY : 0n);
    if (wanted === entry) continue;
    w.ptes[level - 1] = wanted;
    const bits = wide ? 9 : 10;
    const index = Number((gva >> BigInt(12 + bits * (level - 1))) & BigInt((1 << bits) - 1));
    const at = w.table_gfn[level - 1]! * 4096 + index * (wide ? 8 : 4);
    if (wide) kvm_write_guest_u64(vcpu, at, wanted);
    else kvm_write_guest_u32(vcpu, at, Number(wanted));
  }
}
