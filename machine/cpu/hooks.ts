/**
 * What the instructions of a processor ask of VMX. machine/vmx implements it; the core calls it only in VMX non-root
 * operation (cpu.inGuest). VMX instructions exit from there; outside of it they are #UD, for root operation is entered by
 * the kernel's call and not by machine code.
 *
 * An intercept that makes the guest exit records the exit, restores the host's state and throws VM_EXIT, which
 * unwinds the instruction like a fault does; so it must be asked before the instruction changes anything.
 */
import type { Fault } from './exceptions.ts';
import type { CpuState } from './state.ts';

/** Thrown through an instruction that made the guest exit. The exit is complete when it is thrown. */
export class VmExit { readonly reason = 'VM exit'; }
export const VM_EXIT = new VmExit();

/** What is being delivered: the type field of the interruption information (SDM table 25-16). */
export const INTR_TYPE_EXT_INTR = 0, INTR_TYPE_NMI_INTR = 2, INTR_TYPE_HARD_EXCEPTION = 3, INTR_TYPE_SOFT_INTR = 4;
export const INTR_TYPE_PRIV_SW_EXCEPTION = 5, INTR_TYPE_SOFT_EXCEPTION = 6;
export type EventType = 0 | 2 | 3 | 4 | 5 | 6;

export interface VmxHooks {
  // ---- translation
  /**
   * The second dimension: host-physical address of a guest-physical one. `access` is PFERR_WRITE, PFERR_FETCH or 0;
   * `linear` the address being translated, `walk` true for an access to a paging-structure entry of it.
   * Throws VM_EXIT for a violation or misconfiguration.
   */
  translate(cpu: CpuState, gpa: number, access: number, linear: number, walk: boolean): number;
  /** The same without side effects; -1 when it is not mapped. */
  peek(cpu: CpuState, gpa: number): number;

  // ---- events. These throw nothing: true means the guest has exited.
  exceptionExits(cpu: CpuState, fault: Fault, type: EventType): boolean;
  /** Called around a delivery, so that an exit in its midst records what was being delivered (IDT-vectoring information). */
  deliveryBegins(cpu: CpuState, vector: number, type: EventType, error: number, length: number): void;
  deliveryEnds(cpu: CpuState): void;
  tripleFault(cpu: CpuState): void;

  // ---- instructions: throw VM_EXIT where the VMCS asks for it, else return. The length of the instruction is
  // cpu.state.next_rip - rip; a memory operand's displacement and the instruction-information field are passed in.
  /** VMX instructions (never return), HLT, INVD, WBINVD, RDPMC, RDTSC, RDTSCP, MWAIT, MONITOR, PAUSE, CPUID, XSETBV, RDRAND, RDSEED, INVLPG, INVPCID …, by exit reason. */
  instruction(cpu: CpuState, reason: number, qualification: bigint, information: number): void;
  /** GDT/IDT (46) or LDT/TR (47) accesses. */
  descriptorTable(cpu: CpuState, reason: number, displacement: bigint, information: number): void;
  io(cpu: CpuState, port: number, size: 1 | 2 | 4, out: boolean, string: boolean, rep: boolean, immediate: boolean, linear: number, seg: number, addressSize: number): void;
  /** What MOV from CR0/CR4/CR3/CR8 reads; may exit (CR3, CR8). `gpr` is the register operand, for the qualification. */
  readCr(cpu: CpuState, cr: number, gpr: number): bigint;
  /** What is to be loaded for a MOV to CRn: guest-owned bits from value, host-owned kept; may exit. */
  writeCr(cpu: CpuState, cr: number, value: bigint, gpr: number): bigint;
  clts(cpu: CpuState): boolean;     // true: CR0.TS may really be cleared
  lmsw(cpu: CpuState, value: number, linear: number): number;
  movDr(cpu: CpuState, dr: number, write: boolean, gpr: number): void;
  readMsr(cpu: CpuState, msr: number): void;
  writeMsr(cpu: CpuState, msr: number): void;
  taskSwitch(cpu: CpuState, selector: number, source: number): void;
  /** IRET ended NMI blocking; with virtual NMIs it is the virtual blocking. */
  nmiUnblocked(cpu: CpuState): void;
}
