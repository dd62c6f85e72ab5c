/**
 * Limits, usage, and what the system says of itself: rlimit, rusage, sysinfo, utsname.
 * Linux: include/uapi/linux/resource.h, sysinfo.h, utsname.h
 */
import { type Of, array, flex, s64, struct, u16, u32, u64, u8 } from './struct.ts';
import { timeval } from './time.ts';

// Resources of getrlimit
export const RLIMIT_CPU        = 0;
export const RLIMIT_FSIZE      = 1;
export const RLIMIT_DATA       = 2;
export const RLIMIT_STACK      = 3;
export const RLIMIT_CORE       = 4;
export const RLIMIT_RSS        = 5;
export const RLIMIT_NPROC      = 6;
export const RLIMIT_NOFILE     = 7;
export const RLIMIT_MEMLOCK    = 8;
export const RLIMIT_AS         = 9;
export const RLIMIT_LOCKS      = 10;
export const RLIMIT_SIGPENDING = 11;
export const RLIMIT_MSGQUEUE   = 12;
export const RLIMIT_NICE       = 13;
export const RLIMIT_RTPRIO     = 14;
export const RLIMIT_RTTIME     = 15;

// Whose usage getrusage reports
export const RUSAGE_SELF     = 0;
export const RUSAGE_CHILDREN = -1;
export const RUSAGE_THREAD   = 1;

export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;
export const RLIM_NLIMITS = 16;

export const rlimit = struct('rlimit', { rlim_cur: u64, rlim_max: u64 });
export type rlimit = Of<typeof rlimit>;

export const rusage = struct('rusage', {
  ru_utime: timeval, ru_stime: timeval, ru_maxrss: s64, ru_ixrss: s64, ru_idrss: s64, ru_isrss: s64, ru_minflt: s64, ru_majflt: s64,
  ru_nswap: s64, ru_inblock: s64, ru_oublock: s64, ru_msgsnd: s64, ru_msgrcv: s64, ru_nsignals: s64, ru_nvcsw: s64, ru_nivcsw: s64,
});
export type rusage = Of<typeof rusage>;

export const SI_LOAD_SHIFT = 16;
export const sysinfo = struct('sysinfo', {
  uptime: s64, loads: array(u64, 3), totalram: u64, freeram: u64, sharedram: u64, bufferram: u64, totalswap: u64, freeswap: u64,
  procs: u16, pad: u16, totalhigh: u64, freehigh: u64, mem_unit: u32, _f: flex(u8),
});
export type sysinfo = Of<typeof sysinfo>;

const line = array(u8, 65);
export const utsname = struct('utsname', { sysname: line, nodename: line, release: line, version: line, machine: line, domainname: line });
export type utsname = Of<typeof utsname>;
