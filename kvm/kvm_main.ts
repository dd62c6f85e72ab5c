/**
 * The generic part of KVM: /dev/kvm, VMs and vCPUs as files, and their lives.
 *
 * Linux: virt/kvm/kvm_main.c
 *
 * A VM is kept by its own descriptor and by each vCPU's, so closing the VM first stops nothing. Every ioctl of a VM or
 * vCPU is refused to another process: guest memory is the creator's memory.
 */
import { EEXIST, EINTR, EINVAL, EIO, ENOMEM, ENOTTY } from '../abi/errno.ts';
import { O_CLOEXEC, O_RDWR } from '../abi/fcntl.ts';
import { KVM_GET_API_VERSION, KVM_GET_VCPU_MMAP_SIZE, KVM_CREATE_VM, KVM_DIRTY_LOG_PAGE_OFFSET, KVM_RUN, KVMIO } from '../abi/kvm/index.ts';
import type { Word } from '../abi/process.ts';
import {
  KVM_MINOR, type MaySleep, type Module, PAGE_SIZE, __get_free_zeroed, anon_inode_getfd, current, type file, type file_operations, get_page, kernelVariable, machine, misc_deregister, misc_register,
  type miscdevice, mmdrop, mmgrab, mmu_notifier_register, mmu_notifier_unregister, module_put, VM_EXEC, VM_SHARED, on_each_cpu, put_page, smp_processor_id, try_module_get, type vm_area_struct,
  wait_event_killable,
} from '../kernel/exports.ts';
import { type Answer, type ioctl_table, unsigned } from './ioctl-table.ts';
import { kvm_io_bus } from './io-bus.ts';
import { KVM_API_VERSION, KVM_MAX_VCPU_IDS, type kvm_vcpu, kvm, kvm_state, kvm_x86, set_kvm_x86_ops, type kvm_x86_ops } from './kvm_host.ts';
import { kvm_dirty_ring_alloc, kvm_dirty_ring_free, kvm_page_in_dirty_ring } from './dirty_ring.ts';
import { kvm_mmu_free, kvm_unmap_hva_range } from './mmu/slots.ts';
import { kvm_arch_vcpu_ioctl_run, vcpu_load, vcpu_put } from './run.ts';
import { forget_again } from './run-again.ts';
import { kvm_arch_vcpu_create, kvm_arch_vcpu_destroy } from './vcpu-create.ts';
import { kvm_arch_destroy_vm, kvm_arch_init_vm, kvm_arch_vcpu_postcreate } from './x86.ts';
import { kvm_dev_ioctls, kvm_vcpu_ioctls, kvm_vm_ioctls } from './ioctls-table.ts';
import { kvm_create_debugfs, kvm_destroy_debugfs, kvm_exit_debugfs, kvm_init_debugfs } from './debugfs.ts';

/** Pages of a vCPU's mapping: kvm_run, port data, the coalesced ring. */
export const KVM_VCPU_MMAP_SIZE = 3 * PAGE_SIZE;

// ---------------------------------------------------------------- VMs

function kvm_create_vm(): kvm | number {
  const mm = current().mm!;
  const { ram } = machine();
  const coalesced = __get_free_zeroed();
  if (coalesced < 0) return -ENOMEM;
  const vm = new kvm(mm, ram.mem, ram.base, { mmio: new kvm_io_bus(), pio: new kvm_io_bus(), fast: new kvm_io_bus() }, (k) => ({
    invalidate_range: (start, end) => { kvm_unmap_hva_range(k, start, end); },
    release: () => {
      // The process is gone; what is left of the VM must never touch its memory again.
      kvm_unmap_hva_range(k, 0, Number.MAX_SAFE_INTEGER);
    },
  }));
  vm.coalesced_pfn = coalesced;
  const r = hardware_enable_all();
  if (r < 0) {
    put_page(coalesced);
    return r;
  }
  mmgrab(mm);
  mmu_notifier_register(mm, vm.mmu_notifier);
  kvm_arch_init_vm(vm);
  kvm_state().vm_list.add(vm);
  return vm;
}

export function kvm_get_kvm(vm: kvm): void { vm.users_count++; }
export function kvm_put_kvm(vm: kvm): void {
  if (--vm.users_count === 0) kvm_destroy_vm(vm);
}

function kvm_destroy_vm(vm: kvm): void {
  kvm_state().vm_list.delete(vm);
  kvm_destroy_debugfs(vm);
  mmu_notifier_unregister(vm.mm, vm.mmu_notifier);
  kvm_arch_destroy_vm(vm);
  for (const vcpu of vm.vcpus) {
    kvm_dirty_ring_free(vcpu.dirty_ring);
    kvm_arch_vcpu_destroy(vcpu);
  }
  vm.vcpus.length = 0;
  kvm_mmu_free(vm);
  put_page(vm.coalesced_pfn);
  mmdrop(vm.mm);
  hardware_disable_all();
  module_put(kvm_x86.name);
}

