/**
 * What is charged beyond one cycle a retired instruction, in cycles, and the machine's rates: by silicon, and by kernel
 * code, which is TypeScript here, where on silicon it takes long enough to be seen. Only what is the same in every tier of the
 * engine stands here, so that a run does not depend on how it was executed.
 */

/** Cycles a millisecond: the processors' TSC runs at 1 GHz. */
export const tsc_khz = 1_000_000;

/** How far a processor may run ahead of the one furthest behind. */
export const QUANTUM = 10_000;

/**
 * "Measured": by a C program, the least of many runs, in TSC cycles of a 2.3 GHz Intel Xeon inside a virtual machine. "Chosen":
 * a round figure of the right magnitude, for want of bare hardware to ask. At 1 GHz all of it takes somewhat longer
 * than on a real machine, as every instruction does.
 */
export const costs = {
  syscall:            120,   // measured 193 for getppid(); the kernel's own path in it is not silicon
  interruptDelivery:  600,   // chosen: IDT, stack switch and IRET of an external interrupt
  exception:          400,   // chosen; a page fault that maps a zeroed page measured 2197, handler and clearing included
  contextSwitch:     1500,   // chosen; a pipe round trip of two processes (two switches, four calls, wake-ups) measured 14090
  pageWalk:            30,   // measured 36: a chase through 8192 pages against one through 32, one line a page
  nestedPageWalk:     100,   // chosen: two dimensions make up to 24 references of 4 (Bhargava et al., ASPLOS 2008)
  vmEntry:            500,   // chosen; with vmExit a round trip of 1200. A CPUID exit in a nested guest measured 9860
  vmExit:             700,   // see vmEntry
  kvmExit:            150,   // chosen: KVM between an exit and the handler's work, on silicon a hundred instructions or two and cold lines
  kvmEmulate:         900,   // chosen: fetch through the guest's tables, decode, execute
  kvmPageFault:       700,   // chosen: slot, user's page table and EPT entries; what user memory itself faults on is charged there
  invept:             300,   // chosen
  rdtsc:               25,   // measured 24.5
  rdtscp:              38,   // measured 37.5
  pause:               25,   // measured 25.2
  ipi:                500,   // chosen: ICR write to arrival
} as const;

export type Costs = { readonly [K in keyof typeof costs]: number };
