/**
 * Time: clocks, timespec and its relatives.
 * Linux: include/uapi/linux/time.h, time_types.h
 */
import { type Of, s32, s64, struct } from './struct.ts';

// Clocks
export const CLOCK_REALTIME           = 0;
export const CLOCK_MONOTONIC          = 1;
export const CLOCK_PROCESS_CPUTIME_ID = 2;
export const CLOCK_THREAD_CPUTIME_ID  = 3;
export const CLOCK_MONOTONIC_RAW      = 4;
export const CLOCK_REALTIME_COARSE    = 5;
export const CLOCK_MONOTONIC_COARSE   = 6;
export const CLOCK_BOOTTIME           = 7;
export const CLOCK_REALTIME_ALARM     = 8;
export const CLOCK_BOOTTIME_ALARM     = 9;
export const CLOCK_TAI                = 11;
export const TIMER_ABSTIME            = 1;
export const ITIMER_REAL              = 0;
export const ITIMER_VIRTUAL           = 1;
export const ITIMER_PROF              = 2;

// timerfd
export const TFD_CLOEXEC       = 524288;
export const TFD_NONBLOCK      = 2048;
export const TFD_TIMER_ABSTIME = 1;

export const timespec = struct('timespec', { tv_sec: s64, tv_nsec: s64 });
export type timespec = Of<typeof timespec>;

export const timeval = struct('timeval', { tv_sec: s64, tv_usec: s64 });
export type timeval = Of<typeof timeval>;

export const timezone = struct('timezone', { tz_minuteswest: s32, tz_dsttime: s32 });
export type timezone = Of<typeof timezone>;

export const itimerspec = struct('itimerspec', { it_interval: timespec, it_value: timespec });
export type itimerspec = Of<typeof itimerspec>;

export const itimerval = struct('itimerval', { it_interval: timeval, it_value: timeval });
export type itimerval = Of<typeof itimerval>;

export const tms = struct('tms', { tms_utime: s64, tms_stime: s64, tms_cutime: s64, tms_cstime: s64 });
export type tms = Of<typeof tms>;
