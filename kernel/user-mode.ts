/**
 * Ring 3: tasks whose program is machine code. Their registers while they do not run, the way into user mode and what
 * comes back from it, and signal frames on their stacks.
 *
 * Linux: arch/x86/entry/entry_64.S, arch/x86/mm/fault.c, arch/x86/kernel/{process_64,traps,signal_64}.c
 *
 * The registers are loaded before and saved after every stay in user mode, so nothing has to be remembered about who
 * used the processor in between: another task, or a guest.
 */
import { EFAULT, EINVAL, ENOMEM, EPERM } from '../abi/errno.ts';
import { ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_FS, ARCH_SET_GS } from '../abi/prctl.ts';
import {
  BUS_ADRALN, BUS_ADRERR, FPE_FLTINV, FPE_INTDIV, ILL_ILLOPN, MINSIGSTKSZ, SA_ONSTACK, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGTRAP, SI_KERNEL, SS_DISABLE,
  SS_ONSTACK, TRAP_TRACE, rt_sigframe, sigaltstack,
} from '../abi/signal.ts';
import { windowOf } from '../abi/struct.ts';
import { kernelEvent } from '../machine/cpu/interrupts.ts';
import {
  CS, type CpuState, DS, EFER_LMA, EFER_LME, EFER_NX, EFER_SCE, ES, FS, GS, R8, R9, R10, RAX, RDI, RDX, RSI, RSP, SEG_UNUSABLE, SS, STATE, X86_EFLAGS_DF, X86_EFLAGS_FIXED, X86_EFLAGS_IF,
  X86_EFLAGS_RF, X86_EFLAGS_TF, updateMode,
} from '../machine/cpu/state.ts';
import type { Processor } from '../machine/processor.ts';
import { get_user_struct, put_user_struct } from './fs/user.ts';
import { handle_mm_fault, VM_FAULT_BADACCESS, VM_FAULT_OOM, VM_FAULT_SIGBUS } from './mm/memory.ts';
import { copy_from_user, copy_to_user, put_user64 } from './mm/uaccess.ts';
import { PAGE_SIZE, TASK_SIZE, VM_EXEC, type mm_struct } from './mm/types.ts';
import { find_vma } from './mm/vma.ts';
import { pr_info } from './printk.ts';
import type { kernel_siginfo, k_sigaction, task_struct } from './sched/types.ts';
import { force_sig_info } from './signal.ts';
import { fill_siginfo } from './signal-calls.ts';
import { siginfo } from './siginfo.ts';

const FPU_BYTES = 512;
/** The flags a handler may change: FIX_EFLAGS. */
const USER_FLAGS = 0x254dd5;

/** The user state of a task that is not in user mode. */
export class pt_regs {
  readonly gpr = new BigUint64Array(16);
  readonly fpu = new Uint8Array(FPU_BYTES);
  rip = 0n;
  flags: number = X86_EFLAGS_IF | X86_EFLAGS_FIXED;
  fs_base = 0n;
  gs_base = 0n;
  /** sigaltstack: where handlers with SA_ONSTACK run; size 0 when there is none. */
  altstack = { sp: 0n, size: 0n };
  /** rt_sigreturn and execve: the registers are as they shall be, the call has no result. */
  no_result = false;

  constructor() {
    // FNINIT and the default MXCSR.
    const words = new DataView(this.fpu.buffer);
    words.setUint16(0, 0x37f, true);
    words.setUint32(24, 0x1f80, true);
    words.setUint32(28, 0xffff, true);
  }

  clone(): pt_regs {
    const copy = new pt_regs();
    copy.gpr.set(this.gpr);
    copy.fpu.set(this.fpu);
    copy.rip = this.rip;
    copy.flags = this.flags;
    copy.fs_base = this.fs_base;
    copy.gs_base = this.gs_base;
    copy.altstack = this.altstack;
    return copy;
  }
}

/** PE MP ET NE WP AM PG; PSE PAE PGE OSFXSR OSXMMEXCPT. */
const CR0 = 0x8005_0033n;
const CR4 = 0x6b0n;
const EFER = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
const __USER_CS = 0x33;
const __USER_DS = 0x2b;

