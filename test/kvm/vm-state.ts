/**
 * All state of a VM with one vCPU that KVM lets user space read, as a program would save it, and its way into another VM.
 * The order of restoring is QEMU's: what the guest is (CPUID) comes before what it does, chips before events.
 */
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { type Field, type Located, addressOf, sizeof } from '../../abi/struct.ts';
import { loadBytes, malloc, storeBytes } from '../../userland/libc.ts';
import { make } from '../golden/probe/machine.ts';
import { rawIoctl } from '../golden/probe/recorder.ts';

interface Pair { readonly name: string; readonly get: { readonly nr: number }; readonly set: { readonly nr: number }; readonly type: Field<Located>; readonly chips?: boolean }
/** Requests by which a vCPU's state goes out and in, in the order of restoring. */
const VCPU: readonly Pair[] = [
  { name: 'sregs2',    get: K.KVM_GET_SREGS2,      set: K.KVM_SET_SREGS2,      type: K.kvm_sregs2 },
  { name: 'regs',      get: K.KVM_GET_REGS,        set: K.KVM_SET_REGS,        type: K.kvm_regs },
  { name: 'xsave',     get: K.KVM_GET_XSAVE,       set: K.KVM_SET_XSAVE,       type: K.kvm_xsave },
  { name: 'xcrs',      get: K.KVM_GET_XCRS,        set: K.KVM_SET_XCRS,        type: K.kvm_xcrs },
  { name: 'debugregs', get: K.KVM_GET_DEBUGREGS,   set: K.KVM_SET_DEBUGREGS,   type: K.kvm_debugregs },
  { name: 'lapic',     get: K.KVM_GET_LAPIC,       set: K.KVM_SET_LAPIC,       type: K.kvm_lapic_state, chips: true },
  { name: 'mp_state',  get: K.KVM_GET_MP_STATE,    set: K.KVM_SET_MP_STATE,    type: K.kvm_mp_state },
  { name: 'events',    get: K.KVM_GET_VCPU_EVENTS, set: K.KVM_SET_VCPU_EVENTS, type: K.kvm_vcpu_events },
];
const VM: readonly Pair[] = [
  ...[0, 1, 2].map((chip) => ({ name: `irqchip${chip}`, get: K.KVM_GET_IRQCHIP, set: K.KVM_SET_IRQCHIP, type: K.kvm_irqchip, chips: true })),
  { name: 'pit2',  get: K.KVM_GET_PIT2,  set: K.KVM_SET_PIT2,  type: K.kvm_pit_state2, chips: true },
  { name: 'clock', get: K.KVM_GET_CLOCK, set: K.KVM_SET_CLOCK, type: K.kvm_clock_data },
];
/** Asynchronous page faults come through the local APIC; without one not even 0 is accepted. */
const NEED_LAPIC = new Set([0x4b56_4d06, 0x4b56_4d07]);
/** TSC, TSC_DEADLINE, Hyper-V's reference time: what a clock gives. */
const CLOCKS = new Set([0x10, 0x6e0, 0x4000_0020]);
const MAX_MSRS = 200;

export interface State { readonly blobs: Map<string, Uint8Array>; readonly msrs: Map<number, bigint>; readonly memory: readonly Uint8Array[] }
export interface Parts { readonly vm: number; readonly vcpu: number; readonly sys: number; readonly memories: readonly number[]; readonly memorySize: number; readonly chips: boolean }

function* ask(fd: number, nr: number, at: number, name: string): Sys<number> {
  const r = yield* rawIoctl(fd, nr, at);
  if (r < 0) throw new Error(`${name}: errno ${-r}`);
  return r;
}
const imageOf = (v: Located): Uint8Array => loadBytes(addressOf(v), sizeof(v)).slice();

