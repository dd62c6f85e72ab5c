/**
 * The register file of one processor, in the wasm memory, so that emitted code, exec functions, VM entry and exit,
 * KVM_GET_REGS and tools that look in share one declaration. SDM Vol. 1 ch. 3 and 8, Vol. 3 ch. 2.
 *
 * `cpu_state` is what silicon holds plus what the engine derives from it (mode, pending, budget); `CpuState` gives
 * exec functions typed arrays over it and the processor's links to the outside (its bus and its door). The one hard
 * part: `mode` and `pending` are derived, so whoever writes a segment register, CR0, CR4, EFER or RFLAGS by hand calls
 * updateMode() afterwards; the setters in segments.ts and control-registers.ts do.
 */
import { type Costs, costs } from '../costs.ts';
import { type EngineHooks, type VmxHooks, noEngine } from './hooks.ts';
import { type Mem, type Of, array, flat, struct, u16, u32, u64, u8, s32, windowOf } from '../../abi/struct.ts';
import { Monitor } from './monitor.ts';
import { engine_state } from '../engine/engine-state.ts';
import { SimdArea } from './simd-call.ts';

export const RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7;
export const R8 = 8, R9 = 9, R10 = 10, R11 = 11, R12 = 12, R13 = 13, R14 = 14, R15 = 15;
/** Segment registers in the order of the ModRM reg field; the VMCS uses the same. */
export const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5, LDTR = 6, TR = 7;

// ---------------------------------------------------------------- layouts

export const cpu_segment = struct('cpu_segment', {
  base: u64,
  limit: u32,         // in bytes, granularity applied
  access: u32,        // the VMCS format: type S DPL P, 4 reserved, AVL L D/B G, unusable (SDM 25.4.1)
  selector: u32,
  reserved: u32,
});
export type cpu_segment = Of<typeof cpu_segment>;
export const SEGMENT_SIZE = cpu_segment.size;

export const SEG_TYPE = 0xf, SEG_S = 1 << 4, SEG_DPL_SHIFT = 5, SEG_P = 1 << 7;
export const SEG_L = 1 << 13, SEG_DB = 1 << 14, SEG_G = 1 << 15, SEG_UNUSABLE = 1 << 16;
/** Bits of the type of code and data segments (S = 1). */
export const TYPE_ACCESSED = 1, TYPE_WRITABLE = 2, TYPE_READABLE = 2, TYPE_EXPAND_DOWN = 4, TYPE_CONFORMING = 4, TYPE_CODE = 8;

/** Exactly the 64-bit FXSAVE image (SDM Vol. 1, 10.5.1): st[i] is ST(i), ftw the abridged tag word by physical register. */
export const fpu_state = struct('fpu_state', {
  fcw: u16, fsw: u16, ftw: u8, reserved0: u8, fop: u16, fip: u64, fdp: u64, mxcsr: u32, mxcsr_mask: u32,
  st: array(u64, 16), xmm: array(u64, 32), reserved1: array(u64, 12),
}, { align: 16 });
export type fpu_state = Of<typeof fpu_state>;

