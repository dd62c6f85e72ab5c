/**
 * Watches KVM's ioctls, and what is written to descriptors 1 and 2, from inside the kernel, at the trace points sys_enter
 * and sys_exit: what a request was and what became of it is read from the kernel's own objects before the program runs
 * again. Costs the run no cycle. The console would be late: a program that computes for ever leaves its last words in
 * the serial port's queue.
 */
import * as K from '../../abi/kvm/index.ts';
import { __NR_ioctl, __NR_mmap, __NR_write } from '../../abi/syscalls.ts';
import { current } from '../../kernel/current.ts';
import { fd_lookup } from '../../kernel/fs/file.ts';
import { copy_from_user } from '../../kernel/mm/uaccess.ts';
import type { task_struct } from '../../kernel/sched/types.ts';
import { sys_enter, sys_exit } from '../../kernel/trace/events-sched.ts';
import type { Tracepoint } from '../../kernel/trace/tracepoint.ts';
import { type kvm, kvm_vcpu } from '../../kvm/kvm_host.ts';
import type { System } from '../../system/boot.ts';
import { describeRun } from './lab.ts';
import { type IoExit, MAX_RUNS, type MemorySlot, type Piece, type RunExit } from './seen.ts';

const PAGE = 4096;
const HLT = 0xf4;
const MAX_CALLS = 1000;
export const MAX_OUTPUT = 1 << 18;
/** Cycles after which a guest that has not left to user space is said to run on. */
const LONG = 10_000_000;
/** Length of a text looked for at an address that the guest wrote to a port. */
const MAX_TEXT = 8192;
/** Bytes of a slot searched for a HLT. */
const MAX_SEARCH = 1 << 20;

const requestNames = new Map(Object.entries(K).flatMap(([name, value]) =>
  (typeof value === 'object' && value !== null && 'nr' in value ? [[(value as { nr: number }).nr, name] as const] : [])));

/** Guest memory from `address` up to the end of its slot, `length` bytes at most. Called in the system call of the VM's own process. */
function readGuest(vm: kvm, address: number, length: number): Uint8Array | undefined {
  const slot = vm.memslots[0]!.slots.find((s) => address >= s.base_gfn * PAGE && address < (s.base_gfn + s.npages) * PAGE);
  if (slot === undefined) return undefined;
  const offset = address - slot.base_gfn * PAGE;
  const bytes = new Uint8Array(Math.min(length, slot.npages * PAGE - offset));
  return copy_from_user(bytes, slot.userspace_addr + offset) === 0 ? bytes : undefined;
}

function textAt(vm: kvm, address: number): string | undefined {
  const bytes = readGuest(vm, address, MAX_TEXT);
  if (bytes === undefined || bytes[0] === 0) return undefined;
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}

function ioExit(vcpu: kvm_vcpu): IoExit {
  const { direction, size, port, count } = vcpu.run.io;
  const { mem, ram_base } = vcpu.kvm;
  const out = direction === K.KVM_EXIT_IO_OUT;
  const at = ram_base + vcpu.pio_pfn * PAGE;
  const data = out ? [...mem.u8.subarray(at, at + Math.min(size * count, PAGE))] : [];
  const address = data.reduce((sum, byte, i) => sum + byte * 256 ** i, 0);
  const points = out && count === 1 && size > 1 ? textAt(vcpu.kvm, address) : undefined;
  return { direction: out ? 'out' : 'in', port, size, count, data, ...(points === undefined ? {} : { points }) };
}

function runExit(task: task_struct, vcpu: kvm_vcpu, result: number): RunExit {
  const { run } = vcpu;
  const base = { result, reason: run.exit_reason, tid: task.pid, pid: task.tgid, comm: task.comm, vcpu: vcpu.vcpu_id, exits: vcpu.stat.exits };
  if (result !== 0) return base;
  switch (run.exit_reason) {
    case K.KVM_EXIT_IO: return { ...base, io: ioExit(vcpu) };
    case K.KVM_EXIT_INTERNAL_ERROR: return { ...base, detail: `suberror ${run.internal.suberror}${run.internal.suberror === K.KVM_INTERNAL_ERROR_EMULATION ? ': an instruction that KVM could neither run nor emulate' : ''}` };
    case K.KVM_EXIT_FAIL_ENTRY: return { ...base, detail: `hardware entry failure reason 0x${run.fail_entry.hardware_entry_failure_reason.toString(16)}` };
    case K.KVM_EXIT_MMIO: return { ...base, detail: `${run.mmio.is_write ? 'write to' : 'read from'} 0x${run.mmio.phys_addr.toString(16)}, where the VM has no memory` };
    default: return base;
  }
}

