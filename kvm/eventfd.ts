/**
 * ioeventfd: a guest's write to an address signals an eventfd, and the guest goes on without user space.
 *
 * Linux: virt/kvm/eventfd.c (kvm_ioeventfd), Documentation/virt/kvm/api.rst 4.59
 */
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from '../abi/errno.ts';
import type { kvm_ioeventfd as kvm_ioeventfd_args } from '../abi/kvm/index.ts';
import { eventfd_ctx_fdget, eventfd_signal, type eventfd_ctx } from '../kernel/exports.ts';
import type { kvm_io_bus, kvm_io_device } from './io-bus.ts';
import type { kvm } from './kvm_host.ts';

const DATAMATCH = 1, PIO = 2, DEASSIGN = 4, VIRTIO_CCW_NOTIFY = 8, VALID = 15;

interface ioeventfd { readonly bus: 'mmio' | 'pio' | 'fast' | 'ccw'; readonly addr: number; readonly length: number; readonly datamatch: bigint; readonly wildcard: boolean; readonly ctx: eventfd_ctx; readonly dev: kvm_io_device }

const registered = (vm: kvm): ioeventfd[] => vm.ioeventfds as ioeventfd[];
const bus_of = (vm: kvm, name: ioeventfd['bus']): kvm_io_bus | undefined => ({ mmio: vm.mmio_bus, pio: vm.pio_bus, fast: vm.fast_mmio_bus, ccw: undefined })[name];

const little = (data: Uint8Array, len: number): bigint => {
  let value = 0n;
  for (let i = len - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[i]!);
  return value;
};

/** Takes a write of its length, and of its value where one is asked for. */
const device = (addr: number, length: number, wildcard: boolean, datamatch: bigint, ctx: eventfd_ctx): kvm_io_device => ({
  write: (_vcpu, at, len, data) => {
    if (at !== addr || (length !== 0 && len !== length) || (length !== 0 && !wildcard && little(data, len) !== datamatch)) return -EOPNOTSUPP;
    eventfd_signal(ctx);
    return 0;
  },
});

const collides = (a: { bus: string; addr: number; length: number; datamatch: bigint; wildcard: boolean }, b: ioeventfd): boolean =>
  a.bus === b.bus && a.addr === b.addr && (a.length === 0 || b.length === 0 || (a.length === b.length && (a.wildcard || b.wildcard || a.datamatch === b.datamatch)));

export function kvm_ioeventfd(vm: kvm, args: kvm_ioeventfd_args): number {
  const { flags } = args;
  const bus: ioeventfd['bus'] = (flags & PIO) !== 0 ? 'pio' : (flags & VIRTIO_CCW_NOTIFY) !== 0 ? 'ccw' : 'mmio';
  if ((flags & DEASSIGN) !== 0) return deassign(vm, bus, args);
  if (![0, 1, 2, 4, 8].includes(args.len)) return -EINVAL;
  if (args.addr + BigInt(args.len) >= 1n << 64n) return -EINVAL;
  if ((flags & ~VALID) !== 0) return -EINVAL;
  if (args.len === 0 && (flags & DATAMATCH) !== 0) return -EINVAL;
  const r = assign(vm, bus, args);
  if (r !== 0 || args.len !== 0 || bus !== 'mmio') return r;
  // An address whose data nobody looks at has a bus of its own, asked before anything is decoded.
  const fast = assign(vm, 'fast', args);
  if (fast !== 0) deassign(vm, 'mmio', args);
  return fast;
}

function assign(vm: kvm, bus: ioeventfd['bus'], args: kvm_ioeventfd_args): number {
  const ctx = eventfd_ctx_fdget(args.fd);
  if (typeof ctx === 'number') return ctx;
  const wildcard = (args.flags & DATAMATCH) === 0;
  const addr = Number(args.addr);
  const wanted = { bus, addr, length: args.len, datamatch: wildcard ? 0n : args.datamatch, wildcard };
  if (registered(vm).some((p) => collides(wanted, p))) return -EEXIST;
  const dev = device(addr, args.len, wildcard, wanted.datamatch, ctx);
  bus_of(vm, bus)?.register_dev(addr, args.len, dev);
  registered(vm).push({ ...wanted, ctx, dev });
  return 0;
}

function deassign(vm: kvm, bus: ioeventfd['bus'], args: kvm_ioeventfd_args): number {
  const ctx = eventfd_ctx_fdget(args.fd);
  if (typeof ctx === 'number') return ctx;
  const wildcard = (args.flags & DATAMATCH) === 0;
  const list = registered(vm);
  const i = list.findIndex((p) => p.bus === bus && p.ctx === ctx && p.addr === Number(args.addr) && p.length === args.len && p.wildcard === wildcard && (wildcard || p.datamatch === args.datamatch));
  if (i < 0) return -ENOENT;
  bus_of(vm, bus)?.unregister_dev(list[i]!.dev);
  list.splice(i, 1);
  if (args.len === 0 && bus === 'mmio') deassign(vm, 'fast', args);
  return 0;
}