export const cpu_state = struct('cpu_state', {
  gpr: array(u64, 16),
  rip: u64,
  rflags: u32,        // all but the arithmetic flags, which engine.flags_* hold; flags.ts of the engine joins them
  mode: u32,          // MODE_*: what decoding and translation depend on; translated code is keyed by it
  // What makes run() leave, and the counters. The engine's inner loop touches this line of the struct most.
  pending: u32,       // EVENT_*: nonzero = look before the next instruction
  budget: s32,        // cycles left in this run; instructions and charges count it down
  retired: u64,       // instructions and REP iterations since reset, exact
  next_rip: u64,      // of the instruction in progress: where it continues
  shadow: u32,        // SHADOW_*: interrupts blocked for one instruction by STI or MOV SS
  activity: u32,      // ACTIVITY_*
  nmi_blocked: u32,
  in_guest: u32,      // VMX non-root operation
  engine: engine_state,
  seg: array(cpu_segment, 8),
  gdtr_base: u64, idtr_base: u64, gdtr_limit: u32, idtr_limit: u32,
  cr0: u64, cr2: u64, cr3: u64, cr4: u64, cr8: u64, xcr0: u64, efer: u64,
  dr: array(u64, 8),  // 4 and 5 unused
  pdpte: array(u64, 4), // PAE paging's four, loaded with CR3
  star: u64, lstar: u64, cstar: u64, fmask: u64, kernel_gs_base: u64,
  sysenter_cs: u64, sysenter_esp: u64, sysenter_eip: u64,
  tsc_aux: u64, tsc_adjust: u64, tsc_offset: u64, pat: u64, apic_base: u64, misc_enable: u64, spec_ctrl: u64,
  debugctl: u64, feature_control: u64, xss: u64,
  ept_pointer: u64,   // 0: guest-physical is host-physical
  vpid: u32,
  pkru: u32,
  fpu: fpu_state,
}, { align: 64 });
export type cpu_state = Of<typeof cpu_state>;
/** Byte offsets of every member, dotted for nested ones, from the start of the state: what emitted code adds to its base. */
export const STATE = cpu_state.offset;

// ---------------------------------------------------------------- bits

export const X86_EFLAGS_CF = 1, X86_EFLAGS_FIXED = 2, X86_EFLAGS_PF = 4, X86_EFLAGS_AF = 0x10, X86_EFLAGS_ZF = 0x40, X86_EFLAGS_SF = 0x80;
export const X86_EFLAGS_TF = 0x100, X86_EFLAGS_IF = 0x200, X86_EFLAGS_DF = 0x400, X86_EFLAGS_OF = 0x800, X86_EFLAGS_IOPL = 0x3000, X86_EFLAGS_NT = 0x4000;
export const X86_EFLAGS_RF = 0x10000, X86_EFLAGS_VM = 0x20000, X86_EFLAGS_AC = 0x40000, X86_EFLAGS_VIF = 0x80000, X86_EFLAGS_VIP = 0x100000, X86_EFLAGS_ID = 0x200000;
/** Flags that whoever sets them must end the run for: they are looked at before the next instruction. */
export const STOPPING_FLAGS = X86_EFLAGS_IF | X86_EFLAGS_TF | X86_EFLAGS_RF;
/** The flags arithmetic computes. */
export const X86_EFLAGS_ARITHMETIC = 0x8d5;

export const X86_CR0_PE = 1n << 0n, X86_CR0_MP = 1n << 1n, X86_CR0_EM = 1n << 2n, X86_CR0_TS = 1n << 3n, X86_CR0_ET = 1n << 4n, X86_CR0_NE = 1n << 5n;
export const X86_CR0_WP = 1n << 16n, X86_CR0_AM = 1n << 18n, X86_CR0_NW = 1n << 29n, X86_CR0_CD = 1n << 30n, X86_CR0_PG = 1n << 31n;
export const X86_CR4_VME = 1n << 0n, X86_CR4_PVI = 1n << 1n, X86_CR4_TSD = 1n << 2n, X86_CR4_DE = 1n << 3n, X86_CR4_PSE = 1n << 4n, X86_CR4_PAE = 1n << 5n;
export const X86_CR4_MCE = 1n << 6n, X86_CR4_PGE = 1n << 7n, X86_CR4_PCE = 1n << 8n, X86_CR4_OSFXSR = 1n << 9n, X86_CR4_OSXMMEXCPT = 1n << 10n, X86_CR4_UMIP = 1n << 11n;
export const X86_CR4_VMXE = 1n << 13n, X86_CR4_FSGSBASE = 1n << 16n, X86_CR4_PCIDE = 1n << 17n, X86_CR4_OSXSAVE = 1n << 18n, X86_CR4_SMEP = 1n << 20n, X86_CR4_SMAP = 1n << 21n, X86_CR4_PKE = 1n << 22n;
export const EFER_SCE = 1n << 0n, EFER_LME = 1n << 8n, EFER_LMA = 1n << 10n, EFER_NX = 1n << 11n;

