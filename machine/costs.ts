/**
 * What silicon charges for beyond one cycle a retired instruction, in cycles, and the machine's rates. Only what is
 * the same in every tier of the engine stands here, so that a run does not depend on how it was executed.
 */

/** Cycles a millisecond: the processors' TSC runs at 1 GHz. */
export const tsc_khz = 1_000_000;

/** How far a processor may run ahead of the one furthest behind. */
export const QUANTUM = 10_000;

/**
 * The figures are cycles of real processors (mostly Skylake client, where one is named), rounded. They are scaled by
 * nothing: at 1 GHz a VM exit takes 1.2 µs of virtual time, about three times what a 3 GHz part needs, as does all else.
 */
export const costs = {
  syscall:            120,   // SYSCALL + SYSRET with kernel entry code, no mitigations: 70-150 (lmbench null call 40 ns at 3 GHz)
  interruptDelivery:  600,   // external interrupt through the IDT to the first handler instruction plus IRET (Mytkowicz et al.; Intel AN-325 gives 500-1000)
  exception:          400,   // fault through the IDT and IRET (page fault round trip less the handler: about 1000 with it)
  contextSwitch:     1500,   // lmbench lat_ctx 2 processes, no working set: 0.5 µs at 3 GHz
  pageWalk:            30,   // data-side TLB miss whose page-table entries are in L1/L2: 20-40 (Agner Fog, Skylake: 9 + cache accesses)
  nestedPageWalk:     100,   // the same in two dimensions, up to 24 references (Bhargava et al., ASPLOS 2008: about 3-4 times a native walk)
  vmEntry:            500,   // VMRESUME, Skylake: a null exit round trip of CPUID is 1100-1300
  vmExit:             700,   // the other half of that round trip
  invept:             300,   // INVEPT/INVVPID single context: 200-500
  portIo:             300,   // IN/OUT to a device behind a fast bus, not ISA: 100-1000
  mmio:               300,   // an uncached read of a device register
  cpuid:              100,   // serializing: 100-200
  msr:                100,   // RDMSR/WRMSR, MSRs of the core: 50-250
  ipi:                500,   // ICR write to arrival at another core's local APIC: 0.3-0.6 µs
  tlbFlush:           200,   // MOV CR3: 150-250
} as const;

export type Costs = { readonly [K in keyof typeof costs]: number };