function load(cpu: CpuState, mm: mm_struct, regs: pt_regs): void {
  const { u64 } = cpu;
  u64[STATE.cr0 >>> 3] = CR0;
  u64[STATE.cr4 >>> 3] = CR4;
  u64[STATE.efer >>> 3] = EFER;
  u64[STATE.star >>> 3] = (0x23n << 48n) | (0x10n << 32n);
  u64[STATE.fmask >>> 3] = 0x257fd5n;
  const cr3 = BigInt(mm.pgd * PAGE_SIZE);
  if (u64[STATE.cr3 >>> 3] !== cr3 || mm.tlb_stale.has(cpu.id)) {
    u64[STATE.cr3 >>> 3] = cr3;
    mm.tlb_stale.delete(cpu.id);
    cpu.engine.flushTlb(cpu, true);
  }
  cpu.setSegment(CS, __USER_CS, 0n, 0xffff_ffff, 0xa0fb);
  cpu.setSegment(SS, __USER_DS, 0n, 0xffff_ffff, 0xc0f3);
  for (const seg of [DS, ES]) cpu.setSegment(seg, 0, 0n, 0, SEG_UNUSABLE);
  cpu.setSegment(FS, 0, regs.fs_base, 0, SEG_UNUSABLE);
  cpu.setSegment(GS, 0, regs.gs_base, 0, SEG_UNUSABLE);
  cpu.gpr.set(regs.gpr);
  cpu.fpu.set(regs.fpu);
  cpu.rip = regs.rip;
  cpu.engine.writeFlags(cpu, regs.flags);
  updateMode(cpu);
}

function save(cpu: CpuState, regs: pt_regs): void {
  regs.gpr.set(cpu.gpr);
  regs.fpu.set(cpu.fpu.subarray(0, FPU_BYTES));
  regs.rip = cpu.rip;
  regs.flags = cpu.engine.readFlags(cpu);
  regs.fs_base = cpu.segBase(FS);
  regs.gs_base = cpu.segBase(GS);
}

/**
 * User code until the step ends or it needs the kernel. True: it has made a system call, whose number and arguments
 * are in task.user now.
 */
export function run_machine_code(task: task_struct, p: Processor): boolean {
  const regs = task.regs!;
  p.machine.startEngine();
  const cpu = p.hostRegisters();
  load(cpu, task.mm!, regs);
  const stop = p.runUser();
  save(cpu, regs);
  switch (stop) {
    case 'syscall': {
      const user = task.user!;
      const { gpr } = regs;
      user.nr = Number(gpr[RAX]! & 0xffff_ffffn);
      user.a0 = gpr[RDI]!;
      user.a1 = gpr[RSI]!;
      user.a2 = gpr[RDX]!;
      user.a3 = gpr[R10]!;
      user.a4 = gpr[R8]!;
      user.a5 = gpr[R9]!;
      return true;
    }
    case 'exception':
      trap(task, p, regs);
      return false;
    case 'nmi':
      p.acknowledgeNmi();
      return false;
    default:
      return false;
  }
}

// ---------------------------------------------------------------- exceptions

const PFERR_PRESENT = 1, PFERR_WRITE = 2, PFERR_FETCH = 16;

/** Signals of the exceptions that are no page faults, by vector. */
const TRAPS: Readonly<Record<number, readonly [signal: number, code: number]>> = {
  0: [SIGFPE, FPE_INTDIV], 1: [SIGTRAP, TRAP_TRACE], 3: [SIGTRAP, SI_KERNEL], 4: [SIGSEGV, SI_KERNEL], 5: [SIGSEGV, SI_KERNEL], 6: [SIGILL, ILL_ILLOPN],
  10: [SIGSEGV, SI_KERNEL], 11: [SIGBUS, SI_KERNEL], 12: [SIGBUS, SI_KERNEL], 13: [SIGSEGV, SI_KERNEL], 16: [SIGFPE, FPE_FLTINV], 17: [SIGBUS, BUS_ADRALN], 19: [SIGFPE, FPE_FLTINV],
};