/** Default operand and address size of code: the low bits of the mode word; 0 is 16 bits. */
export const MODE_32 = 1, MODE_64 = 2, MODE_SIZE = 3;
export const MODE_STACK32 = 1 << 2;      // SS.B
export const MODE_FLAT = 1 << 3;         // ES, SS, DS: present, writable, base 0, limit 4 GiB: no segment check is needed. CS: base 0, limit 4 GiB
export const MODE_USER = 1 << 4;         // CPL 3
export const MODE_PROTECTED = 1 << 5;    // CR0.PE, and not virtual-8086
export const MODE_VM86 = 1 << 6;
export const MODE_LONG = 1 << 7;         // EFER.LMA: 64-bit or compatibility mode
export const MODE_SSE = 1 << 8;          // SSE may run: CR4.OSFXSR, not CR0.EM, not CR0.TS
export const MODE_FPU = 1 << 9;          // x87 may run: not CR0.EM, not CR0.TS
export const MODE_ALIGN = 1 << 10;       // alignment is checked: CPL 3, CR0.AM, RFLAGS.AC

/** Reasons to look before the next instruction: bits of `pending`, by falling priority where SDM 6.9 orders them. */
export const EVENT_STOP = 1 << 0;        // whoever holds the engine asked it to come back
export const EVENT_TRAP = 1 << 2;        // RFLAGS.TF, or a debug trap: #DB after the next instruction
export const EVENT_SHADOW = 1 << 3;      // one instruction runs before interrupts are looked at
export const EVENT_MTF = 1 << 4;         // VMX monitor trap flag
export const EVENT_NMI = 1 << 5;
export const EVENT_NMI_WINDOW = 1 << 6;
export const EVENT_INTERRUPT = 1 << 7;   // the local APIC has a vector to deliver; RFLAGS.IF is not in it
export const EVENT_INTERRUPT_WINDOW = 1 << 8;
export const EVENT_STEP = 1 << 10;       // a single-step trap that SYSCALL or SYSRET leaves, before the next instruction
export const EVENT_SMI = 1 << 9;         // taken before all others, outside SMM

export const SHADOW_STI = 1, SHADOW_MOV_SS = 2;
export const ACTIVITY_ACTIVE = 0, ACTIVITY_HLT = 1, ACTIVITY_SHUTDOWN = 2, ACTIVITY_WAIT_SIPI = 3;
/** In MWAIT: no activity state of VMX, where it counts as active. */
export const ACTIVITY_MWAIT = 4;

// ---------------------------------------------------------------- the processor as exec functions see it

/** What a processor's pins and the chip around its core offer. */
export interface CpuBus {
  /** The time stamp counter: the cycle this instruction starts at, or what another processor has read already. */
  readTsc(): number;
  portIn(cpu: CpuState, port: number, size: 1 | 2 | 4): number;
  portOut(cpu: CpuState, port: number, size: 1 | 2 | 4, value: number): void;
  /** Physical addresses outside RAM. */
  mmioRead(cpu: CpuState, address: number, size: number): bigint;
  mmioWrite(cpu: CpuState, address: number, size: number, value: bigint): void;
  /** 64 random bits of the machine's seeded generator. */
  random(): bigint;
  /** INTA: the vector of the highest pending interrupt, -1 none any more. */
  acknowledge(cpu: CpuState): number;
  /** MSRs of the local APIC: TSC deadline, x2APIC. undefined: not there (#GP). */
  readApicMsr(cpu: CpuState, msr: number): bigint | undefined;
  writeApicMsr(cpu: CpuState, msr: number, value: bigint): boolean;
  cr8(cpu: CpuState): number;
  setCr8(cpu: CpuState, value: number): void;
  /** PAUSE: the rest of this processor's turn is given away. */
  pause(): void;
  /** The present cycle if no other processor waits for this one or has read a later time: then RDTSC and PAUSE concern nobody else. Else -1. */
  timeAlone(): number;
}

