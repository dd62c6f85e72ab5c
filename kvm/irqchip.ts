/** Interrupt controllers inside KVM: creation. */
import { EINVAL } from '../abi/errno.ts';
import type { kvm, kvm_vcpu } from './kvm_host.ts';
export const kvm_setup_split_irqchip = (_kvm: kvm, _pins: bigint): number => -EINVAL;
export const kvm_create_lapic = (_vcpu: kvm_vcpu): void => {};
export const kvm_destroy_irqchip = (_kvm: kvm): void => {};
import type { row } from './ioctl-table.ts';
export const irqchip_vm_ioctls: row<kvm>[] = [];
export const irqchip_vcpu_ioctls: row<kvm_vcpu>[] = [];
