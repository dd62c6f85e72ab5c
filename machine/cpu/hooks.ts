/**
 * What the instructions of a processor ask of VMX. machine/vmx implements it; the core calls it only in VMX non-root
 * operation (cpu.inGuest). VMX instructions exit from there; outside of it they are #UD, for root operation is entered
 * by the kernel's call and not by machine code.
 *
 * An intercept that makes the guest exit notes reason and qualification; VM_EXIT, thrown or returned, unwinds the
 * instruction exactly as a fault does: the engine puts RIP back to its start. Whoever runs the engine then completes
 * the exit (saves the guest, loads the host). So a hook must be asked before the instruction changes anything, and the
 * exit is always completed between two instructions.
 */
import type { Fault } from './exceptions.ts';
import type { Insn } from './opcode-row.ts';
import { walk } from './paging.ts';
import { type CpuState, STATE } from './state.ts';

/** Thrown through an instruction that makes the guest exit. */
export class VmExit { readonly reason = 'VM exit'; }
export const VM_EXIT = new VmExit();
/** No host-physical address: translate() returns it in place of throwing VM_EXIT while cpu.returnsExits. */
export const EXITED = -1;

/** What is being delivered: the type field of the interruption information (SDM table 25-16). */
export const INTR_TYPE_EXT_INTR = 0, INTR_TYPE_NMI_INTR = 2, INTR_TYPE_HARD_EXCEPTION = 3, INTR_TYPE_SOFT_INTR = 4;
export const INTR_TYPE_PRIV_SW_EXCEPTION = 5, INTR_TYPE_SOFT_EXCEPTION = 6;
export type EventType = 0 | 2 | 3 | 4 | 5 | 6;

/** Instructions that a region does by itself while their bits are set (engine_state.quick). */
export const QUICK_RDTSC = 1, QUICK_RDTSCP = 2, QUICK_PAUSE = 4, QUICK_ALL = 7;

export interface VmxHooks {
  /** The capability MSRs, 0x480 to 0x491; undefined where there is none. */
  capability(msr: number): bigint | undefined;

  // ---- translation
  /**
   * The second dimension: host-physical address of a guest-physical one. `access` is PFERR_WRITE, PFERR_FETCH or 0;
   * `linear` the address being translated, `walk` true for an access to a paging-structure entry of it.
   * Throws VM_EXIT for a violation or misconfiguration, or returns EXITED.
   */
  translate(cpu: CpuState, gpa: number, access: number, linear: number, walk: boolean): number;
  /** The same without side effects; -1 when it is not mapped. */
  peek(cpu: CpuState, gpa: number): number;

  // ---- events, asked between instructions: true means that an exit has been noted and is to be completed
  /** An exception of the guest: by the exception bitmap, for page faults by mask and match too. */
  exceptionExits(cpu: CpuState, fault: Fault, type: EventType): boolean;
  /** Around a delivery, so that an exit in its midst reports what was being delivered (IDT-vectoring information). */
  deliveryBegins(cpu: CpuState, vector: number, type: EventType, error: number, length: number): void;
  deliveryEnds(cpu: CpuState): void;
  tripleFault(cpu: CpuState): void;
  externalInterruptExits(cpu: CpuState): boolean;
  nmiExits(cpu: CpuState): boolean;

  // ---- instructions. Where the VMCS asks for an exit they answer true, or undefined for want of a value; the instruction
  // then returns VM_EXIT (V8 never optimises a function that always leaves by a throw). cpu.rip is past the instruction already.
  /** QUICK_ bits of the instructions that do not exit now, nor fault for what the VMCS says. */
  quick(): number;
  /** By exit reason: HLT, CPUID, RDTSC, INVLPG, PAUSE, XSETBV, …; VMX instructions always exit. */
  instruction(cpu: CpuState, insn: Insn, reason: number, qualification: bigint): boolean;
  /** Exits whose instruction has a memory operand and reports it in the instruction-information field (SDM 28.2.5): SGDT and kin, INVPCID, VMREAD … */
  memoryInstruction(cpu: CpuState, insn: Insn, reason: number): boolean;
  io(cpu: CpuState, insn: Insn, port: number, size: 1 | 2 | 4, out: boolean): boolean;
  /** What MOV from CR0, CR3, CR4 and CR8 reads. */
  readCr(cpu: CpuState, insn: Insn, cr: number): bigint | undefined;
  /** What a MOV to CRn is to load: guest-owned bits from value, host-owned ones as they are. */
  writeCr(cpu: CpuState, insn: Insn, cr: number, value: bigint): bigint | undefined;
  /** The bits to clear: CR0.TS, or none if that is the host's. */
  clts(cpu: CpuState, insn: Insn): bigint | undefined;
  /** What SMSW stores: CR0 as the guest sees it. */
  smsw(cpu: CpuState): bigint;
  /** The low four bits to load. */
  lmsw(cpu: CpuState, insn: Insn, value: number): number | undefined;
  movDr(cpu: CpuState, insn: Insn, dr: number, write: boolean): boolean;
  readMsr(cpu: CpuState, insn: Insn, msr: number): boolean;
  writeMsr(cpu: CpuState, insn: Insn, msr: number): boolean;
  /** `source`: 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT. Task switches always exit. */
  taskSwitch(cpu: CpuState, selector: number, source: number, length: number): never;
}

/** What the engine keeps for a processor and system instructions must get at. */
export interface EngineHooks {
  /** All of RFLAGS, the arithmetic flags among them. */
  readFlags(cpu: CpuState): number;
  /** Stores all of them; the caller masks, and calls updateMode() when VM or AC may have changed. */
  writeFlags(cpu: CpuState, flags: number): void;
  /** walk() for a data access, through the TLB. */
  translate(cpu: CpuState, linear: number, access: number): number;
  /** The instruction at RIP; undefined where it cannot be fetched. */
  instruction(cpu: CpuState): Insn | undefined;
  /** Drops translations of the current address space, or with `global` those of all PCIDs and global ones too. */
  flushTlb(cpu: CpuState, global: boolean): void;
  /** Drops those of one PCID but global ones. */
  flushPcid(cpu: CpuState, pcid: number): void;
  flushPage(cpu: CpuState, linear: number): void;
  /** updateMode() ran: privilege level, mode bits or the kind of paging may differ. */
  modeChanged(cpu: CpuState): void;
  /** Leaves run() before the next instruction: `pending` or the budget was touched from within. */
  stopSoon(cpu: CpuState): void;
  /** RAM was written past the TLB: code translated from these bytes is void. */
  codeWritten(cpu: CpuState, address: number, size: number): void;
}

/** A processor without an engine: flags lie in the register file as they are, and nothing is cached. */
export const noEngine: EngineHooks = {
  readFlags: (cpu) => cpu.u32[STATE.rflags >>> 2]!,
  writeFlags: (cpu, flags) => { cpu.u32[STATE.rflags >>> 2] = flags; },
  translate: walk,
  instruction: () => undefined,
  flushTlb: () => {},
  flushPcid: () => {},
  flushPage: () => {},
  modeChanged: () => {},
  stopSoon: () => {},
  codeWritten: () => {},
};