export class CpuState {
  readonly id: number;
  readonly mem: Mem;
  /** Host offset of the state; all STATE offsets count from it. */
  readonly base: number;
  /** Host offset of physical address 0, and how many bytes of RAM there are. */
  readonly ram: number;
  readonly ramSize: number;
  /** The DSL's view: every member by its name. */
  readonly state: cpu_state;
  readonly gpr: BigUint64Array;
  /** Two words a register, low word first. */
  readonly gpr32: Uint32Array;
  /** The FXSAVE image, bytewise: one copy swaps the FPU. */
  readonly fpu: Uint8Array;
  /** Operands and results of SIMD instructions that TypeScript computes. */
  readonly simd: SimdArea;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  bus!: CpuBus;
  /** With SMAP and RFLAGS.AC set, ring 0 has translated user pages: those translations end with AC. */
  smapOpen = false;
  /** Whoever asks for a translation looks whether the guest exited on the way: a throw would cost as much as the rest of the exit. */
  returnsExits = false;
  /** Breakpoints hit by the instruction in progress: the low bits of DR6 for the trap that follows it. */
  debugHits = 0;
  /** The instruction in progress was a software interrupt, which takes no single-step trap: its handler starts without TF. */
  steppedInto = false;
  /** System management mode: where its memory is, and whether it is on. */
  readonly smm = { base: 0x3_0000, inside: false };
  /** What MONITOR has armed. */
  readonly monitor = new Monitor();
  /** The instruction in progress, or the one that has just failed, is an IRET that let NMIs in. */
  nmiUnblocked = false;
  /** What CPUID tells of the machine around the core. */
  tscKhz = 1_000_000;
  /** What instructions are charged beyond their cycle. */
  costs: Costs = costs;
  processors = 1;
  /** MSRs that are storage and nothing else (MTRRs, machine check banks), by number; absent ones hold their reset value. */
  readonly msrs = new Map<number, bigint>();
  /** What VMX adds to this processor, asked only while inGuest, and by the VMX instructions. */
  vmx!: VmxHooks;
  /** What the engine keeps beside the registers: flags, TLB, translated code. */
  engine: EngineHooks = noEngine;
  /** Where exceptions and interrupts of this run go; guests (inGuest) ask vmx first whatever it says. */
  door: 'architectural' | 'kernel' = 'architectural';

  constructor(mem: Mem, base: number, id = 0, ram = 0, ramSize = 0) {
    this.id = id;
    this.mem = mem;
    this.base = base;
    this.ram = ram;
    this.ramSize = ramSize;
    this.state = cpu_state.at(flat(mem), base);
    this.gpr = mem.u64.subarray((base + STATE.gpr) >>> 3, ((base + STATE.gpr) >>> 3) + 16);
    this.gpr32 = mem.u32.subarray((base + STATE.gpr) >>> 2, ((base + STATE.gpr) >>> 2) + 32);
    this.fpu = windowOf(this.state.fpu);
    this.simd = new SimdArea(mem.u8.buffer, base + STATE['engine.simd']!);
    this.u32 = mem.u32.subarray(base >>> 2, (base + cpu_state.size) >>> 2);
    this.u64 = mem.u64.subarray(base >>> 3, (base + cpu_state.size) >>> 3);
  }

  get rip(): bigint { return this.u64[STATE.rip >>> 3]!; }
  set rip(value: bigint) { this.u64[STATE.rip >>> 3] = value; }
  get mode(): number { return this.u32[STATE.mode >>> 2]!; }
  get pending(): number { return this.u32[STATE.pending >>> 2]!; }
  set pending(value: number) { this.u32[STATE.pending >>> 2] = value; }
  get inGuest(): boolean { return this.u32[STATE.in_guest >>> 2] !== 0; }

