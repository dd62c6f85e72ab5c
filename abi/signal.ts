/**
 * Signals: numbers, names, and the structs of sigaction, siginfo and the frame on the user's stack.
 * A signal set is one u64; signal n is bit n - 1.
 * Linux: arch/x86/include/uapi/asm/signal.h, sigcontext.h, include/uapi/asm-generic/siginfo.h
 */
import { type Of, anonymousStruct, anonymousUnion, array, s16, s32, s64, struct, u16, u32, u64, u8 } from './struct.ts';
import * as self from './signal.ts';

// Signal numbers
export const SIGHUP    = 1;
export const SIGINT    = 2;
export const SIGQUIT   = 3;
export const SIGILL    = 4;
export const SIGTRAP   = 5;
export const SIGABRT   = 6;
export const SIGBUS    = 7;
export const SIGFPE    = 8;
export const SIGKILL   = 9;
export const SIGUSR1   = 10;
export const SIGSEGV   = 11;
export const SIGUSR2   = 12;
export const SIGPIPE   = 13;
export const SIGALRM   = 14;
export const SIGTERM   = 15;
export const SIGSTKFLT = 16;
export const SIGCHLD   = 17;
export const SIGCONT   = 18;
export const SIGSTOP   = 19;
export const SIGTSTP   = 20;
export const SIGTTIN   = 21;
export const SIGTTOU   = 22;
export const SIGURG    = 23;
export const SIGXCPU   = 24;
export const SIGXFSZ   = 25;
export const SIGVTALRM = 26;
export const SIGPROF   = 27;
export const SIGWINCH  = 28;
export const SIGIO     = 29;
export const SIGPWR    = 30;
export const SIGSYS    = 31;

// Flags of sigaction
export const SA_NOCLDSTOP = 1;
export const SA_NOCLDWAIT = 2;
export const SA_SIGINFO   = 4;
export const SA_ONSTACK   = 0x8000000;
export const SA_RESTART   = 0x10000000;
export const SA_NODEFER   = 0x40000000;
export const SA_RESETHAND = 0x80000000;

// How sigprocmask changes the mask
export const SIG_BLOCK   = 0;
export const SIG_UNBLOCK = 1;
export const SIG_SETMASK = 2;

// si_code: who sent it
export const SI_USER    = 0;
export const SI_KERNEL  = 128;
export const SI_QUEUE   = -1;
export const SI_TIMER   = -2;
export const SI_MESGQ   = -3;
export const SI_ASYNCIO = -4;
export const SI_SIGIO   = -5;
export const SI_TKILL   = -6;

// si_code of SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD
export const ILL_ILLOPC    = 1;
export const ILL_ILLOPN    = 2;
export const ILL_ILLADR    = 3;
export const ILL_ILLTRP    = 4;
export const ILL_PRVOPC    = 5;
export const ILL_PRVREG    = 6;
export const FPE_INTDIV    = 1;
export const FPE_INTOVF    = 2;
export const FPE_FLTDIV    = 3;
export const FPE_FLTOVF    = 4;
export const FPE_FLTUND    = 5;
export const FPE_FLTRES    = 6;
export const FPE_FLTINV    = 7;
export const SEGV_MAPERR   = 1;
export const SEGV_ACCERR   = 2;
export const SEGV_PKUERR   = 4;
export const BUS_ADRALN    = 1;
export const BUS_ADRERR    = 2;
export const BUS_OBJERR    = 3;
export const TRAP_BRKPT    = 1;
export const TRAP_TRACE    = 2;
export const TRAP_BRANCH   = 3;
export const TRAP_HWBKPT   = 4;
export const CLD_EXITED    = 1;
export const CLD_KILLED    = 2;
export const CLD_DUMPED    = 3;
export const CLD_TRAPPED   = 4;
export const CLD_STOPPED   = 5;
export const CLD_CONTINUED = 6;

// Alternate stack, signalfd
export const SS_ONSTACK   = 1;
export const SS_DISABLE   = 2;
export const MINSIGSTKSZ  = 2048;
export const SIGSTKSZ     = 8192;
export const SFD_CLOEXEC  = 524288;
export const SFD_NONBLOCK = 2048;

export const SIGPOLL  = SIGIO;
export const SIGRTMIN = 32;
export const SIGRTMAX = 64;
/** Number of signals; signals are numbered from 1. */
export const _NSIG    = 64;
/** The C library says where the handler's return goes; x86-64 demands it. */
export const SA_RESTORER = 0x4000000;