/** VMXON regions, by processor, while there are VMs. */
const vmxon_regions = kernelVariable<number[]>(() => []);

function hardware_enable_all(): number {
  const state = kvm_state();
  if (state.usage_count++ > 0) return 0;
  let failed = 0;
  on_each_cpu(() => {
    const region = kvm_x86.enable_virtualization_cpu();
    if (region < 0) failed = region;
    else vmxon_regions()[smp_processor_id()] = region;
  });
  if (failed < 0) hardware_disable_all();
  return failed;
}
function hardware_disable_all(): void {
  if (--kvm_state().usage_count > 0) return;
  const regions = vmxon_regions();
  on_each_cpu(() => {
    const region = regions[smp_processor_id()];
    if (region === undefined) return;
    kvm_x86.disable_virtualization_cpu();
    put_page(region);
  });
  regions.length = 0;
}

function kvm_dev_ioctl_create_vm(type: bigint): number {
  if (type !== 0n) return -EINVAL;
  if (!try_module_get(kvm_x86.name)) return -EINVAL;
  const vm = kvm_create_vm();
  if (typeof vm === 'number') {
    module_put(kvm_x86.name);
    return vm;
  }
  const fd = anon_inode_getfd('kvm-vm', kvm_vm_fops, vm, O_RDWR | O_CLOEXEC);
  if (fd < 0) kvm_put_kvm(vm);
  else kvm_create_debugfs(vm, fd);
  return fd;
}

// ---------------------------------------------------------------- vCPUs

export function kvm_vm_ioctl_create_vcpu(vm: kvm, arg: Word): number {
  const id = unsigned(arg);
  if (id >= BigInt(KVM_MAX_VCPU_IDS) || vm.created_vcpus >= vm.max_vcpus) return -EINVAL;
  vm.arch.max_vcpu_ids ||= KVM_MAX_VCPU_IDS;
  if (id >= BigInt(vm.arch.max_vcpu_ids)) return -EINVAL;
  if (vm.vcpus.some((v) => BigInt(v.vcpu_id) === id)) return -EEXIST;
  const vcpu = kvm_arch_vcpu_create(vm, Number(id));
  if (typeof vcpu === 'number') return vcpu;
  const ring = kvm_dirty_ring_alloc(vm);
  if (typeof ring === 'number') {
    kvm_arch_vcpu_destroy(vcpu);
    return ring;
  }
  vcpu.dirty_ring = ring;
  kvm_get_kvm(vm);
  const fd = anon_inode_getfd(`kvm-vcpu:${id}`, kvm_vcpu_fops, vcpu, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    kvm_dirty_ring_free(ring);
    kvm_arch_vcpu_destroy(vcpu);
    vm.users_count--;
    return fd;
  }
  vm.created_vcpus++;
  vm.vcpus.push(vcpu);
  kvm_arch_vcpu_postcreate(vcpu);
  return fd;
}

/** The pages behind a vCPU's mapping. There may be more of them than it has: those beyond are SIGBUS when touched. */
function kvm_vcpu_fault(vcpu: kvm_vcpu, pgoff: number): number {
  const pfn = kvm_page_in_dirty_ring(vcpu.kvm, pgoff) ? vcpu.dirty_ring!.pfns[pgoff - KVM_DIRTY_LOG_PAGE_OFFSET] : [vcpu.run_pfn, vcpu.pio_pfn, vcpu.kvm.coalesced_pfn][pgoff];
  if (pfn === undefined) return -EINVAL;
  get_page(pfn);
  return pfn;
}

// ---------------------------------------------------------------- files

function kvm_dev_ioctl(_f: file, cmd: number, arg: Word): Answer {
  switch (cmd) {
    case KVM_GET_API_VERSION.nr: return unsigned(arg) !== 0n ? -EINVAL : KVM_API_VERSION;
    case KVM_CREATE_VM.nr: return kvm_dev_ioctl_create_vm(unsigned(arg));
    case KVM_GET_VCPU_MMAP_SIZE.nr: return unsigned(arg) !== 0n ? -EINVAL : KVM_VCPU_MMAP_SIZE;
    default: return call(kvm_dev_ioctls, undefined, cmd, arg, -EINVAL);
  }
}
function call<C>(table: ioctl_table<C>, context: C, cmd: number, arg: Word, unknown: number): Answer {
  const row = table.get(cmd);
  return row === undefined ? unknown : row.call(context, arg);
}