function memoryOf(vm: kvm): MemorySlot[] {
  return vm.memslots[0]!.slots.map((slot) => {
    const guestAddress = slot.base_gfn * PAGE;
    const bytes = readGuest(vm, guestAddress, MAX_SEARCH);
    const hlt = bytes?.indexOf(HLT) ?? -1;
    return { guestAddress, size: slot.npages * PAGE, hlt: hlt < 0 ? -1 : guestAddress + hlt };
  });
}

export class Observer {
  runCount = 0;
  /** Bytes printed so far. */
  printed = 0;
  /** Threads that are inside KVM_RUN, and since when, in cycles. */
  readonly #inside = new Map<task_struct, number>();
  #calls = 0;
  #entered = false;
  #last: RunExit | undefined;
  readonly #decoder = new TextDecoder();
  readonly #tell: (piece: Piece) => void;

  constructor(tell: (piece: Piece) => void) { this.#tell = tell; }

  attach(system: System): void {
    const buffer = system.kernel.trace_buffer();
    buffer.consumer = ({ point, values, time }) => {
      if (point.name === 'sys_enter') this.#enter(values['id'] as number, time);
      else if (point.name === 'sys_exit') this.#exit(values['id'] as number, values['ret'] as number);
    };
    for (const point of [sys_enter, sys_exit]) buffer.enable(point as unknown as Tracepoint);
  }

  /** What the program is about at `now`, for one that has to be stopped. */
  doing(now: number): string {
    if ([...this.#inside.values()].some((since) => now - since > LONG)) return `KVM_RUN has not returned: the guest runs on and never leaves to user space${this.runCount > 0 ? ` again after ${this.runCount} exits` : ''}`;
    if (this.#last !== undefined) return `it called KVM_RUN ${this.runCount} times and goes on after ${describeRun(this.#last)}`;
    return 'it makes system calls without end';
  }

  #enter(nr: number, time: number): void {
    const task = current();
    const vcpu = nr === __NR_ioctl ? this.#object(task) : undefined;
    if (!(vcpu instanceof kvm_vcpu) || task.user!.a1 !== K.KVM_RUN.nr) return;
    this.#inside.set(task, time);
    if (this.#entered) return;
    this.#entered = true;
    this.#tell({ memory: memoryOf(vcpu.kvm) });
  }

  #exit(nr: number, result: number): void {
    const task = current();
    const { user } = task;
    if (user === undefined || task.files === undefined) return;
    if (nr === __NR_mmap) {
      const file = result > 0 && Number(user.a4) >= 0 ? fd_lookup(task.files, Number(user.a4)) : null;
      if (file?.private_data instanceof kvm_vcpu) this.#tell({ mapped: true });
      return;
    }
    if (nr === __NR_write && result > 0 && (user.a0 === 1 || user.a0 === 2)) this.#write(Number(user.a1), result);
    if (nr !== __NR_ioctl) return;
    const request = Number(user.a1);
    const object = this.#object(task);
    if (object instanceof kvm_vcpu && request === K.KVM_RUN.nr) {
      this.#inside.delete(task);
      // Beyond the limit only what a message may need is looked at: the program is on its way to be stopped.
      if (this.runCount++ < MAX_RUNS) this.#tell({ run: this.#last = runExit(task, object, result) });
      return;
    }
    const name = requestNames.get(request);
    if (name !== undefined && this.#calls++ < MAX_CALLS) this.#tell({ call: { name, result, tid: task.pid } });
  }

  #write(address: number, length: number): void {
    this.printed += length;
    if (this.printed > MAX_OUTPUT) return;
    const bytes = new Uint8Array(length);
    if (copy_from_user(bytes, address) === 0) this.#tell({ output: this.#decoder.decode(bytes, { stream: true }) });
  }

  /** What the descriptor of the ioctl stands for. */
  #object(task: task_struct): unknown {
    return task.files === undefined ? undefined : fd_lookup(task.files, Number(task.user!.a0))?.private_data;
  }
}
