/**
 * The memory of a process as its programs and the kernel's struct views see it: an abi Space over the page tables.
 *
 * A view keeps the host offset that resolve() gave it and asks again when a generation moved. So every change that
 * takes a present translation away must go through `narrowed` (memory.ts does), and one that only takes the right to
 * write away through `write_protected`.
 */
import type { Mem, Space } from '../../abi/struct.ts';
import { current, kernelVariable, machine } from '../current.ts';
import { SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGKILL, SIGSEGV, BUS_ADRERR } from '../../abi/signal.ts';
import { siginfo } from '../siginfo.ts';
import { VM_FAULT_BADACCESS, VM_FAULT_OOM, VM_FAULT_SIGBUS, handle_mm_fault } from './memory.ts';
import { _PAGE_ACCESSED, _PAGE_DIRTY, _PAGE_PRESENT, _PAGE_RW, pte_offset } from './page-table.ts';
import { TASK_SIZE, type mm_struct } from './types.ts';

/** Thrown by a bad access. In user code the task is lost from then on, whatever the program catches. */
export class UserFault extends Error {
  readonly address: number;
  constructor(address: number, write: boolean) {
    super(`${write ? 'write to' : 'read of'} user address 0x${address.toString(16)}`);
    this.name = 'UserFault';
    this.address = address;
  }
}

export class UserSpace implements Space {
  readonly mem: Mem;
  gen = 0;
  wgen = 0;
  /** Processors translate through these tables too, and remember. */
  private machine_code = false;
  get has_machine_code(): boolean { return this.machine_code; }
  private readonly mm: mm_struct;
  private readonly base: number;

  constructor(mm: mm_struct) {
    const { ram } = machine();
    this.mm = mm;
    this.mem = ram.mem;
    this.base = ram.base;
  }

  /** A present translation went away or changed. */
  narrowed(): void {
    this.gen++;
    this.write_protected();
  }
  /** Only writes must ask again. */
  write_protected(): void {
    this.wgen++;
    if (this.machine_code) this.forget_translations();
  }
  private forget_translations(): void { for (const { id } of machine().processors) this.mm.tlb_stale.add(id); }

  /** From now on processors use the tables. They may still hold what a dead space at the same place meant. */
  begin_machine_code(): void {
    this.machine_code = true;
    this.forget_translations();
  }

  resolve(address: number, write: boolean): number {
    if (current().user_fault !== undefined) throw new UserFault(address, write);
    const at = this.translate(address, write);
    if (at >= 0) return at;
    return this.fault(address, write, -at);
  }

  /** Host offset of `address` after any fault it takes, or a negated VM_FAULT_* code. Never throws. */
  translate(address: number, write: boolean): number {
    if (!(address >= 0 && address < TASK_SIZE)) return -VM_FAULT_BADACCESS;
    const words = this.mem.u32;
    let at = pte_offset(this.mm, address);
    let entry = at === 0 ? 0 : words[at]!;
    if ((entry & _PAGE_PRESENT) === 0 || (write && (entry & _PAGE_RW) === 0)) {
      const fault = handle_mm_fault(this.mm, address, write);
      if (fault !== 0) return -fault;
      at = pte_offset(this.mm, address);
      entry = words[at]!;
    }
    words[at] = entry | _PAGE_ACCESSED | (write ? _PAGE_DIRTY : 0);
    if (write) machine().ram.codeWritten((entry & 0xffff_f000) >>> 0);
    return this.base + ((entry & 0xffff_f000) >>> 0) + (address & 0xfff);
  }

  private fault(address: number, write: boolean, code: number): never {
    const task = current();
    if (task.syscall_nr < 0 && task.mm === this.mm) {
      task.user_fault =
        code === VM_FAULT_OOM ? siginfo(SIGKILL, 0)
        : code === VM_FAULT_SIGBUS ? { ...siginfo(SIGBUS, BUS_ADRERR), si_addr: address }
        : { ...siginfo(SIGSEGV, code === VM_FAULT_BADACCESS ? SEGV_ACCERR : SEGV_MAPERR), si_addr: address };
      this.narrowed();
    }
    throw new UserFault(address, write);
  }
}

/** All address spaces alive: when a frame gets translated code, writes through views must ask again. */
const spaces = kernelVariable(() => {
  const alive = new Set<UserSpace>();
  machine().ram.onTranslated = () => { for (const space of alive) space.write_protected(); };
  return alive;
});
export function space_born(space: UserSpace): void { spaces().add(space); }
export function space_gone(space: UserSpace): void { spaces().delete(space); }

/** The mm's space as what it is. */
export const space_of = (mm: mm_struct): UserSpace => mm.space as UserSpace;