function trap(task: task_struct, p: Processor, regs: pt_regs): void {
  const { vector, error } = kernelEvent;
  if (vector === 14) return page_fault(task, p, regs, Number(kernelEvent.cr2), error);
  const [signal, code] = TRAPS[vector] ?? [SIGSEGV, SI_KERNEL];
  if (signal === SIGSEGV || signal === SIGILL || signal === SIGBUS) {
    pr_info(`traps: ${task.comm}[${task.pid}] ${vector === 13 ? 'general protection fault' : vector === 6 ? 'trap invalid opcode' : `trap ${vector}`} ip:${regs.rip.toString(16)} sp:${regs.gpr[RSP]!.toString(16)} error:${Math.max(error, 0).toString(16)}`);
  }
  p.charge(p.machine.costs.exception);
  force_sig_info(task, { ...siginfo(signal, code), si_addr: Number(regs.rip) });
}

function page_fault(task: task_struct, p: Processor, regs: pt_regs, address: number, error: number): void {
  const mm = task.mm!;
  const write = (error & PFERR_WRITE) !== 0;
  const fetch = (error & PFERR_FETCH) !== 0;
  let fault = handle_mm_fault(mm, address, write);
  if (fault === 0 && fetch) {
    const vma = find_vma(mm, address);
    if (vma === undefined || (vma.vm_flags & VM_EXEC) === 0) fault = VM_FAULT_BADACCESS;
  }
  if (fault === 0) {
    // The processor may remember the entry as it was.
    p.cpu.engine.flushPage(p.cpu, address);
    return;
  }
  if (fault === VM_FAULT_OOM) return force_sig_info(task, siginfo(SIGKILL, SI_KERNEL));
  if (fault === VM_FAULT_SIGBUS) return force_sig_info(task, { ...siginfo(SIGBUS, BUS_ADRERR), si_addr: address });
  pr_info(`${task.comm}[${task.pid}]: segfault at ${address.toString(16)} ip ${regs.rip.toString(16)} sp ${regs.gpr[RSP]!.toString(16)} error ${error}`);
  const mapped = fault === VM_FAULT_BADACCESS || (error & PFERR_PRESENT) !== 0;
  force_sig_info(task, { ...siginfo(SIGSEGV, mapped ? SEGV_ACCERR : SEGV_MAPERR), si_addr: address });
}

// ---------------------------------------------------------------- results and restarts

export function set_result(regs: pt_regs, result: number): void {
  if (!regs.no_result) regs.gpr[RAX] = BigInt.asUintN(64, BigInt(result));
  regs.no_result = false;
}

/** Takes the program counter back to the SYSCALL instruction, for a call to be made again after a handler. */
export function back_up_syscall(regs: pt_regs, nr: number): void {
  regs.rip -= 2n;
  regs.gpr[RAX] = BigInt(nr);
}

// ---------------------------------------------------------------- signal frames

const ORDER = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const RED_ZONE = 128n;

const on_altstack = ({ gpr, altstack: { sp, size } }: pt_regs): boolean => gpr[RSP]! > sp && gpr[RSP]! - sp <= size;
const altstack_flags = (regs: pt_regs): number => (regs.altstack.size === 0n ? SS_DISABLE : on_altstack(regs) ? SS_ONSTACK : 0);

export function sys_sigaltstack(task: task_struct, fresh: number, old: number): number {
  const { regs } = task;
  const before = regs === undefined ? sigaltstack.make({ ss_flags: SS_DISABLE })
    : sigaltstack.make({ ss_sp: regs.altstack.sp, ss_size: regs.altstack.size, ss_flags: altstack_flags(regs) });
  if (fresh !== 0) {
    const stack = sigaltstack.make();
    if (get_user_struct(stack, fresh) < 0) return -EFAULT;
    if (regs !== undefined && on_altstack(regs)) return -EPERM;
    const mode = stack.ss_flags;
    if (mode !== 0 && mode !== SS_DISABLE && mode !== SS_ONSTACK) return -EINVAL;
    const same = stack.ss_sp === before.ss_sp && stack.ss_size === before.ss_size;
    if (mode !== SS_DISABLE && !same && stack.ss_size < BigInt(MINSIGSTKSZ)) return -ENOMEM;
    if (regs !== undefined) regs.altstack = mode === SS_DISABLE ? { sp: 0n, size: 0n } : { sp: stack.ss_sp, size: stack.ss_size };
  }
  return old === 0 ? 0 : put_user_struct(old, before);
}

