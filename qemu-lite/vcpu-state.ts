/**
 * The whole state of a vCPU as bytes, read and written through KVM's own structs: what a reset goes back to.
 * QEMU: target/i386/kvm/kvm.c (kvm_arch_get_registers, kvm_arch_put_registers)
 */
import type { Sys } from '../abi/process.ts';
import { type Field, type Located, addressOf, bytesOf, copyOut, spaceOf } from '../abi/struct.ts';
import type { Ioctl } from '../abi/ioctl.ts';
import {
  KVM_GET_DEBUGREGS, KVM_GET_FPU, KVM_GET_MSRS, KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_VCPU_EVENTS, KVM_SET_DEBUGREGS, KVM_SET_FPU, KVM_SET_MSRS,
  KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_VCPU_EVENTS, kvm_debugregs, kvm_fpu, kvm_msrs, kvm_regs, kvm_sregs, kvm_vcpu_events,
} from '../abi/kvm/index.ts';
import { alloc, alloc_flex, free, ioctl } from '../userland/libc.ts';

interface Part { readonly type: Field<Located>; readonly get: Ioctl<Located>; readonly set: Ioctl<Located> }
const part = <T extends Located>(type: Field<T>, get: Ioctl<T>, set: Ioctl<T>): Part => ({ type, get, set }) as unknown as Part;

/** In the order they are written: events last, since setting registers may clear them. */
const parts: readonly Part[] = [
  part(kvm_sregs,       KVM_GET_SREGS,       KVM_SET_SREGS),
  part(kvm_regs,        KVM_GET_REGS,        KVM_SET_REGS),
  part(kvm_fpu,         KVM_GET_FPU,         KVM_SET_FPU),
  part(kvm_debugregs,   KVM_GET_DEBUGREGS,   KVM_SET_DEBUGREGS),
  part(kvm_vcpu_events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS),
];

/** Model-specific registers that hold a guest's own settings, by their SDM numbers. */
const stateMsrs = {
  IA32_SYSENTER_CS: 0x174, IA32_SYSENTER_ESP: 0x175, IA32_SYSENTER_EIP: 0x176, IA32_PAT: 0x277,
  IA32_STAR: 0xc000_0081, IA32_LSTAR: 0xc000_0082, IA32_CSTAR: 0xc000_0083, IA32_FMASK: 0xc000_0084, IA32_KERNEL_GS_BASE: 0xc000_0102,
} as const;

export interface VcpuState {
  readonly parts: readonly Uint8Array[];
  readonly msrs: ReadonlyMap<number, bigint>;
}

export function* readVcpuState(fd: number): Sys<VcpuState> {
  const saved: Uint8Array[] = [];
  for (const { type, get } of parts) {
    const view = yield* alloc(type);
    yield* ioctl(fd, get, view);
    saved.push(bytesOf(view));
    yield* free(view);
  }
  const indices = Object.values(stateMsrs);
  const msrs = yield* alloc_flex(kvm_msrs, indices.length);
  msrs.nmsrs = indices.length;
  indices.forEach((index, i) => { msrs.entries.get(i).index = index; });
  // The answer is how many were read before one that this processor does not have.
  const known = yield* ioctl(fd, KVM_GET_MSRS, msrs);
  const values = new Map(indices.slice(0, known).map((index, i) => [index, msrs.entries.get(i).data]));
  yield* free(msrs);
  return { parts: saved, msrs: values };
}

export function* writeVcpuState(fd: number, state: VcpuState): Sys {
  for (const [i, { type, set }] of parts.entries()) {
    const view = yield* alloc(type);
    copyOut(spaceOf(view), addressOf(view), state.parts[i] ?? new Uint8Array(0));
    yield* ioctl(fd, set, view);
    yield* free(view);
  }
  const msrs = yield* alloc_flex(kvm_msrs, state.msrs.size);
  msrs.nmsrs = state.msrs.size;
  [...state.msrs].forEach(([index, data], i) => {
    const entry = msrs.entries.get(i);
    entry.index = index;
    entry.data = data;
  });
  yield* ioctl(fd, KVM_SET_MSRS, msrs);
  yield* free(msrs);
}
