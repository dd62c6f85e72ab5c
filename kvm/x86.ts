/**
 * The x86 part of a VM and of its vCPUs: what is set up once, and the requests that are not registers.
 *
 * Linux: arch/x86/kvm/x86.c
 */
import { E2BIG, EBUSY, EEXIST, EFAULT, EINVAL, ENXIO } from '../abi/errno.ts';
import {
  KVM_X86_GRP_SYSTEM, KVM_X86_XCOMP_GUEST_SUPP, type kvm_device_attr, type kvm_interrupt, type kvm_userspace_memory_region2,
} from '../abi/kvm/index.ts';
import type { Word } from '../abi/process.ts';
import { copy_from_user, copy_to_user } from '../kernel/exports.ts';
import { supported_xcr0 } from './cpuid.ts';
import { unsigned } from './ioctl-table.ts';
import { kvm_inject_nmi, kvm_queue_interrupt } from './events.ts';
import { KVM_NR_INTERRUPTS } from '../abi/kvm/index.ts';
import { KVM_REQ_EVENT, type kvm, type kvm_vcpu, irqchip_in_kernel, kvm_make_request, kvm_x86, pic_in_kernel } from './kvm_host.ts';
import { type region, kvm_set_memory_region } from './memslots.ts';
import { kvm_mmu_change_mmu_pages } from './mmu/shadow-root.ts';
import { vcpu_load, vcpu_put } from './run.ts';
import { get_kvmclock_base_ns, host_tsc_khz, kvm_synchronize_tsc } from './tsc.ts';
import { bytesOfWords } from './words.ts';
import { kvm_inject_smi } from './smm.ts';
import { kvm_destroy_irqchip } from './irqchip.ts';

export function kvm_arch_init_vm(vm: kvm): void {
  vm.arch.default_tsc_khz = host_tsc_khz();
  vm.arch.kvmclock_offset = -get_kvmclock_base_ns();
}
export function kvm_arch_destroy_vm(vm: kvm): void { kvm_destroy_irqchip(vm); }

/** The vCPU is among those of its VM: its TSC begins as theirs. */
export function kvm_arch_vcpu_postcreate(vcpu: kvm_vcpu): void {
  vcpu_load(vcpu);
  kvm_synchronize_tsc(vcpu);
  vcpu_put(vcpu);
}

// ---------------------------------------------------------------- memory and addresses

export const kvm_vm_ioctl_set_memory_region = (vm: kvm, mem: region): number => kvm_set_memory_region(vm, mem);
export const kvm_vm_ioctl_set_memory_region2 = (vm: kvm, mem: kvm_userspace_memory_region2): number => kvm_set_memory_region(vm, mem);

/** Only a processor without unrestricted guests needs the pages; the address is checked all the same. */
export function kvm_vm_ioctl_set_tss_addr(vm: kvm, arg: Word): number {
  const address = unsigned(arg);
  if (address > 0xffff_ffffn - 3n * 4096n) return -EINVAL;
  const r = kvm_x86.set_tss_addr(vm, Number(address));
  if (r === 0) vm.arch.tss_addr = Number(address);
  return r;
}
export function kvm_vm_ioctl_set_identity_map_addr(vm: kvm, box: { value: bigint }): number {
  if (vm.created_vcpus > 0) return -EINVAL;
  vm.arch.identity_map_addr = Number(box.value);
  return 0;
}
export function kvm_vm_ioctl_set_nr_mmu_pages(vm: kvm, arg: Word): number {
  const pages = unsigned(arg);
  if (pages < 64n) return -EINVAL;
  kvm_mmu_change_mmu_pages(vm, Number(pages & 0xffff_ffffn));
  vm.arch.n_requested_mmu_pages = vm.arch.n_max_mmu_pages;
  return 0;
}
export function kvm_vm_ioctl_set_boot_cpu_id(vm: kvm, arg: Word): number {
  if (vm.created_vcpus > 0) return -EBUSY;
  vm.arch.bsp_vcpu_id = Number(BigInt.asUintN(32, unsigned(arg)));
  return 0;
}

// ---------------------------------------------------------------- events from user space

export function kvm_vcpu_ioctl_interrupt(vcpu: kvm_vcpu, irq: kvm_interrupt): number {
  if (irq.irq >= KVM_NR_INTERRUPTS) return -EINVAL;
  if (!irqchip_in_kernel(vcpu.kvm)) {
    kvm_queue_interrupt(vcpu, irq.irq, false);
    kvm_make_request(KVM_REQ_EVENT, vcpu);
    return 0;
  }
  if (pic_in_kernel(vcpu.kvm)) return -ENXIO;
  if (vcpu.arch.pending_external_vector >= 0) return -EEXIST;
  vcpu.arch.pending_external_vector = irq.irq;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 0;
}
export function kvm_vcpu_ioctl_nmi(vcpu: kvm_vcpu): number {
  kvm_inject_nmi(vcpu);
  return 0;
}
export function kvm_vcpu_ioctl_smi(vcpu: kvm_vcpu): number {
  kvm_inject_smi(vcpu);
  return 0;
}

/** KVM_SET_SIGNAL_MASK: eight bytes of mask, or none to give it up. */
export function kvm_vcpu_ioctl_set_sigmask(vcpu: kvm_vcpu, at: number): number {
  if (at === 0) {
    vcpu.sigset_active = false;
    return 0;
  }
  const length = new Uint32Array(1);
  if (copy_from_user(bytesOfWords(length), at) !== 0) return -EFAULT;
  if (length[0] !== 8) return -EINVAL;
  const mask = new BigUint64Array(1);
  if (copy_from_user(bytesOfWords(mask), at + 4) !== 0) return -EFAULT;
  // SIGKILL and SIGSTOP cannot be blocked.
  vcpu.sigset = mask[0]! & ~((1n << 8n) | (1n << 18n));
  vcpu.sigset_active = true;
  return 0;
}

// ---------------------------------------------------------------- attributes

export function kvm_x86_dev_has_attr(_: undefined, attr: kvm_device_attr): number {
  return attr.group === KVM_X86_GRP_SYSTEM && attr.attr === BigInt(KVM_X86_XCOMP_GUEST_SUPP) ? 0 : -ENXIO;
}
export function kvm_x86_dev_get_attr(_: undefined, attr: kvm_device_attr): number {
  if (attr.group !== KVM_X86_GRP_SYSTEM || attr.attr !== BigInt(KVM_X86_XCOMP_GUEST_SUPP)) return -ENXIO;
  return copy_to_user(Number(attr.addr), bytesOfWords(BigUint64Array.of(supported_xcr0()))) !== 0 ? -EFAULT : 0;
}

/** A filter for counters no guest here has; it is vetted and kept. */
export function kvm_vm_ioctl_set_pmu_event_filter(vm: kvm, at: number): number {
  const head = new Uint32Array(4);
  if (copy_from_user(bytesOfWords(head), at) !== 0) return -EFAULT;
  const [action, nevents, , flags] = head as unknown as [number, number, number, number];
  if (action > 1 || (flags & ~1) !== 0) return -EINVAL;
  if (nevents > 300) return -E2BIG;
  const events = new BigUint64Array(nevents);
  if (copy_from_user(bytesOfWords(events), at + 32) !== 0) return -EFAULT;
  vm.arch.pmu_event_filter = { action, events };
  return 0;
}