function* msrIndices(sys: number): Sys<number[]> {
  const at = yield* malloc(4 + 4 * MAX_MSRS);
  storeBytes(at, Uint8Array.of(MAX_MSRS, 0, 0, 0));
  yield* ask(sys, K.KVM_GET_MSR_INDEX_LIST.nr, at, 'KVM_GET_MSR_INDEX_LIST');
  const words = new Uint32Array(loadBytes(at, 4 + 4 * MAX_MSRS).slice().buffer);
  return [...words.subarray(1, 1 + words[0]!)];
}
/** KVM_GET_MSRS, or KVM_SET_MSRS with values: as many as KVM takes at once, all of them. */
function* msrs(vcpu: number, nr: number, values: ReadonlyMap<number, bigint>): Sys<Map<number, bigint>> {
  const image = new BigUint64Array(1 + 2 * values.size);
  image[0] = BigInt(values.size);
  [...values].forEach(([index, value], i) => { image[1 + 2 * i] = BigInt(index); image[2 + 2 * i] = value; });
  const at = yield* malloc(image.byteLength);
  storeBytes(at, new Uint8Array(image.buffer));
  const done = yield* ask(vcpu, nr, at, 'MSRs');
  if (done !== values.size) throw new Error(`MSR ${[...values.keys()][done]!.toString(16)} is refused`);
  const back = new BigUint64Array(loadBytes(at, image.byteLength).slice().buffer);
  return new Map([...values.keys()].map((index, i) => [index, back[2 + 2 * i]!]));
}

function* get(fd: number, p: Pair, chip = 0): Sys<Uint8Array> {
  const v = yield* make(p.type);
  if (p.type === K.kvm_irqchip) storeBytes(addressOf(v), Uint8Array.of(chip));
  yield* ask(fd, p.get.nr, addressOf(v), p.name);
  return imageOf(v);
}

export function* save(m: Parts): Sys<State> {
  const blobs = new Map<string, Uint8Array>();
  const cpuid = yield* malloc(8 + 40 * 256);
  storeBytes(cpuid, Uint8Array.of(0, 1));
  yield* ask(m.vcpu, K.KVM_GET_CPUID2.nr, cpuid, 'cpuid');
  blobs.set('cpuid', loadBytes(cpuid, 8 + 40 * 256).slice());
  for (const p of VCPU) if (m.chips || p.chips !== true) blobs.set(p.name, yield* get(m.vcpu, p));
  for (const [i, p] of VM.entries()) if (m.chips || p.chips !== true) blobs.set(p.name, yield* get(m.vm, p, i));
  const indices = yield* msrIndices(m.sys);
  const values = yield* msrs(m.vcpu, K.KVM_GET_MSRS.nr, new Map(indices.map((index) => [index, 0n])));
  return { blobs, msrs: values, memory: m.memories.map((at) => loadBytes(at, m.memorySize).slice()) };
}

export function* restore(m: Parts, s: State): Sys {
  const put = function* put(fd: number, p: Pair): Sys {
    const v = yield* make(p.type);
    storeBytes(addressOf(v), s.blobs.get(p.name)!);
    yield* ask(fd, p.set.nr, addressOf(v), p.name);
  };
  for (const [i, at] of m.memories.entries()) storeBytes(at, s.memory[i]!);
  for (const p of VM) if (m.chips || p.chips !== true) yield* put(m.vm, p);
  const cpuid = yield* malloc(8 + 40 * 256);
  storeBytes(cpuid, s.blobs.get('cpuid')!);
  yield* ask(m.vcpu, K.KVM_SET_CPUID2.nr, cpuid, 'cpuid');
  for (const p of VCPU) {
    if (!m.chips && p.chips === true) continue;
    // The deadline of the local APIC's timer is an MSR; it counts once the timer is in its mode.
    if (p.name === 'mp_state') yield* msrs(m.vcpu, K.KVM_SET_MSRS.nr, m.chips ? s.msrs : new Map([...s.msrs].filter(([index]) => !NEED_LAPIC.has(index))));
    yield* put(m.vcpu, p);
  }
}

/** What must be the same in a VM that went on as itself and in one that went on as another: all but what a clock gives. */
export function comparable(s: State): [string, Uint8Array | bigint][] {
  const ofTime = new Set(['clock']);
  return [
    ...[...s.blobs].filter(([name]) => !ofTime.has(name)),
    ...[...s.msrs].filter(([index]) => !CLOCKS.has(index)).map(([index, value]) => [`msr ${index.toString(16)}`, value] as [string, bigint]),
    ...s.memory.map((bytes, i) => [`memory ${i}`, bytes] as [string, Uint8Array]),
  ];
}
