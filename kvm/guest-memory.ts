/**
 * KVM's own reads and writes of guest memory: by guest-physical address through the slots to the process's memory.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_read_guest and relatives)
 *
 * They go through the user addresses of the process, as a program would, so that demand paging and copy-on-write work,
 * and they mark what they write as dirty.
 */
import { EFAULT } from '../abi/errno.ts';
import { KVM_MEM_READONLY } from '../abi/kvm/index.ts';
import { PAGE_SIZE, copy_from_user, copy_to_user } from '../kernel/exports.ts';
import type { kvm_memory_slot, kvm_vcpu } from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot, mark_page_dirty_in_slot } from './memslots.ts';

export const gfn_of = (gpa: number): number => Math.floor(gpa / PAGE_SIZE);
const offset_in_page = (gpa: number): number => gpa % PAGE_SIZE;
const hva_of = (slot: kvm_memory_slot, gpa: number): number => slot.userspace_addr + (gpa - slot.base_gfn * PAGE_SIZE);

/** Fills `data` from guest memory. 0 or -EFAULT. */
export function kvm_vcpu_read_guest(vcpu: kvm_vcpu, gpa: number, data: Uint8Array): number {
  const n = PAGE_SIZE - offset_in_page(gpa);
  if (data.length <= n) return read_page(vcpu, gpa, data);
  for (let done = 0; done < data.length; ) {
    const step = Math.min(data.length - done, PAGE_SIZE - offset_in_page(gpa + done));
    const r = read_page(vcpu, gpa + done, data.subarray(done, done + step));
    if (r < 0) return r;
    done += step;
  }
  return 0;
}

function read_page(vcpu: kvm_vcpu, gpa: number, data: Uint8Array): number {
  const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(gpa));
  return slot === undefined ? -EFAULT : copy_from_user(data, hva_of(slot, gpa));
}

/** Stores `data` in guest memory. 0 or -EFAULT; a read-only slot is -EFAULT. */
export function kvm_vcpu_write_guest(vcpu: kvm_vcpu, gpa: number, data: Uint8Array): number {
  for (let done = 0; done < data.length; ) {
    const at = gpa + done;
    const step = Math.min(data.length - done, PAGE_SIZE - offset_in_page(at));
    const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(at));
    if (slot === undefined || (slot.flags & KVM_MEM_READONLY) !== 0) return -EFAULT;
    const r = copy_to_user(hva_of(slot, at), step === data.length ? data : data.subarray(done, done + step));
    if (r < 0) return r;
    mark_page_dirty_in_slot(vcpu, slot, gfn_of(at));
    done += step;
  }
  return 0;
}

const scratch = new Uint8Array(8);
const view = new DataView(scratch.buffer);
const four = scratch.subarray(0, 4);

/** A 32-bit or 64-bit word, undefined where there is no memory. Gives the value at once, keeps nothing. */
export function kvm_read_guest_u32(vcpu: kvm_vcpu, gpa: number): number | undefined {
  return kvm_vcpu_read_guest(vcpu, gpa, four) < 0 ? undefined : view.getUint32(0, true);
}
export function kvm_read_guest_u64(vcpu: kvm_vcpu, gpa: number): bigint | undefined {
  return kvm_vcpu_read_guest(vcpu, gpa, scratch) < 0 ? undefined : view.getBigUint64(0, true);
}
export function kvm_write_guest_u32(vcpu: kvm_vcpu, gpa: number, value: number): number {
  view.setUint32(0, value, true);
  return kvm_vcpu_write_guest(vcpu, gpa, four);
}
export function kvm_write_guest_u64(vcpu: kvm_vcpu, gpa: number, value: bigint): number {
  view.setBigUint64(0, value, true);
  return kvm_vcpu_write_guest(vcpu, gpa, scratch);
}
