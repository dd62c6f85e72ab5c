/**
 * What a grader saw of one run of a lab's program: plain data, made in the child process that ran it (child.ts) out of
 * the kernel's own records, never out of what the program says of itself. `output` is the one exception, and its name
 * says so. The child tells it piece by piece, so that a program that has to be killed is judged by what it did before.
 */

/** One return from KVM_RUN, as the kernel had left kvm_run when the thread went back to user mode. */
export interface RunExit {
  /** 0, or -errno. */
  readonly result: number;
  /** kvm_run.exit_reason; without meaning when result is not 0. */
  readonly reason: number;
  readonly tid: number;
  readonly pid: number;
  /** The thread's name at that moment. */
  readonly comm: string;
  readonly vcpu: number;
  /** VM exits of this vCPU so far, those that the kernel handled alone included. */
  readonly exits: number;
  readonly io?: IoExit;
  /** suberror of KVM_EXIT_INTERNAL_ERROR, reason of KVM_EXIT_FAIL_ENTRY, address of KVM_EXIT_MMIO. */
  readonly detail?: string;
}

export interface IoExit {
  readonly direction: 'in' | 'out';
  readonly port: number;
  readonly size: number;
  readonly count: number;
  /** What the guest wrote; empty for IN. */
  readonly data: readonly number[];
  /** The text in guest memory at the address that an OUT of two or four bytes wrote, when there is one: up to a NUL byte. */
  readonly points?: string;
}

/** One ioctl of KVM's, in order. KVM_RUN is not among them. */
export interface KvmCall {
  readonly name: string;
  readonly result: number;
  readonly tid: number;
}

export interface MemorySlot {
  readonly guestAddress: number;
  readonly size: number;
  /** Whether a byte of it is HLT, and where the first one is. */
  readonly hlt: number;
}

/** How the run ended. */
export type End =
  | { readonly how: 'exit'; readonly status: number }
  | { readonly how: 'time'; readonly doing: string }     // stopped from outside; what it was doing
  | { readonly how: 'computes' }                         // no system call, no yield: had to be killed
  | { readonly how: 'sleeps' }                           // waits for something that never comes
  | { readonly how: 'output' }                           // printed without end
  | { readonly how: 'memory' }                           // outgrew the memory of the child process
  | { readonly how: 'died'; readonly message: string }   // the simulator itself ended
  | { readonly how: 'load'; readonly message: string };  // the program could not be bundled or loaded

export interface Seen {
  readonly end: End;
  /** What the program printed on standard output and standard error. */
  readonly output: string;
  /** An exception of JavaScript that the program let out. */
  readonly thrown: string;
  readonly calls: readonly KvmCall[];
  /** The first MAX_RUNS of them. */
  readonly runs: readonly RunExit[];
  /** How many there were. */
  readonly runCount: number;
  /** Memory of the VM at the first KVM_RUN, before the guest ran. */
  readonly memory: readonly MemorySlot[];
  /** Descriptors of vCPUs were mapped with mmap. */
  readonly mapped: boolean;
  /** Instructions retired in guest mode on all processors. */
  readonly guestInstructions: number;
}

export const MAX_RUNS = 4000;

/** What the child tells, a JSON text a line. */
export type Piece =
  | { readonly alive: true }
  | { readonly call: KvmCall }
  | { readonly run: RunExit }
  | { readonly memory: readonly MemorySlot[] }
  | { readonly mapped: true }
  | { readonly output: string }
  | { readonly end: End; readonly thrown: string; readonly runCount: number; readonly guestInstructions: number };

/** Puts the pieces together. `otherwise` is how the run ended when the child did not live to say it. */
export function seenOf(pieces: readonly Piece[], otherwise: End): Seen {
  const seen = { end: otherwise, output: '', thrown: '', calls: [] as KvmCall[], runs: [] as RunExit[], runCount: 0, memory: [] as readonly MemorySlot[], mapped: false, guestInstructions: 0 };
  for (const piece of pieces) {
    if ('call' in piece) seen.calls.push(piece.call);
    else if ('run' in piece) seen.runCount = seen.runs.push(piece.run);
    else if ('output' in piece) seen.output += piece.output;
    else if (!('alive' in piece)) Object.assign(seen, piece);
  }
  return seen;
}