function kvm_vm_ioctl(f: file, cmd: number, arg: Word): Answer {
  const vm = f.private_data as kvm;
  if (vm.mm !== current().mm || vm.vm_dead) return -EIO;
  return call(kvm_vm_ioctls, vm, cmd, arg, -ENOTTY);
}

function kvm_vcpu_ioctl(f: file, cmd: number, arg: Word): Answer {
  const vcpu = f.private_data as kvm_vcpu;
  if (vcpu.kvm.mm !== current().mm || vcpu.kvm.vm_dead) return -EIO;
  if (((cmd >>> 8) & 0xff) !== KVMIO) return -EINVAL;
  return vcpu.owner === undefined ? locked(vcpu, cmd, arg) : wait_for_vcpu(vcpu, cmd, arg);
}
/** One thread at a time is inside a vCPU; all but KVM_RUN are over in one step. */
function locked(vcpu: kvm_vcpu, cmd: number, arg: Word): Answer {
  if (cmd === KVM_RUN.nr) return arg !== 0 && unsigned(arg) !== 0n ? -EINVAL : kvm_arch_vcpu_ioctl_run(vcpu);
  const row = kvm_vcpu_ioctls.get(cmd);
  if (row === undefined) return -EINVAL;
  vcpu_load(vcpu);
  if (vcpu.arch.again) forget_again(vcpu);
  vcpu.arch.registers_changed = true;
  const r = row.call(vcpu, arg);
  vcpu_put(vcpu);
  return r;
}
function* wait_for_vcpu(vcpu: kvm_vcpu, cmd: number, arg: Word): MaySleep<number> {
  if ((yield* wait_event_killable(vcpu.mutex, () => vcpu.owner === undefined)) < 0) return -EINTR;
  const r = locked(vcpu, cmd, arg);
  return typeof r === 'number' ? r : yield* r;
}

/** These files have no position: seeking is answered and does nothing. */
const llseek = (f: file): number => f.f_pos;

const kvm_chardev_ops: file_operations = { ioctl: kvm_dev_ioctl, llseek };
const kvm_vm_fops: file_operations = {
  ioctl: kvm_vm_ioctl,
  llseek,
  release: (_inode, f) => { kvm_put_kvm(f.private_data as kvm); },
};
const kvm_vcpu_fops: file_operations = {
  ioctl: kvm_vcpu_ioctl,
  llseek,
  mmap: (f: file, vma: vm_area_struct) => {
    const vcpu = f.private_data as kvm_vcpu;
    const last = vma.vm_pgoff + (vma.vm_end - vma.vm_start) / PAGE_SIZE - 1;
    const ring = kvm_page_in_dirty_ring(vcpu.kvm, vma.vm_pgoff) || kvm_page_in_dirty_ring(vcpu.kvm, last);
    if (ring && ((vma.vm_flags & VM_EXEC) !== 0 || (vma.vm_flags & VM_SHARED) === 0)) return -EINVAL;
    vma.vm_ops = { fault: (_vma, pgoff) => kvm_vcpu_fault(vcpu, pgoff) };
    return 0;
  },
  release: (_inode, f) => { kvm_put_kvm((f.private_data as kvm_vcpu).kvm); },
};

// ---------------------------------------------------------------- modules

const kvm_dev: miscdevice = { name: 'kvm', minor: KVM_MINOR, fops: kvm_chardev_ops, mode: 0o666 };

/** What a vendor module does when it is loaded: from here on there is a /dev/kvm. */
export function kvm_x86_vendor_init(ops: kvm_x86_ops): number {
  set_kvm_x86_ops(ops);
  const r = misc_register(kvm_dev);
  if (r === 0) kvm_init_debugfs();
  return r;
}
export function kvm_x86_vendor_exit(): void {
  kvm_exit_debugfs();
  misc_deregister(kvm_dev);
}

const kvm_module: Module = {
  name: 'kvm',
  description: 'Kernel-based Virtual Machine',
  params: {
    halt_poll_ns: { type: 'uint', value: 200_000, perm: 0o644 },
    halt_poll_ns_grow: { type: 'uint', value: 2, perm: 0o644 },
    halt_poll_ns_grow_start: { type: 'uint', value: 10_000, perm: 0o644 },
    halt_poll_ns_shrink: { type: 'uint', value: 2, perm: 0o644 },
    force_emulation_prefix: { type: 'int', value: 0, perm: 0o644 },
    ignore_msrs: { type: 'bool', value: false, perm: 0o644 },
    tdp_mmu: { type: 'bool', value: true, perm: 0o444 },
    eager_page_split: { type: 'bool', value: true, perm: 0o644 },
  },
  depends: [],
  init: () => 0,
  exit: () => {},
};
export { kvm_module as kvm };
