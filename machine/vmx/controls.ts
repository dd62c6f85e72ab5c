/**
 * The control bits of a VMCS (SDM 25.6 to 25.8) that this processor has, by Linux's names (asm/vmx.h), and what its
 * capability MSRs say of them. A capability is a pair: bits that must be 1, bits that may be 1 (SDM A.3 to A.5).
 */
import { CR4_BITS } from '../cpu/control-registers.ts';

export const PIN_BASED_EXT_INTR_MASK = 1 << 0;
export const PIN_BASED_NMI_EXITING = 1 << 3;
export const PIN_BASED_VIRTUAL_NMIS = 1 << 5;
export const PIN_BASED_VMX_PREEMPTION_TIMER = 1 << 6;

export const CPU_BASED_INTR_WINDOW_EXITING = 1 << 2;
export const CPU_BASED_USE_TSC_OFFSETTING = 1 << 3;
export const CPU_BASED_HLT_EXITING = 1 << 7;
export const CPU_BASED_INVLPG_EXITING = 1 << 9;
export const CPU_BASED_MWAIT_EXITING = 1 << 10;
export const CPU_BASED_RDPMC_EXITING = 1 << 11;
export const CPU_BASED_RDTSC_EXITING = 1 << 12;
export const CPU_BASED_CR3_LOAD_EXITING = 1 << 15;
export const CPU_BASED_CR3_STORE_EXITING = 1 << 16;
export const CPU_BASED_CR8_LOAD_EXITING = 1 << 19;
export const CPU_BASED_CR8_STORE_EXITING = 1 << 20;
export const CPU_BASED_TPR_SHADOW = 1 << 21;
export const CPU_BASED_NMI_WINDOW_EXITING = 1 << 22;
export const CPU_BASED_MOV_DR_EXITING = 1 << 23;
export const CPU_BASED_UNCOND_IO_EXITING = 1 << 24;
export const CPU_BASED_USE_IO_BITMAPS = 1 << 25;
export const CPU_BASED_MONITOR_TRAP_FLAG = 1 << 27;
export const CPU_BASED_USE_MSR_BITMAPS = 1 << 28;
export const CPU_BASED_MONITOR_EXITING = 1 << 29;
export const CPU_BASED_PAUSE_EXITING = 1 << 30;
export const CPU_BASED_ACTIVATE_SECONDARY_CONTROLS = 1 << 31;

export const SECONDARY_EXEC_ENABLE_EPT = 1 << 1;
export const SECONDARY_EXEC_DESC = 1 << 2;
export const SECONDARY_EXEC_ENABLE_RDTSCP = 1 << 3;
export const SECONDARY_EXEC_ENABLE_VPID = 1 << 5;
export const SECONDARY_EXEC_WBINVD_EXITING = 1 << 6;
export const SECONDARY_EXEC_UNRESTRICTED_GUEST = 1 << 7;
export const SECONDARY_EXEC_RDRAND_EXITING = 1 << 11;
export const SECONDARY_EXEC_ENABLE_INVPCID = 1 << 12;
export const SECONDARY_EXEC_RDSEED_EXITING = 1 << 16;

export const VM_EXIT_SAVE_DEBUG_CONTROLS = 1 << 2;
export const VM_EXIT_HOST_ADDR_SPACE_SIZE = 1 << 9;
export const VM_EXIT_ACK_INTR_ON_EXIT = 1 << 15;
export const VM_EXIT_SAVE_IA32_PAT = 1 << 18;
export const VM_EXIT_LOAD_IA32_PAT = 1 << 19;
export const VM_EXIT_SAVE_IA32_EFER = 1 << 20;
export const VM_EXIT_LOAD_IA32_EFER = 1 << 21;
export const VM_EXIT_SAVE_VMX_PREEMPTION_TIMER = 1 << 22;

export const VM_ENTRY_LOAD_DEBUG_CONTROLS = 1 << 2;
export const VM_ENTRY_IA32E_MODE = 1 << 9;
export const VM_ENTRY_LOAD_IA32_PAT = 1 << 14;
export const VM_ENTRY_LOAD_IA32_EFER = 1 << 15;

export interface Capability {
  /** Bits that must be 1. */
  readonly required: number;
  /** Bits that may be 1, the required ones among them. */
  readonly allowed: number;
}

/** `always` are the reserved bits whose default is 1, `may` those of them the TRUE capability MSRs let be 0. */
const capability = (always: number, ...features: number[]): Capability => ({ required: always >>> 0, allowed: features.reduce((all, bit) => all | bit, always) >>> 0 });

