/**
 * Machines to ask: a VM with or without memory, chips, a vCPU; and zeroed structs in user memory.
 */
import { MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../abi/mman.ts';
import { KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X86_APIC_BUS_CYCLES_NS, KVM_CAP_X86_DISABLE_EXITS, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_ENABLE_CAP, KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR, KVM_SET_USER_MEMORY_REGION, kvm_enable_cap, kvm_pit_config, kvm_run, kvm_userspace_memory_region } from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { type Field, type Init, type Located, addressOf, sizeof } from '../../../abi/struct.ts';
import { close, loadBytes, malloc, mmap, munmap, storeBytes, view } from '../../../userland/libc.ts';
import { rawIoctl } from './recorder.ts';

export const MMAP_SIZE = 12288;
export interface Machine { vm: number; vcpu: number; run: kvm_run; runAt: number; mem: number; size: number }
export interface Parts { mem?: boolean; vcpu?: boolean; irqchip?: boolean; cpuid?: boolean; pit?: boolean; tss?: boolean; split?: boolean; bus?: bigint; disabled?: bigint }

/** Shared anonymous memory. */
export const anon = (size: number): Sys<number> => mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

/** A zeroed struct in user memory; what is not named in `init` is zero. */
export function* make<T extends Located>(type: Field<T>, init?: Init<T>, extra = 0): Sys<T> {
  const at = yield* malloc(type.size + extra);
  storeBytes(at, new Uint8Array(type.size + extra));
  const v = view(type, at);
  if (init !== undefined) set(v, init as object);
  return v;
}
function set(to: object, init: object): void {
  for (const [key, value] of Object.entries(init)) {
    const target = to as Record<string, unknown>;
    if (Array.isArray(value)) value.forEach((v, i) => { const a = target[key] as { get(i: number): unknown; set(i: number, v: unknown): void }; if (typeof v === 'object') set(a.get(i) as object, v as object); else a.set(i, v); });
    else if (typeof value === 'object') set(target[key] as object, value as object);
    else target[key] = value;
  }
}
/** The bytes of a struct in user memory. */
export const bytes = (v: Located, n = sizeof(v), from = 0): Uint8Array => loadBytes(addressOf(v) + from, n);
/** Words of user memory. */
export function* words(...values: bigint[]): Sys<number> {
  const at = yield* malloc(Math.max(8, values.length * 8));
  const image = new Uint8Array(values.length * 8);
  const dv = new DataView(image.buffer);
  values.forEach((v, i) => { dv.setBigUint64(8 * i, BigInt.asUintN(64, v), true); });
  storeBytes(at, image);
  return at;
}
export const word64 = (at: number): bigint => new DataView(loadBytes(at, 8).buffer).getBigUint64(0, true);

/** KVM_GET_SUPPORTED_CPUID's table: where it lies. */
export function* supportedCpuid(sys: number): Sys<number> {
  const at = yield* malloc(8 + 256 * 40);
  storeBytes(at, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 0));
  yield* rawIoctl(sys, KVM_GET_SUPPORTED_CPUID.nr, at);
  return at;
}

export function* mk(sys: number, parts: Parts): Sys<Machine> {
  const vm = yield* rawIoctl(sys, KVM_CREATE_VM.nr, 0);
  const m: Machine = { vm, vcpu: -1, run: undefined as unknown as kvm_run, runAt: 0, mem: 0, size: 0x80000 };
  if (parts.tss) {
    yield* rawIoctl(vm, KVM_SET_IDENTITY_MAP_ADDR.nr, yield* words(0xfffbc000n));
    yield* rawIoctl(vm, KVM_SET_TSS_ADDR.nr, 0xfffbd000);
  }
  if (parts.irqchip) yield* rawIoctl(vm, KVM_CREATE_IRQCHIP.nr, 0);
  if (parts.split) yield* rawIoctl(vm, KVM_ENABLE_CAP.nr, yield* make(kvm_enable_cap, { cap: KVM_CAP_SPLIT_IRQCHIP, args: [24n] }));
  if (parts.bus !== undefined) yield* rawIoctl(vm, KVM_ENABLE_CAP.nr, yield* make(kvm_enable_cap, { cap: KVM_CAP_X86_APIC_BUS_CYCLES_NS, args: [parts.bus] }));
  if (parts.disabled !== undefined) yield* rawIoctl(vm, KVM_ENABLE_CAP.nr, yield* make(kvm_enable_cap, { cap: KVM_CAP_X86_DISABLE_EXITS, args: [parts.disabled] }));
  if (parts.pit) yield* rawIoctl(vm, KVM_CREATE_PIT2.nr, yield* make(kvm_pit_config));
  if (parts.mem) {
    m.mem = yield* anon(m.size);
    yield* setmem(vm, 0, 0, 0n, m.size, m.mem);
  }
  if (parts.vcpu) {
    m.vcpu = yield* rawIoctl(vm, KVM_CREATE_VCPU.nr, 0);
    m.runAt = yield* mmap(0, MMAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
    m.run = view(kvm_run, m.runAt);
    if (parts.cpuid) yield* rawIoctl(m.vcpu, KVM_SET_CPUID2.nr, yield* supportedCpuid(sys));
  }
  return m;
}
export function* setmem(vm: number, slot: number, flags: number, gpa: bigint, size: number, hva: number): Sys<number> {
  const r = yield* make(kvm_userspace_memory_region, { slot, flags, guest_phys_addr: gpa, memory_size: BigInt(size), userspace_addr: BigInt(hva) });
  return yield* rawIoctl(vm, KVM_SET_USER_MEMORY_REGION.nr, r);
}
export function* rm(m: Machine): Sys {
  if (m.runAt !== 0) yield* munmap(m.runAt, MMAP_SIZE);
  if (m.vcpu >= 0) yield* close(m.vcpu);
  yield* close(m.vm);
  if (m.mem !== 0) yield* munmap(m.mem, m.size);
}
