/**
 * The system calls this kernel answers, as data: number, name, and what each argument is. One row a call.
 *
 * The kernel binds a handler to each row (kernel/syscall-table.ts) and strace prints calls from it, so what strace
 * shows is what the kernel was asked. Argument kinds say how a value is to be read, not how it is checked.
 * Linux: arch/x86/entry/syscalls/syscall_64.tbl, include/linux/syscalls.h
 */
import * as F from './fcntl.ts';
import * as M from './mman.ts';
import * as MNT from './mount.ts';
import * as P from './poll.ts';
import * as E from './eventfd.ts';
import * as R from './resource.ts';
import * as PR from './prctl.ts';
import * as S from './sched.ts';
import * as SIG from './signal.ts';
import * as T from './time.ts';
import * as W from './wait.ts';
import * as PT from './ptrace.ts';
import type { Field } from './struct.ts';

/** A struct of any shape: strace copies it in and prints it with `plain`. */
export type AnyStruct = Field<unknown>;

/** What one argument is. `len` names the argument that holds a buffer's length; 'ret' says the result does. */
export type ArgKind =
  | { readonly kind: 'int' | 'uint' | 'long' | 'size' | 'hex' | 'ptr' | 'mode' | 'fd' | 'dirfd' | 'pid' | 'signal' | 'path' | 'string' | 'argv' | 'envp' | 'command' | 'argument' | 'sigset' | 'status' | 'clone' | 'device' }
  | { readonly kind: 'flags'; readonly names: Names; readonly zero?: string }
  | { readonly kind: 'enum'; readonly names: Names }
  | { readonly kind: 'in' | 'out'; readonly of: AnyStruct }
  | { readonly kind: 'inBuf'; readonly len: number }
  | { readonly kind: 'outBuf'; readonly len: number | 'ret' }
  | { readonly kind: 'outInts'; readonly count: number }
  | { readonly kind: 'pollfds' | 'iovecIn' | 'iovecOut'; readonly count: number }
  | { readonly kind: 'outString' };

/** Names of values or bits, by number. */
export type Names = ReadonlyMap<number, string>;
/** How the result reads: hex for addresses. */
export type ReturnKind = 'int' | 'ptr';

export interface Signature {
  readonly nr: number;
  readonly name: string;
  readonly args: readonly ArgKind[];
  readonly returns: ReturnKind;
}

const plain = <K extends 'int' | 'uint' | 'long' | 'size' | 'hex' | 'ptr' | 'mode' | 'fd' | 'dirfd' | 'pid' | 'signal' | 'path' | 'string' | 'argv' | 'envp' | 'command' | 'argument' | 'sigset' | 'status' | 'clone' | 'device'>(kind: K) => ({ kind });
const int = plain('int'), uint = plain('uint'), long = plain('long'), size = plain('size'), hex = plain('hex'), ptr = plain('ptr'), mode = plain('mode'), fd = plain('fd'), dirfd = plain('dirfd');
const pid = plain('pid'), signal = plain('signal'), path = plain('path'), string = plain('string'), argv = plain('argv'), envp = plain('envp'), command = plain('command'), argument = plain('argument');
const sigset = plain('sigset'), status = plain('status'), clone = plain('clone'), device = plain('device');
const inBuf = (len: number): ArgKind => ({ kind: 'inBuf', len });
const outBuf = (len: number | 'ret'): ArgKind => ({ kind: 'outBuf', len });
const into = (of: unknown): ArgKind => ({ kind: 'in', of: of as AnyStruct });
const out = (of: unknown): ArgKind => ({ kind: 'out', of: of as AnyStruct });

/** Numbers by a common prefix of their names, as declared: the first name of a number wins. */
function names(module: object, prefix: RegExp): Names {
  const map = new Map<number, string>();
  for (const [name, value] of Object.entries(module)) if (typeof value === 'number' && prefix.test(name) && !map.has(value)) map.set(value, name);
  return map;
}
const flags = (module: object, prefix: RegExp, zero?: string): ArgKind => ({ kind: 'flags', names: names(module, prefix), ...(zero === undefined ? {} : { zero }) });
const choice = (module: object, prefix: RegExp): ArgKind => ({ kind: 'enum', names: names(module, prefix) });