export const pinBased = capability(0x16,
  PIN_BASED_EXT_INTR_MASK, PIN_BASED_NMI_EXITING, PIN_BASED_VIRTUAL_NMIS, PIN_BASED_VMX_PREEMPTION_TIMER);

/** Of the default-1 class CR3 load and store exiting may be 0. */
export const cpuBased = capability(0x0400_6172,
  CPU_BASED_INTR_WINDOW_EXITING, CPU_BASED_USE_TSC_OFFSETTING, CPU_BASED_HLT_EXITING, CPU_BASED_INVLPG_EXITING, CPU_BASED_MWAIT_EXITING,
  CPU_BASED_RDPMC_EXITING, CPU_BASED_RDTSC_EXITING, CPU_BASED_CR3_LOAD_EXITING, CPU_BASED_CR3_STORE_EXITING, CPU_BASED_CR8_LOAD_EXITING,
  CPU_BASED_CR8_STORE_EXITING, CPU_BASED_TPR_SHADOW, CPU_BASED_NMI_WINDOW_EXITING, CPU_BASED_MOV_DR_EXITING, CPU_BASED_UNCOND_IO_EXITING,
  CPU_BASED_USE_IO_BITMAPS, CPU_BASED_MONITOR_TRAP_FLAG, CPU_BASED_USE_MSR_BITMAPS, CPU_BASED_MONITOR_EXITING, CPU_BASED_PAUSE_EXITING,
  CPU_BASED_ACTIVATE_SECONDARY_CONTROLS);

export const secondary = capability(0,
  SECONDARY_EXEC_ENABLE_EPT, SECONDARY_EXEC_DESC, SECONDARY_EXEC_ENABLE_RDTSCP, SECONDARY_EXEC_ENABLE_VPID, SECONDARY_EXEC_WBINVD_EXITING,
  SECONDARY_EXEC_UNRESTRICTED_GUEST, SECONDARY_EXEC_RDRAND_EXITING, SECONDARY_EXEC_ENABLE_INVPCID, SECONDARY_EXEC_RDSEED_EXITING);

export const vmExit = capability(0x0003_6dfb,
  VM_EXIT_SAVE_DEBUG_CONTROLS, VM_EXIT_HOST_ADDR_SPACE_SIZE, VM_EXIT_ACK_INTR_ON_EXIT, VM_EXIT_SAVE_IA32_PAT, VM_EXIT_LOAD_IA32_PAT,
  VM_EXIT_SAVE_IA32_EFER, VM_EXIT_LOAD_IA32_EFER, VM_EXIT_SAVE_VMX_PREEMPTION_TIMER);

export const vmEntry = capability(0x11fb,
  VM_ENTRY_LOAD_DEBUG_CONTROLS, VM_ENTRY_IA32E_MODE, VM_ENTRY_LOAD_IA32_PAT, VM_ENTRY_LOAD_IA32_EFER);

export const permits = (c: Capability, value: number): boolean => (value & c.required) >>> 0 === c.required && (value & ~c.allowed) === 0;

/** The value nearest to `wanted` that the processor permits, as a hypervisor adjusts its controls. */
export const adjust = (c: Capability, wanted: number): number => (((wanted & c.allowed) | c.required) >>> 0);

// ---------------------------------------------------------------- capability MSRs

export const VMCS_REVISION_ID = 0x5649_5452;
/** Bits of CR0 and CR4 that must be 1 in VMX operation, and may be. Unrestricted guests may clear PE and PG. */
export const CR0_FIXED0 = 0x8000_0021n;
export const CR0_FIXED0_UNRESTRICTED = 0x20n;
export const CR0_FIXED1 = 0xffff_ffffn;
export const CR4_FIXED0 = 0x2000n;
export const CR4_FIXED1 = CR4_BITS;
/** The preemption timer counts once in 2^5 TSC cycles. */
export const PREEMPTION_TIMER_RATE = 5;
export const CR3_TARGETS = 4;
const ACTIVITY_STATES = 0x7n;
const MSR_LIST_512 = 0n;

