/**
 * Scheduling, clone and futex.
 * Linux: include/uapi/linux/sched.h, sched/types.h, futex.h
 */
import { type Of, s32, struct, u32, u64 } from './struct.ts';

// Scheduling policies
export const SCHED_NORMAL        = 0;
export const SCHED_FIFO          = 1;
export const SCHED_RR            = 2;
export const SCHED_BATCH         = 3;
export const SCHED_IDLE          = 5;
export const SCHED_DEADLINE      = 6;
export const SCHED_RESET_ON_FORK = 1073741824;

// Flags of clone
export const CSIGNAL              = 0xff;
export const CLONE_VM             = 0x100;
export const CLONE_FS             = 0x200;
export const CLONE_FILES          = 0x400;
export const CLONE_SIGHAND        = 0x800;
export const CLONE_PIDFD          = 0x1000;
export const CLONE_PTRACE         = 0x2000;
export const CLONE_VFORK          = 0x4000;
export const CLONE_PARENT         = 0x8000;
export const CLONE_THREAD         = 0x10000;
export const CLONE_NEWNS          = 0x20000;
export const CLONE_SYSVSEM        = 0x40000;
export const CLONE_SETTLS         = 0x80000;
export const CLONE_PARENT_SETTID  = 0x100000;
export const CLONE_CHILD_CLEARTID = 0x200000;
export const CLONE_DETACHED       = 0x400000;
export const CLONE_UNTRACED       = 0x800000;
export const CLONE_CHILD_SETTID   = 0x1000000;
export const CLONE_NEWCGROUP      = 0x2000000;
export const CLONE_NEWUTS         = 0x4000000;
export const CLONE_NEWIPC         = 0x8000000;
export const CLONE_NEWUSER        = 0x10000000;
export const CLONE_NEWPID         = 0x20000000;
export const CLONE_NEWNET         = 0x40000000;
export const CLONE_IO             = 0x80000000;

// Whom getpriority and setpriority mean
export const PRIO_PROCESS = 0;
export const PRIO_PGRP    = 1;
export const PRIO_USER    = 2;

// futex
export const FUTEX_WAIT           = 0;
export const FUTEX_WAKE           = 1;
export const FUTEX_REQUEUE        = 3;
export const FUTEX_CMP_REQUEUE    = 4;
export const FUTEX_WAKE_OP        = 5;
export const FUTEX_WAIT_BITSET    = 9;
export const FUTEX_WAKE_BITSET    = 10;
export const FUTEX_PRIVATE_FLAG   = 128;
export const FUTEX_CLOCK_REALTIME = 256;

export const SCHED_OTHER = SCHED_NORMAL;
export const FUTEX_TID_MASK = 0x3fffffff;

export const sched_param = struct('sched_param', { sched_priority: s32 });
export type sched_param = Of<typeof sched_param>;

export const sched_attr = struct('sched_attr', {
  size: u32, sched_policy: u32, sched_flags: u64, sched_nice: s32, sched_priority: u32,
  sched_runtime: u64, sched_deadline: u64, sched_period: u64, sched_util_min: u32, sched_util_max: u32,
});
export type sched_attr = Of<typeof sched_attr>;

export const clone_args = struct('clone_args', {
  flags: u64, pidfd: u64, child_tid: u64, parent_tid: u64, exit_signal: u64, stack: u64, stack_size: u64, tls: u64,
  set_tid: u64, set_tid_size: u64, cgroup: u64,
});
export type clone_args = Of<typeof clone_args>;

export const robust_list_head = struct('robust_list_head', { list: u64, futex_offset: u64, list_op_pending: u64 });
export type robust_list_head = Of<typeof robust_list_head>;