const openFlags = flags(F, /^O_(?!ACCMODE|TMPFILE|LARGEFILE)/, 'O_RDONLY');
const atFlags = flags(F, /^AT_(?!FDCWD|EACCESS)/);
const accessMode = flags(F, /^[RWX]_OK$/, 'F_OK');
const whence = choice(F, /^SEEK_/);
const prot = flags(M, /^PROT_/, 'PROT_NONE');
const mapFlags = flags(M, /^MAP_(?!TYPE|FAILED)/);
const clock = choice(T, /^CLOCK_/);
const waitOptions = flags(W, /^(WNOHANG|WUNTRACED|WCONTINUED|WEXITED|WNOWAIT)$/);
const how = choice(SIG, /^SIG_(BLOCK|UNBLOCK|SETMASK)$/);
const resource = choice(R, /^RLIMIT_/);

const sys = (nr: number, name: string, args: readonly ArgKind[], returns: ReturnKind = 'int'): Signature => ({ nr, name, args, returns });

export const syscall_signatures: readonly Signature[] = [
  sys(0,   'read',                   [fd, outBuf('ret'), size]),
  sys(1,   'write',                  [fd, inBuf(2), size]),
  sys(2,   'open',                   [path, openFlags, mode]),
  sys(3,   'close',                  [fd]),
  sys(4,   'stat',                   [path, out(F.stat)]),
  sys(5,   'fstat',                  [fd, out(F.stat)]),
  sys(6,   'lstat',                  [path, out(F.stat)]),
  sys(7,   'poll',                   [{ kind: 'pollfds', count: 1 }, uint, int]),
  sys(8,   'lseek',                  [fd, long, whence]),
  sys(9,   'mmap',                   [ptr, size, prot, mapFlags, fd, hex], 'ptr'),
  sys(10,  'mprotect',               [ptr, size, prot]),
  sys(11,  'munmap',                 [ptr, size]),
  sys(12,  'brk',                    [ptr], 'ptr'),
  sys(13,  'rt_sigaction',           [signal, into(SIG.sigaction), out(SIG.sigaction), size]),
  sys(14,  'rt_sigprocmask',         [how, sigset, sigset, size]),
  sys(15,  'rt_sigreturn',           []),
  sys(16,  'ioctl',                  [fd, command, argument]),
  sys(17,  'pread64',                [fd, outBuf('ret'), size, long]),
  sys(18,  'pwrite64',               [fd, inBuf(2), size, long]),
  sys(19,  'readv',                  [fd, { kind: 'iovecOut', count: 2 }, int]),
  sys(20,  'writev',                 [fd, { kind: 'iovecIn', count: 2 }, int]),
  sys(21,  'access',                 [path, accessMode]),
  sys(22,  'pipe',                   [{ kind: 'outInts', count: 2 }]),
  sys(23,  'select',                 [int, ptr, ptr, ptr, into(T.timeval)]),
  sys(24,  'sched_yield',            []),
  sys(25,  'mremap',                 [ptr, size, size, flags(M, /^MREMAP_/), ptr], 'ptr'),
  sys(26,  'msync',                  [ptr, size, flags(M, /^MS_/)]),
  sys(27,  'mincore',                [ptr, size, ptr]),
  sys(28,  'madvise',                [ptr, size, choice(M, /^MADV_/)]),
  sys(32,  'dup',                    [fd]),
  sys(33,  'dup2',                   [fd, fd]),
  sys(34,  'pause',                  []),
  sys(35,  'nanosleep',              [into(T.timespec), out(T.timespec)]),
  sys(36,  'getitimer',              [choice(T, /^ITIMER_/), out(T.itimerval)]),
  sys(37,  'alarm',                  [uint]),
  sys(38,  'setitimer',              [choice(T, /^ITIMER_/), into(T.itimerval), out(T.itimerval)]),
  sys(39,  'getpid',                 []),
  sys(40,  'sendfile',               [fd, fd, ptr, size]),
  sys(56,  'clone',                  [clone, ptr, ptr, ptr, ptr]),
  sys(57,  'fork',                   []),
  sys(58,  'vfork',                  []),
  sys(59,  'execve',                 [path, argv, envp]),
  sys(60,  'exit',                   [int]),
  sys(61,  'wait4',                  [pid, status, waitOptions, out(R.rusage)]),
  sys(62,  'kill',                   [pid, signal]),
  sys(63,  'uname',                  [out(R.utsname)]),
  sys(72,  'fcntl',                  [fd, choice(F, /^F_(DUPFD|[GS]ETFD|[GS]ETFL|[GS]ETLKW?|[GS]ETOWN|DUPFD_CLOEXEC|[GS]ETPIPE_SZ)$/), long]),
  sys(73,  'flock',                  [fd, flags(F, /^LOCK_/)]),
  sys(74,  'fsync',                  [fd]),
  sys(75,  'fdatasync',              [fd]),
  sys(76,  'truncate',               [path, long]),
  sys(77,  'ftruncate',              [fd, long]),
  sys(79,  'getcwd',                 [{ kind: 'outString' }, size]),
  sys(80,  'chdir',                  [path]),
  sys(81,  'fchdir',                 [fd]),
  sys(82,  'rename',                 [path, path]),
  sys(83,  'mkdir',                  [path, mode]),
  sys(84,  'rmdir',                  [path]),
  sys(85,  'creat',                  [path, mode]),
  sys(86,  'link',                   [path, path]),
  sys(87,  'unlink',                 [path]),
  sys(88,  'symlink',                [string, path]),
  sys(89,  'readlink',               [path, outBuf('ret'), size]),
  sys(90,  'chmod',                  [path, mode]),
  sys(91,  'fchmod',                 [fd, mode]),
  sys(92,  'chown',                  [path, int, int]),
  sys(93,  'fchown',                 [fd, int, int]),
  sys(94,  'lchown',                 [path, int, int]),
  sys(95,  'umask',                  [mode]),
  sys(96,  'gettimeofday',           [out(T.timeval), out(T.timezone)]),
  sys(97,  'getrlimit',              [resource, out(R.rlimit)]),
  sys(98,  'getrusage',              [choice(R, /^RUSAGE_/), out(R.rusage)]),
  sys(99,  'sysinfo',                [out(R.sysinfo)]),
  sys(100, 'times',                  [out(T.tms)]),
  sys(101, 'ptrace',                 [choice(PT, /^PTRACE_(?!O_|EVENT_|SYSCALL_INFO)/), pid, ptr, ptr]),
  sys(102, 'getuid',                 []),
  sys(103, 'syslog',                 [int, outBuf('ret'), int]),
  sys(104, 'getgid',                 []),
  sys(105, 'setuid',                 [int]),
  sys(106, 'setgid',                 [int]),
  sys(107, 'geteuid',                []),
  sys(108, 'getegid',                []),
  sys(109, 'setpgid',                [pid, pid]),
  sys(110, 'getppid',                []),
  sys(111, 'getpgrp',                []),
  sys(112, 'setsid',                 []),
  sys(115, 'getgroups',              [int, ptr]),
  sys(121, 'getpgid',                [pid]),
  sys(124, 'getsid',                 [pid]),
  sys(127, 'rt_sigpending',          [sigset, size]),
  sys(128, 'rt_sigtimedwait',        [sigset, out(SIG.siginfo), into(T.timespec), size]),
  sys(130, 'rt_sigsuspend',          [sigset, size]),
  sys(131, 'sigaltstack',            [into(SIG.sigaltstack), out(SIG.sigaltstack)]),
  sys(132, 'utime',                 [path, ptr]),
  sys(133, 'mknod',                  [path, mode, device]),
  sys(135, 'personality',            [hex]),
  sys(137, 'statfs',                 [path, ptr]),
  sys(138, 'fstatfs',                [fd, ptr]),
  sys(140, 'getpriority',            [choice(S, /^PRIO_/), pid]),
  sys(141, 'setpriority',            [choice(S, /^PRIO_/), pid, int]),
  sys(142, 'sched_setparam',         [pid, into(S.sched_param)]),
  sys(143, 'sched_getparam',         [pid, out(S.sched_param)]),
  sys(144, 'sched_setscheduler',     [pid, choice(S, /^SCHED_(?!NORMAL|RESET)/), into(S.sched_param)]),
  sys(145, 'sched_getscheduler',     [pid]),
  sys(146, 'sched_get_priority_max', [choice(S, /^SCHED_(?!NORMAL|RESET)/)]),
  sys(147, 'sched_get_priority_min', [choice(S, /^SCHED_(?!NORMAL|RESET)/)]),
  sys(148, 'sched_rr_get_interval',  [pid, out(T.timespec)]),
  sys(149, 'mlock',                  [ptr, size]),
  sys(150, 'munlock',                [ptr, size]),
  sys(157, 'prctl',                  [choice(PR, /^PR_/), ptr, ptr, ptr, ptr]),
  sys(158, 'arch_prctl',             [choice(PR, /^ARCH_/), ptr]),
  sys(160, 'setrlimit',              [resource, into(R.rlimit)]),
  sys(161, 'chroot',                 [path]),
  sys(162, 'sync',                   []),
  sys(165, 'mount',                  [string, path, string, flags(MNT, /^MS_/), string]),
  sys(166, 'umount2',                [path, flags(MNT, /^(MNT_|UMOUNT_)/)]),
  sys(169, 'reboot',                 [hex, hex, choice(PR, /^LINUX_REBOOT_CMD_/), ptr]),
  sys(170, 'sethostname',            [inBuf(1), size]),
  sys(175, 'init_module',            [ptr, size, string]),
  sys(176, 'delete_module',          [string, flags(F, /^O_(NONBLOCK|TRUNC)$/)]),
  sys(186, 'gettid',                 []),
  sys(200, 'tkill',                  [pid, signal]),
  sys(201, 'time',                   [ptr]),
  sys(202, 'futex',                  [ptr, { kind: 'enum', names: futexOps() }, uint, ptr, ptr, uint]),
  sys(203, 'sched_setaffinity',      [pid, size, inBuf(1)]),
  sys(204, 'sched_getaffinity',      [pid, size, outBuf('ret')]),
  sys(213, 'epoll_create',           [int]),
  sys(217, 'getdents64',             [fd, ptr, size]),
  sys(218, 'set_tid_address',        [ptr]),
  sys(219, 'restart_syscall',        []),
  sys(221, 'fadvise64',             [fd, long, long, int]),
  sys(228, 'clock_gettime',          [clock, out(T.timespec)]),
  sys(227, 'clock_settime',          [clock, into(T.timespec)]),
  sys(229, 'clock_getres',           [clock, out(T.timespec)]),
  sys(230, 'clock_nanosleep',        [clock, flags(T, /^TIMER_ABSTIME$/), into(T.timespec), out(T.timespec)]),
  sys(231, 'exit_group',             [int]),
  sys(232, 'epoll_wait',             [fd, ptr, int, int]),
  sys(233, 'epoll_ctl',              [fd, choice(P, /^EPOLL_CTL_/), fd, ptr]),
  sys(234, 'tgkill',                 [pid, pid, signal]),
  sys(235, 'utimes',                [path, ptr]),
  sys(247, 'waitid',                 [choice(W, /^P_/), pid, out(SIG.siginfo), waitOptions, out(R.rusage)]),
  sys(257, 'openat',                 [dirfd, path, openFlags, mode]),
  sys(258, 'mkdirat',                [dirfd, path, mode]),
  sys(259, 'mknodat',                [dirfd, path, mode, device]),
  sys(260, 'fchownat',               [dirfd, path, int, int, atFlags]),
  sys(261, 'futimesat',             [dirfd, path, ptr]),
  sys(262, 'newfstatat',             [dirfd, path, out(F.stat), atFlags]),
  sys(263, 'unlinkat',               [dirfd, path, flags(F, /^AT_REMOVEDIR$/)]),
  sys(264, 'renameat',               [dirfd, path, dirfd, path]),
  sys(265, 'linkat',                 [dirfd, path, dirfd, path, atFlags]),
  sys(266, 'symlinkat',              [string, dirfd, path]),
  sys(267, 'readlinkat',             [dirfd, path, outBuf('ret'), size]),
  sys(268, 'fchmodat',               [dirfd, path, mode]),
  sys(269, 'faccessat',              [dirfd, path, accessMode]),
  sys(270, 'pselect6',               [int, ptr, ptr, ptr, into(T.timespec), ptr]),
  sys(271, 'ppoll',                  [{ kind: 'pollfds', count: 1 }, uint, into(T.timespec), sigset, size]),
  sys(280, 'utimensat',             [dirfd, path, ptr, atFlags]),
  sys(273, 'set_robust_list',        [ptr, size]),
  sys(281, 'epoll_pwait',            [fd, ptr, int, int, sigset, size]),
  sys(282, 'signalfd',               [fd, sigset, size]),
  sys(283, 'timerfd_create',         [clock, flags(T, /^TFD_(CLOEXEC|NONBLOCK)$/)]),
  sys(284, 'eventfd',                [uint]),
  sys(285, 'fallocate',             [fd, hex, long, long]),
  sys(286, 'timerfd_settime',        [fd, flags(T, /^TFD_TIMER_ABSTIME$/), into(T.itimerspec), out(T.itimerspec)]),
  sys(287, 'timerfd_gettime',        [fd, out(T.itimerspec)]),
  sys(289, 'signalfd4',              [fd, sigset, size, flags(SIG, /^SFD_/)]),
  sys(290, 'eventfd2',               [uint, flags(E, /^EFD_/)]),
  sys(291, 'epoll_create1',          [flags(P, /^EPOLL_CLOEXEC$/)]),
  sys(292, 'dup3',                   [fd, fd, flags(F, /^O_CLOEXEC$/)]),
  sys(293, 'pipe2',                  [{ kind: 'outInts', count: 2 }, openFlags]),
  sys(295, 'preadv',                 [fd, { kind: 'iovecOut', count: 2 }, int, long]),
  sys(296, 'pwritev',                [fd, { kind: 'iovecIn', count: 2 }, int, long]),
  sys(302, 'prlimit64',              [pid, resource, into(R.rlimit), out(R.rlimit)]),
  sys(306, 'syncfs',                [fd]),
  sys(309, 'getcpu',                 [ptr, ptr]),
  sys(310, 'process_vm_readv',       [pid, ptr, uint, ptr, uint, uint]),
  sys(311, 'process_vm_writev',      [pid, ptr, uint, ptr, uint, uint]),
  sys(313, 'finit_module',           [fd, string, uint]),
  sys(314, 'sched_setattr',          [pid, into(S.sched_attr), uint]),
  sys(315, 'sched_getattr',          [pid, out(S.sched_attr), uint, uint]),
  sys(316, 'renameat2',              [dirfd, path, dirfd, path, flags(F, /^RENAME_/)]),
  sys(318, 'getrandom',              [outBuf('ret'), size, flags(F, /^GRND_/)]),
  sys(319, 'memfd_create',          [string, flags(F, /^MFD_(CLOEXEC|ALLOW_SEALING)$/)]),
  sys(326, 'copy_file_range',       [fd, ptr, fd, ptr, size, uint]),
  sys(332, 'statx',                  [dirfd, path, atFlags, hex, out(F.statx)]),
  sys(435, 'clone3',                 [ptr, size]),
  sys(436, 'close_range',            [uint, uint, uint]),
  sys(439, 'faccessat2',             [dirfd, path, accessMode, atFlags]),
  sys(441, 'epoll_pwait2',           [fd, ptr, int, into(T.timespec), sigset, size]),
];

function futexOps(): Names {
  const all = new Map<number, string>();
  for (const [op, name] of names(S, /^FUTEX_(WAIT|WAKE|REQUEUE|CMP_REQUEUE|WAKE_OP|WAIT_BITSET|WAKE_BITSET)$/)) {
    all.set(op, name);
    all.set(op | S.FUTEX_PRIVATE_FLAG, `${name}_PRIVATE`);
  }
  return all;
}

const byNumber = new Map(syscall_signatures.map((s) => [s.nr, s]));
export const syscallSignature = (nr: number): Signature | undefined => byNumber.get(nr);
