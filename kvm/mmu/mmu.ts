/**
 * Guest-linear to guest-physical: a walk of the guest's own page tables by software, for the emulator and KVM_TRANSLATE.
 *
 * Linux: arch/x86/kvm/mmu/paging_tmpl.h (walk_addr_generic), mmu.c
 *
 * The processor walks them by itself when the guest runs; this walk must fault with the same error codes and set the
 * same accessed and dirty bits.
 */
import { type x86_exception, PF_VECTOR } from '../emulate.ts';
import { kvm_read_guest_u32, kvm_read_guest_u64, kvm_write_guest_u32, kvm_write_guest_u64 } from '../guest-memory.ts';
import { type kvm_vcpu, is_long_mode, is_pae, is_paging, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_x86 } from '../kvm_host.ts';

// Bits of a page fault's error code, and of a wanted access.
export const PFERR_PRESENT_MASK = 1;
export const PFERR_WRITE_MASK = 2;
export const PFERR_USER_MASK = 4;
export const PFERR_RSVD_MASK = 8;
export const PFERR_FETCH_MASK = 16;

/** What a vCPU keeps of its MMU. */
export class kvm_mmu {
  /** The generation of slots the last MMIO address was looked up in, and its frame. */
  mmio_gen = -1;
  mmio_gfn = -1;
}

export const UNMAPPED_GVA = -1;

const PRESENT = 1n, RW = 2n, USER = 4n, ACCESSED = 0x20n, DIRTY = 0x40n, PS = 0x80n, NX = 1n << 63n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

interface level { readonly shift: bigint; readonly bits: bigint; readonly leaf: boolean }
const LONG: readonly level[] = [{ shift: 39n, bits: 9n, leaf: false }, { shift: 30n, bits: 9n, leaf: true }, { shift: 21n, bits: 9n, leaf: true }, { shift: 12n, bits: 9n, leaf: false }];
const PAE: readonly level[] = [{ shift: 30n, bits: 2n, leaf: false }, { shift: 21n, bits: 9n, leaf: true }, { shift: 12n, bits: 9n, leaf: false }];
const LEGACY: readonly level[] = [{ shift: 22n, bits: 10n, leaf: true }, { shift: 12n, bits: 10n, leaf: false }];

function fault(out: x86_exception | undefined, address: bigint, code: number): number {
  if (out !== undefined) {
    out.vector = PF_VECTOR;
    out.error_code_valid = true;
    out.error_code = code;
    out.address = address;
  }
  return UNMAPPED_GVA;
}

/**
 * The guest-physical address of `gva`, or UNMAPPED_GVA with the fault in `out`. `access` is PFERR_WRITE, USER and FETCH
 * bits as wanted; 0 with `check` false asks only whether there is a translation.
 */
export function gva_to_gpa(vcpu: kvm_vcpu, gva: bigint, access: number, out: x86_exception | undefined, check = true): number {
  if (!is_paging(vcpu)) return Number(is_long_mode(vcpu) ? gva : gva & 0xffff_ffff_ffff_ffffn);
  const cr0 = kvm_read_cr0(vcpu);
  const cr4 = kvm_read_cr4(vcpu);
  const long = is_long_mode(vcpu);
  const pae = is_pae(vcpu);
  const nxe = (vcpu.arch.efer & 0x800n) !== 0n;
  const wide = long || pae;
  const levels = long ? LONG : pae ? PAE : LEGACY;
  const write = (access & PFERR_WRITE_MASK) !== 0;
  const user = (access & PFERR_USER_MASK) !== 0;
  const fetch = (access & PFERR_FETCH_MASK) !== 0;
  const code = (write ? PFERR_WRITE_MASK : 0) | (user ? PFERR_USER_MASK : 0) | (fetch && (nxe || (cr4 & 0x100000n) !== 0n) ? PFERR_FETCH_MASK : 0);
  const reserved = wide ? (1n << 52n) - (1n << BigInt(vcpu.arch.maxphyaddr)) | (nxe ? 0n : NX) : 0n;

  let table = kvm_read_cr3(vcpu) & (long ? ADDRESS : pae ? 0xffff_ffe0n : 0xffff_f000n);
  let allowed = RW | USER;
  let noExecute = false;
  const marks: { gpa: number; entry: bigint }[] = [];
  for (let i = 0; i < levels.length; i++) {
    const { shift, bits, leaf } = levels[i]!;
    const index = (gva >> shift) & ((1n << bits) - 1n);
    const at = Number(table + index * (wide ? 8n : 4n));
    const pdpte = !long && pae && i === 0;
    let entry: bigint | undefined;
    if (pdpte) entry = kvm_x86.get_pdptr(vcpu, Number(index));
    else if (wide) entry = kvm_read_guest_u64(vcpu, at);
    else {
      const word = kvm_read_guest_u32(vcpu, at);
      entry = word === undefined ? undefined : BigInt(word);
    }
    // A table outside memory reads as not present.
    if (entry === undefined || (entry & PRESENT) === 0n) return fault(out, gva, code);
    const large = leaf && (entry & PS) !== 0n && (wide || (cr4 & 0x10n) !== 0n);
    if (!pdpte && (entry & reserved) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    if (wide && !leaf && !pdpte && shift > 12n && (entry & PS) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    if (!pdpte) {
      allowed &= entry;
      noExecute ||= wide && (entry & NX) !== 0n;
      marks.push({ gpa: at, entry });
    }
    if (!large && i < levels.length - 1) {
      table = entry & (wide ? ADDRESS : 0xffff_f000n);
      continue;
    }
    const size = 1n << shift;
    let frame = entry & (wide ? ADDRESS : 0xffff_f000n) & ~(size - 1n);
    if (!wide && large) frame |= (entry & 0x1e000n) << 19n;       // PSE-36
    if (large && wide && (entry & ADDRESS & (size - 1n) & ~0x1000n) !== 0n) return fault(out, gva, code | PFERR_PRESENT_MASK | PFERR_RSVD_MASK);
    if (check) {
      const userPage = (allowed & USER) !== 0n;
      const denied = (user && !userPage)
        || (write && (allowed & RW) === 0n && (user || (cr0 & 0x10000n) !== 0n))
        || (fetch && noExecute)
        || (fetch && !user && userPage && (cr4 & 0x100000n) !== 0n)
        || (!fetch && !user && userPage && (cr4 & 0x200000n) !== 0n && (kvm_x86.get_rflags(vcpu) & 0x40000) === 0);
      if (denied) return fault(out, gva, code | PFERR_PRESENT_MASK);
      set_accessed_dirty(vcpu, marks, write, wide);
    }
    return Number(frame | (gva & (size - 1n)));
  }
  return fault(out, gva, code);
}

function set_accessed_dirty(vcpu: kvm_vcpu, marks: readonly { gpa: number; entry: bigint }[], write: boolean, wide: boolean): void {
  for (let i = 0; i < marks.length; i++) {
    const { gpa, entry } = marks[i]!;
    const wanted = entry | ACCESSED | (write && i === marks.length - 1 ? DIRTY : 0n);
    if (wanted === entry) continue;
    if (wide) kvm_write_guest_u64(vcpu, gpa, wanted);
    else kvm_write_guest_u32(vcpu, gpa, Number(wanted));
  }
}

/** Access bits of the code that runs: PFERR_USER at CPL 3. */
export const access_of_cpl = (vcpu: kvm_vcpu): number => (kvm_x86.get_cpl(vcpu) === 3 ? PFERR_USER_MASK : 0);
