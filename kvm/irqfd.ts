/**
 * irqfd: an eventfd that raises an interrupt line when it is signalled.
 *
 * Linux: virt/kvm/eventfd.c (kvm_irqfd), Documentation/virt/kvm/api.rst 4.75
 *
 * A level-triggered line has a second eventfd: it is up from the signal until the guest's EOI, which lowers it and signals
 * the second, so that the device can raise it again.
 */
import { EBADF, EBUSY, EINVAL } from '../abi/errno.ts';
import { KVM_IRQFD_FLAG_DEASSIGN, KVM_IRQFD_FLAG_RESAMPLE, type kvm_irqfd as kvm_irqfd_args } from '../abi/kvm/index.ts';
import { POLLHUP, POLLIN } from '../abi/poll.ts';
import { type eventfd_ctx, eventfd_ctx_fdget, eventfd_signal, wait_queue_entry } from '../kernel/exports.ts';
import { KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID, KVM_USERSPACE_IRQ_SOURCE_ID, type kvm_irq_ack_notifier, kvm_register_irq_ack_notifier, kvm_unregister_irq_ack_notifier } from './irq-delivery.ts';
import { kvm_set_irq } from './irqchip.ts';
import { type kvm, irqchip_in_kernel, pic_in_kernel } from './kvm_host.ts';

interface irqfd { readonly ctx: eventfd_ctx; readonly gsi: number; readonly entry: wait_queue_entry; readonly acked: kvm_irq_ack_notifier | undefined }
const registered = (vm: kvm): irqfd[] => vm.irqfds as irqfd[];

export function kvm_irqfd(vm: kvm, args: kvm_irqfd_args): number {
  if ((args.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) !== 0) return -EINVAL;
  return (args.flags & KVM_IRQFD_FLAG_DEASSIGN) !== 0 ? deassign(vm, args) : assign(vm, args);
}

function assign(vm: kvm, args: kvm_irqfd_args): number {
  const resample = (args.flags & KVM_IRQFD_FLAG_RESAMPLE) !== 0;
  if (resample ? !pic_in_kernel(vm) : !irqchip_in_kernel(vm)) return -EINVAL;
  const ctx = eventfd_ctx_fdget(args.fd | 0);
  if (typeof ctx === 'number') return ctx;
  let again: eventfd_ctx | number | undefined;
  if (resample) {
    again = eventfd_ctx_fdget(args.resamplefd | 0);
    if (typeof again === 'number') return again === -EBADF ? -EBADF : -EINVAL;
  }
  if (registered(vm).some((p) => p.ctx === ctx)) return -EBUSY;
  const { gsi } = args;
  const raise = (): void => {
    if (ctx.count === 0n) return;
    ctx.count = 0n;
    if (again !== undefined) kvm_set_irq(vm, gsi, KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID, true);
    else for (const level of [true, false]) kvm_set_irq(vm, gsi, KVM_USERSPACE_IRQ_SOURCE_ID, level);
  };
  const entry = new wait_queue_entry((_entry, _mode, key) => {
    if ((key & POLLIN) !== 0) raise();
    if ((key & POLLHUP) !== 0) remove(vm, (p) => p.entry === entry);
    return false;
  });
  const second = again as eventfd_ctx | undefined;
  const acked = second === undefined ? undefined : { gsi, irq_acked: (): void => {
    kvm_set_irq(vm, gsi, KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID, false);
    eventfd_signal(second);
  } };
  if (acked !== undefined) kvm_register_irq_ack_notifier(vm, acked);
  ctx.wqh.add(entry);
  registered(vm).push({ ctx, gsi, entry, acked });
  // It may have been signalled before anyone listened.
  raise();
  return 0;
}

function deassign(vm: kvm, args: kvm_irqfd_args): number {
  const ctx = eventfd_ctx_fdget(args.fd | 0);
  if (typeof ctx === 'number') return ctx;
  remove(vm, (p) => p.ctx === ctx && p.gsi === args.gsi);
  return 0;
}

function remove(vm: kvm, which: (p: irqfd) => boolean): void {
  const list = registered(vm);
  for (const p of list.filter(which)) {
    p.ctx.wqh.remove(p.entry);
    if (p.acked !== undefined) kvm_unregister_irq_ack_notifier(vm, p.acked);
    list.splice(list.indexOf(p), 1);
  }
}
export const release_irqfds = (vm: kvm): void => remove(vm, () => true);