/** Builds the frame a handler starts on. False when the stack cannot take it. */
export function setup_rt_frame(task: task_struct, info: kernel_siginfo, action: k_sigaction, mask: bigint): boolean {
  const regs = task.regs!;
  const { sp, size } = regs.altstack;
  const switches = (action.sa_flags & BigInt(SA_ONSTACK)) !== 0n && size !== 0n && !on_altstack(regs);
  const stack = switches ? sp + size : regs.gpr[RSP]! - RED_ZONE;
  const fpstate = (stack - BigInt(FPU_BYTES)) & ~63n;
  const at = ((fpstate - BigInt(rt_sigframe.size)) & ~15n) - 8n;
  const frame = rt_sigframe.make({ pretcode: action.sa_restorer });
  const { uc } = frame;
  const context = uc.uc_mcontext;
  uc.uc_flags = 6n;
  uc.uc_stack.ss_sp = sp;
  uc.uc_stack.ss_size = size;
  uc.uc_stack.ss_flags = altstack_flags(regs);
  uc.uc_sigmask = mask;
  ORDER.forEach((name, i) => { context[name] = regs.gpr[i]!; });
  context.rip = regs.rip;
  context.eflags = BigInt(regs.flags);
  context.cs = __USER_CS;
  context.ss = __USER_DS;
  context.oldmask = mask;
  context.cr2 = BigInt(info.si_addr);
  context.fpstate = fpstate;
  windowOf(frame.info).set(windowOf(fill_siginfo(info)));
  if (copy_to_user(Number(fpstate), regs.fpu) < 0 || copy_to_user(Number(at), windowOf(frame)) < 0) return false;
  regs.gpr[RSP] = at;
  regs.gpr[RDI] = BigInt(info.si_signo);
  regs.gpr[RSI] = at + BigInt(rt_sigframe.offset.info);
  regs.gpr[RDX] = at + BigInt(rt_sigframe.offset.uc);
  regs.gpr[RAX] = 0n;
  regs.rip = action.sa_handler;
  regs.flags &= ~(X86_EFLAGS_DF | X86_EFLAGS_RF | X86_EFLAGS_TF);
  return true;
}

/** rt_sigreturn: puts the frame's registers back; the signal mask to restore, or -EFAULT. */
export function restore_rt_frame(regs: pt_regs): bigint | number {
  const frame = rt_sigframe.make();
  // The handler's return has taken pretcode off the stack.
  if (get_user_struct(frame, Number(regs.gpr[RSP]! - 8n)) < 0) return -EFAULT;
  const context = frame.uc.uc_mcontext;
  ORDER.forEach((name, i) => { regs.gpr[i] = context[name]; });
  regs.rip = context.rip;
  regs.flags = (Number(context.eflags & 0xffff_ffffn) & USER_FLAGS) | X86_EFLAGS_IF | X86_EFLAGS_FIXED;
  regs.no_result = true;
  if (context.fpstate !== 0n && copy_from_user(regs.fpu, Number(context.fpstate)) < 0) return -EFAULT;
  return frame.uc.uc_sigmask;
}

/** Registers a fresh image starts with. */
export function start_thread(entry: number, stack: number): pt_regs {
  const regs = new pt_regs();
  regs.rip = BigInt(entry);
  regs.gpr[RSP] = BigInt(stack);
  regs.no_result = true;
  return regs;
}

/** Registers of a clone: it returns 0 from the same call, on its own stack if it was given one. */
export function copy_thread(from: pt_regs, stack: number, tls: bigint | undefined): pt_regs {
  const regs = from.clone();
  if (stack !== 0) regs.altstack = { sp: 0n, size: 0n };
  regs.gpr[RAX] = 0n;
  if (stack !== 0) regs.gpr[RSP] = BigInt(stack);
  if (tls !== undefined) regs.fs_base = tls;
  return regs;
}

/** arch_prctl: the bases of FS and GS, which hold thread-local storage. */
export function sys_arch_prctl(task: task_struct, code: number, address: number): number {
  const { regs } = task;
  if (regs === undefined) return -EINVAL;
  switch (code) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
      if (!(address >= 0 && address < TASK_SIZE)) return -EPERM;
      if (code === ARCH_SET_FS) regs.fs_base = BigInt(address);
      else regs.gs_base = BigInt(address);
      return 0;
    case ARCH_GET_FS: return put_user64(address, regs.fs_base);
    case ARCH_GET_GS: return put_user64(address, regs.gs_base);
    default: return -EINVAL;
  }
}