// Values of sa_handler that are no address
export const SIG_DFL = 0n;
export const SIG_IGN = 1n;

export const sigmask = (signal: number): bigint => 1n << BigInt(signal - 1);

let names: Map<number, string> | undefined;
/** 'SIGINT' of 2, 'SIGRT_2' of 34 as strace has it. */
export function signalName(signal: number): string {
  names ??= new Map(Object.entries(self).flatMap(([name, n]) =>
    /^SIG[A-Z0-9]+$/.test(name) && typeof n === 'number' && n < SIGRTMIN && name !== 'SIGPOLL' ? [[n, name] as const] : []));
  return names.get(signal) ?? (signal >= SIGRTMIN && signal <= SIGRTMAX ? `SIGRT_${signal - SIGRTMIN}` : String(signal));
}
/** The number of 'SIGINT' or 'INT'. */
export function signalNumber(name: string): number | undefined {
  const n = (self as Record<string, unknown>)[name.startsWith('SIG') ? name : `SIG${name}`];
  return /^(SIG)?[A-Z0-9]+$/.test(name) && typeof n === 'number' && n <= SIGRTMAX && !name.endsWith('STKSZ') ? n : undefined;
}

/** The kernel's struct, which rt_sigaction passes; glibc's has another order. */
export const sigaction = struct('sigaction', { sa_handler: u64, sa_flags: u64, sa_restorer: u64, sa_mask: u64 });
export type sigaction = Of<typeof sigaction>;

export const sigaltstack = struct('sigaltstack', { ss_sp: u64, ss_flags: s32, ss_size: u64 });
export type sigaltstack = Of<typeof sigaltstack>;

export const siginfo = struct('siginfo', {
  si_signo: s32, si_errno: s32, si_code: s32, __pad: s32,
  _fields: anonymousUnion({
    _sent: anonymousStruct({ si_pid: s32, si_uid: u32, _value: anonymousUnion({ si_value: u64, si_status: s32, si_int: s32 }), si_utime: s64, si_stime: s64 }),
    _timer: anonymousStruct({ si_tid: s32, si_overrun: s32 }),
    _fault: anonymousStruct({ si_addr: u64, si_addr_lsb: s16 }),
    _poll: anonymousStruct({ si_band: s64, si_fd: s32 }),
    _sys: anonymousStruct({ si_call_addr: u64, si_syscall: s32, si_arch: u32 }),
  }, 112),
});
export type siginfo = Of<typeof siginfo>;

/** The registers as a handler finds them on its stack, and as rt_sigreturn takes them back. */
export const sigcontext = struct('sigcontext', {
  r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64,
  rdi: u64, rsi: u64, rbp: u64, rbx: u64, rdx: u64, rax: u64, rcx: u64, rsp: u64, rip: u64, eflags: u64,
  cs: u16, gs: u16, fs: u16, ss: u16, err: u64, trapno: u64, oldmask: u64, cr2: u64, fpstate: u64, reserved1: array(u64, 8),
});
export type sigcontext = Of<typeof sigcontext>;

export const ucontext = struct('ucontext', {
  uc_flags: u64, uc_link: u64, uc_stack: sigaltstack, uc_mcontext: sigcontext, uc_sigmask: u64,
});
export type ucontext = Of<typeof ucontext>;

/** What stands on the user's stack when a handler starts: the return address first. */
export const rt_sigframe = struct('rt_sigframe', { pretcode: u64, uc: ucontext, info: siginfo });
export type rt_sigframe = Of<typeof rt_sigframe>;

export const signalfd_siginfo = struct('signalfd_siginfo', {
  ssi_signo: u32, ssi_errno: s32, ssi_code: s32, ssi_pid: u32, ssi_uid: u32, ssi_fd: s32, ssi_tid: u32, ssi_band: u32,
  ssi_overrun: u32, ssi_trapno: u32, ssi_status: s32, ssi_int: s32, ssi_ptr: u64, ssi_utime: u64, ssi_stime: u64, ssi_addr: u64,
  ssi_addr_lsb: u16, __pad2: u16, ssi_syscall: s32, ssi_call_addr: u64, ssi_arch: u32, __pad: array(u8, 28),
});
export type signalfd_siginfo = Of<typeof signalfd_siginfo>;