  selector(seg: number): number { return this.u32[(STATE.seg + seg * SEGMENT_SIZE + 16) >>> 2]!; }
  segBase(seg: number): bigint { return this.u64[(STATE.seg + seg * SEGMENT_SIZE) >>> 3]!; }
  segLimit(seg: number): number { return this.u32[(STATE.seg + seg * SEGMENT_SIZE + 8) >>> 2]!; }
  segAccess(seg: number): number { return this.u32[(STATE.seg + seg * SEGMENT_SIZE + 12) >>> 2]!; }
  /** Loads a segment register's hidden part and selector as they are: no check. Call updateMode() when done. */
  setSegment(seg: number, selector: number, base: bigint, limit: number, access: number): void {
    const at = STATE.seg + seg * SEGMENT_SIZE;
    this.u64[at >>> 3] = base;
    this.u32[(at + 8) >>> 2] = limit;
    this.u32[(at + 12) >>> 2] = access;
    this.u32[(at + 16) >>> 2] = selector;
  }

  /** The current privilege level: SS.DPL, as for VMX. */
  get cpl(): number { return (this.segAccess(SS) >>> SEG_DPL_SHIFT) & 3; }
  get realMode(): boolean { return (this.u32[STATE.cr0 >>> 2]! & 1) === 0; }
  get longMode(): boolean { return (this.u32[STATE.efer >>> 2]! & 0x400) !== 0; }
}

/** Derives the mode word from segments, CR0, CR4, EFER and RFLAGS. Cheap enough to call after any write of those. */
export function updateMode(cpu: CpuState): void {
  const w = cpu.u32;
  const cr0 = w[STATE.cr0 >>> 2]!;
  const cs = cpu.segAccess(CS);
  const ss = cpu.segAccess(SS);
  const rflags = w[STATE.rflags >>> 2]!;
  let mode = 0;
  const long = (w[STATE.efer >>> 2]! & 0x400) !== 0;
  const code64 = long && (cs & SEG_L) !== 0;
  if (long) mode |= MODE_LONG;
  mode |= code64 ? MODE_64 : cs & SEG_DB ? MODE_32 : 0;
  if (ss & SEG_DB) mode |= MODE_STACK32;
  if (rflags & X86_EFLAGS_VM) mode |= MODE_VM86;
  else if (cr0 & 1) mode |= MODE_PROTECTED;
  if (((ss >>> SEG_DPL_SHIFT) & 3) === 3) {
    mode |= MODE_USER;
    if (cr0 & 0x40000 && rflags & X86_EFLAGS_AC) mode |= MODE_ALIGN;
  }
  if (code64 || (isFlat(cpu, CS) && isFlat(cpu, SS) && isFlat(cpu, DS) && isFlat(cpu, ES))) mode |= MODE_FLAT;
  if ((cr0 & 0xc) === 0) {
    mode |= MODE_FPU;
    if (w[STATE.cr4 >>> 2]! & 0x200) mode |= MODE_SSE;
  }
  if (cpu.smapOpen && !(rflags & X86_EFLAGS_AC)) {
    cpu.smapOpen = false;
    cpu.engine.flushTlb(cpu, false);
  }
  w[STATE.mode >>> 2] = mode;
  cpu.engine.modeChanged(cpu);
}

/** Base 0, limit 4 GiB, present, usable, and as permissive as its kind gets: readable code, expand-up writable data. */
function isFlat(cpu: CpuState, seg: number): boolean {
  const access = cpu.segAccess(seg);
  const type = access & SEG_TYPE;
  const kind = seg === CS ? (type & (TYPE_CODE | TYPE_READABLE)) === (TYPE_CODE | TYPE_READABLE)
    : (type & (TYPE_CODE | TYPE_EXPAND_DOWN | TYPE_WRITABLE)) === TYPE_WRITABLE;
  return kind && (access & (SEG_P | SEG_UNUSABLE)) === SEG_P && cpu.segLimit(seg) === 0xffffffff && cpu.segBase(seg) === 0n;
}