export const VMX_EPT_EXECUTE_ONLY_BIT = 1n << 0n;
export const VMX_EPT_PAGE_WALK_4_BIT = 1n << 6n;
export const VMX_EPTP_UC_BIT = 1n << 8n;
export const VMX_EPTP_WB_BIT = 1n << 14n;
export const VMX_EPT_2MB_PAGE_BIT = 1n << 16n;
export const VMX_EPT_1GB_PAGE_BIT = 1n << 17n;
export const VMX_EPT_INVEPT_BIT = 1n << 20n;
export const VMX_EPT_AD_BIT = 1n << 21n;
export const VMX_EPT_EXTENT_CONTEXT_BIT = 1n << 25n;
export const VMX_EPT_EXTENT_GLOBAL_BIT = 1n << 26n;
export const VMX_VPID_INVVPID_BIT = 1n << 32n;
export const VMX_VPID_EXTENT_INDIVIDUAL_ADDR_BIT = 1n << 40n;
export const VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT = 1n << 41n;
export const VMX_VPID_EXTENT_GLOBAL_CONTEXT_BIT = 1n << 42n;
export const VMX_VPID_EXTENT_SINGLE_NON_GLOBAL_BIT = 1n << 43n;

const msr = (c: Capability): bigint => (BigInt(c.allowed) << 32n) | BigInt(c.required);
/** The default-1 class of the processor-based controls has CR3 load and store exiting, as first processors had it. */
const withDefaultOnes = (c: Capability, ones: number): bigint => msr({ required: (c.required | ones) >>> 0, allowed: c.allowed });

/** The VMX capability MSRs by number, names as in Linux's msr-index.h. */
export const vmxMsrs: ReadonlyMap<number, bigint> = new Map([
  [0x480, BigInt(VMCS_REVISION_ID) | (4096n << 32n) | (6n << 50n) | (1n << 54n) | (1n << 55n)],   // MSR_IA32_VMX_BASIC: write-back VMCS, INS/OUTS information, TRUE MSRs
  [0x481, msr(pinBased)],                                                    // MSR_IA32_VMX_PINBASED_CTLS
  [0x482, withDefaultOnes(cpuBased, 0x0401_e172)],                           // MSR_IA32_VMX_PROCBASED_CTLS
  [0x483, withDefaultOnes(vmExit, 0x0003_6dff)],                             // MSR_IA32_VMX_EXIT_CTLS
  [0x484, withDefaultOnes(vmEntry, 0x11ff)],                                 // MSR_IA32_VMX_ENTRY_CTLS
  [0x485, BigInt(PREEMPTION_TIMER_RATE) | (1n << 5n) | (ACTIVITY_STATES << 6n) | (BigInt(CR3_TARGETS) << 16n) | (MSR_LIST_512 << 25n)], // MSR_IA32_VMX_MISC
  [0x486, CR0_FIXED0],                                                       // MSR_IA32_VMX_CR0_FIXED0
  [0x487, CR0_FIXED1],                                                       // MSR_IA32_VMX_CR0_FIXED1
  [0x488, CR4_FIXED0],                                                       // MSR_IA32_VMX_CR4_FIXED0
  [0x489, CR4_FIXED1],                                                       // MSR_IA32_VMX_CR4_FIXED1
  [0x48a, 0x34n],                                                            // MSR_IA32_VMX_VMCS_ENUM: highest index 26, shifted left
  [0x48b, msr(secondary)],                                                   // MSR_IA32_VMX_PROCBASED_CTLS2
  [0x48c, VMX_EPT_EXECUTE_ONLY_BIT | VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_UC_BIT | VMX_EPTP_WB_BIT | VMX_EPT_2MB_PAGE_BIT | VMX_EPT_1GB_PAGE_BIT | VMX_EPT_INVEPT_BIT | VMX_EPT_AD_BIT
    | VMX_EPT_EXTENT_CONTEXT_BIT | VMX_EPT_EXTENT_GLOBAL_BIT | VMX_VPID_INVVPID_BIT | VMX_VPID_EXTENT_INDIVIDUAL_ADDR_BIT | VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT
    | VMX_VPID_EXTENT_GLOBAL_CONTEXT_BIT | VMX_VPID_EXTENT_SINGLE_NON_GLOBAL_BIT],                          // MSR_IA32_VMX_EPT_VPID_CAP
  [0x48d, msr(pinBased)],                                                    // MSR_IA32_VMX_TRUE_PINBASED_CTLS
  [0x48e, msr(cpuBased)],                                                    // MSR_IA32_VMX_TRUE_PROCBASED_CTLS
  [0x48f, msr(vmExit)],                                                      // MSR_IA32_VMX_TRUE_EXIT_CTLS
  [0x490, msr(vmEntry)],                                                     // MSR_IA32_VMX_TRUE_ENTRY_CTLS
]);
