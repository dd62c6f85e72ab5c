/** <linux/ptrace.h>: one process watches another. The part that strace needs. */
import { type Of, anonymousStruct, anonymousUnion, array, s64, struct, u16, u32, u64, u8 } from './struct.ts';

export const PTRACE_TRACEME          = 0;
export const PTRACE_PEEKTEXT         = 1;
export const PTRACE_PEEKDATA         = 2;
export const PTRACE_POKETEXT         = 4;
export const PTRACE_POKEDATA         = 5;
export const PTRACE_CONT             = 7;
export const PTRACE_KILL             = 8;
export const PTRACE_ATTACH           = 16;
export const PTRACE_DETACH           = 17;
export const PTRACE_SYSCALL          = 24;
export const PTRACE_SETOPTIONS       = 0x4200;
export const PTRACE_GETEVENTMSG      = 0x4201;
export const PTRACE_GETSIGINFO       = 0x4202;
export const PTRACE_SEIZE            = 0x4206;
export const PTRACE_INTERRUPT        = 0x4207;
export const PTRACE_GET_SYSCALL_INFO = 0x420e;

export const PTRACE_O_TRACESYSGOOD = 1;
export const PTRACE_O_TRACEFORK    = 2;
export const PTRACE_O_TRACEVFORK   = 4;
export const PTRACE_O_TRACECLONE   = 8;
export const PTRACE_O_TRACEEXEC    = 0x10;
export const PTRACE_O_TRACEEXIT    = 0x40;
export const PTRACE_O_EXITKILL     = 0x10_0000;

/** Events stand in bits 16 and up of the wait status: status >> 8 is SIGTRAP | event << 8. */
export const PTRACE_EVENT_FORK  = 1;
export const PTRACE_EVENT_VFORK = 2;
export const PTRACE_EVENT_CLONE = 3;
export const PTRACE_EVENT_EXEC  = 4;
export const PTRACE_EVENT_EXIT  = 6;
export const PTRACE_EVENT_STOP  = 128;

export const PTRACE_SYSCALL_INFO_NONE  = 0;
export const PTRACE_SYSCALL_INFO_ENTRY = 1;
export const PTRACE_SYSCALL_INFO_EXIT  = 2;
export const AUDIT_ARCH_X86_64 = 0xc000_003e;

export const ptrace_syscall_info = struct('ptrace_syscall_info', {
  op: u8, reserved: u8, flags: u16, arch: u32, instruction_pointer: u64, stack_pointer: u64,
  _u: anonymousUnion({
    entry: struct('', { nr: u64, args: array(u64, 6) }),
    exit: struct('', { rval: s64, is_error: u8 }),
    _room: anonymousStruct({ _words: array(u64, 8) }),
  }),
});
export type ptrace_syscall_info = Of<typeof ptrace_syscall_info>;
