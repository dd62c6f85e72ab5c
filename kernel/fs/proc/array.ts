/**
 * stat, status, statm, limits, schedstat, sched and syscall of a task.
 *
 * Linux: fs/proc/array.c, kernel/sched/debug.c, Documentation/filesystems/proc.rst
 */
import { machine } from '../../current.ts';
import { VM_EXEC, VM_GROWSDOWN, VM_SHARED, VM_WRITE, type mm_struct } from '../../mm/types.ts';
import { task_state_char } from '../../sched/core.ts';
import { PF_KTHREAD, TASK_RUNNING, type sigpending, type task_struct } from '../../sched/types.ts';
import { process_times, task_runtime } from '../../sys.ts';
import { cycles_to_clock_t, cycles_to_ns } from '../../time/timekeeping.ts';
import { cpulist, cpumask, kB } from './util.ts';

const NAMES: Record<string, string> = {
  R: 'R (running)', S: 'S (sleeping)', D: 'D (disk sleep)', T: 'T (stopped)', t: 't (tracing stop)', X: 'X (dead)', Z: 'Z (zombie)', I: 'I (idle)',
};
const SIG_DFL = 0n;
const SIG_IGN = 1n;

const rss = (mm: mm_struct): number => mm.rss_anon + mm.rss_file + mm.rss_shmem;

/** Bit sets of the signals ignored and caught. */
function collect_sigign_sigcatch(task: task_struct): { ignored: bigint; caught: bigint } {
  let ignored = 0n;
  let caught = 0n;
  task.sighand.action.forEach((action, sig) => {
    if (sig === 0 || action === undefined) return;
    const bit = 1n << BigInt(sig - 1);
    if (action.sa_handler === SIG_IGN) ignored |= bit;
    else if (action.sa_handler !== SIG_DFL) caught |= bit;
  });
  return { ignored, caught };
}

const priority = (task: task_struct): number => task.prio - 100;
const nice = (task: task_struct): number => task.static_prio - 120;

function do_task_stat(task: task_struct, whole: boolean): string {
  const { mm, signal } = task;
  const times = whole ? process_times(signal) : task;
  let { min_flt, maj_flt } = task;
  if (whole) {
    min_flt = signal.min_flt;
    maj_flt = signal.maj_flt;
    for (const t of signal.threads) { min_flt += t.min_flt; maj_flt += t.maj_flt; }
  }
  const { ignored, caught } = collect_sigign_sigcatch(task);
  const low31 = (set: bigint): bigint => set & 0x7fff_ffffn;
  const stack = signal.rlim[5]?.cur ?? Number.POSITIVE_INFINITY;
  const fields: (number | bigint | string)[] = [
    task.pid, `(${task.comm})`, task_state_char(task), task.real_parent.tgid, signal.pgrp, signal.session, signal.tty?.dev ?? 0, signal.tty?.pgrp || -1,
    task.flags, min_flt, whole ? signal.cmin_flt : 0, maj_flt, whole ? signal.cmaj_flt : 0,
    cycles_to_clock_t(times.utime), cycles_to_clock_t(times.stime), cycles_to_clock_t(whole ? signal.cutime : 0), cycles_to_clock_t(whole ? signal.cstime : 0),
    priority(task), nice(task), signal.threads.length, 0, cycles_to_clock_t(task.start_time),
    mm === undefined ? 0 : mm.total_vm * 4096, mm === undefined ? 0 : rss(mm), stack === Number.POSITIVE_INFINITY ? 0xffff_ffff_ffff_ffffn : stack,
    mm?.start_code ?? 0, mm?.end_code ?? 0, mm?.start_stack ?? 0, 0, 0,
    low31(task.pending.signal), low31(task.blocked), low31(ignored), low31(caught),
    task.__state !== TASK_RUNNING && task.exit_state === 0 ? 1 : 0, 0, 0, task.exit_signal, task.cpu, task.rt_priority, task.policy, 0,
    cycles_to_clock_t(times.gtime), cycles_to_clock_t(whole ? signal.cgtime : 0),
    0, 0, mm?.start_brk ?? 0, mm?.arg_start ?? 0, mm?.arg_end ?? 0, mm?.env_start ?? 0, mm?.env_end ?? 0, task.exit_code,
  ];
  return `${fields.join(' ')}\n`;
}
export function proc_tgid_stat(task: task_struct): string { return do_task_stat(task, true); }
export function proc_tid_stat(task: task_struct): string { return do_task_stat(task, false); }

interface Sizes { data: number; stack: number; exec: number }
/** Pages by the kind of area they lie in. */
function sizes(mm: mm_struct): Sizes {
  const sum = { data: 0, stack: 0, exec: 0 };
  for (const { vm_start, vm_end, vm_flags } of mm.mmap) {
    const pages = (vm_end - vm_start) / 4096;
    if ((vm_flags & VM_GROWSDOWN) !== 0) sum.stack += pages;
    else if ((vm_flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) sum.data += pages;
    else if ((vm_flags & (VM_EXEC | VM_WRITE)) === VM_EXEC) sum.exec += pages;
  }
  return sum;
}

function task_mem(mm: mm_struct): string {
  const { data, stack, exec } = sizes(mm);
  const text = Math.min(exec, Math.ceil((mm.end_code - mm.start_code) / 4096));
  const rows: [string, string][] = [
    ['VmPeak', kB(mm.total_vm)], ['VmSize', kB(mm.total_vm)], ['VmLck', kB(mm.locked_vm)], ['VmPin', kB(0)],
    ['VmHWM', kB(Math.max(rss(mm), mm.hiwater_rss))], ['VmRSS', kB(rss(mm))],
    ['RssAnon', kB(mm.rss_anon)], ['RssFile', kB(mm.rss_file)], ['RssShmem', kB(mm.rss_shmem)],
    ['VmData', kB(data)], ['VmStk', kB(stack)], ['VmExe', kB(text)], ['VmLib', kB(exec - text)], ['VmPTE', kB(mm.pgtables)], ['VmSwap', kB(0)],
    ['HugetlbPages', kB(0)],
  ];
  return `${rows.map(([name, value]) => `${name}:\t${value} kB\n`).join('')}CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n`;
}

const sigset = (set: bigint): string => set.toString(16).padStart(16, '0');
const CAP_FULL = '000001ffffffffff';

export function proc_pid_status(task: task_struct): string {
  const { mm, signal, files } = task;
  const slots = files === undefined ? 0 : Math.max(64, 2 ** Math.ceil(Math.log2(Math.max(1, files.fd.length))));
  const { ignored, caught } = collect_sigign_sigcatch(task);
  const queued = (p: sigpending): number => p.list.length;
  const sigq = queued(task.pending) + queued(signal.shared_pending);
  const ids = '0\t0\t0\t0';
  const zombie = task.exit_state !== 0;
  const n = machine().processors.length;
  return [
    `Name:\t${task.comm.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`,
    task.fs === undefined ? '' : `Umask:\t${task.fs.umask.toString(8).padStart(4, '0')}\n`,
    `State:\t${NAMES[task_state_char(task)]!}\n`,
    `Tgid:\t${task.tgid}\nNgid:\t0\nPid:\t${task.pid}\nPPid:\t${task.real_parent.tgid}\nTracerPid:\t${task.parent === task.real_parent ? 0 : task.parent.tgid}\n`,
    `Uid:\t${ids}\nGid:\t${ids}\nFDSize:\t${slots}\nGroups:\t \n`,
    `NStgid:\t${task.tgid}\nNSpid:\t${task.pid}\nNSpgid:\t${signal.pgrp}\nNSsid:\t${signal.session}\nKthread:\t${(task.flags & PF_KTHREAD) !== 0 ? 1 : 0}\n`,
    mm === undefined || zombie ? '' : task_mem(mm),
    `Threads:\t${signal.threads.length}\nSigQ:\t${sigq}/${signal.rlim[11]?.cur ?? 0}\n`,
    `SigPnd:\t${sigset(task.pending.signal)}\nShdPnd:\t${sigset(signal.shared_pending.signal)}\nSigBlk:\t${sigset(task.blocked)}\n`,
    `SigIgn:\t${sigset(ignored)}\nSigCgt:\t${sigset(caught)}\n`,
    `CapInh:\t0000000000000000\nCapPrm:\t${CAP_FULL}\nCapEff:\t${CAP_FULL}\nCapBnd:\t${CAP_FULL}\nCapAmb:\t0000000000000000\n`,
    'NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\nSpeculation_Store_Bypass:\tnot vulnerable\nSpeculationIndirectBranch:\tunknown\n',
    `Cpus_allowed:\t${cpumask(task.cpus_mask)}\nCpus_allowed_list:\t${cpulist(task.cpus_mask & (2 ** n - 1))}\nMems_allowed:\t1\nMems_allowed_list:\t0\n`,
    `voluntary_ctxt_switches:\t${task.nvcsw}\nnonvoluntary_ctxt_switches:\t${task.nivcsw}\n`,
  ].join('');
}

export function proc_pid_statm({ mm }: task_struct): string {
  if (mm === undefined) return '0 0 0 0 0 0 0\n';
  const { data, stack } = sizes(mm);
  return `${mm.total_vm} ${rss(mm)} ${mm.rss_file + mm.rss_shmem} ${Math.ceil((mm.end_code - mm.start_code) / 4096)} 0 ${data + stack} 0\n`;
}

const LIMITS: readonly [name: string, resource: number, unit: string][] = [
  ['Max cpu time', 0, 'seconds'], ['Max file size', 1, 'bytes'], ['Max data size', 2, 'bytes'], ['Max stack size', 3, 'bytes'], ['Max core file size', 4, 'bytes'],
  ['Max resident set', 5, 'bytes'], ['Max processes', 6, 'processes'], ['Max open files', 7, 'files'], ['Max locked memory', 8, 'bytes'], ['Max address space', 9, 'bytes'],
  ['Max file locks', 10, 'locks'], ['Max pending signals', 11, 'signals'], ['Max msgqueue size', 12, 'bytes'], ['Max nice priority', 13, ''],
  ['Max realtime priority', 14, ''], ['Max realtime timeout', 15, 'us'],
];

export function proc_pid_limits(task: task_struct): string {
  const show = (n: number): string => (n === Number.POSITIVE_INFINITY ? 'unlimited' : String(n)).padEnd(20);
  let text = `${'Limit'.padEnd(25)} ${'Soft Limit'.padEnd(20)} ${'Hard Limit'.padEnd(20)} ${'Units'.padEnd(10)}\n`;
  for (const [name, resource, unit] of LIMITS) {
    const { cur, max } = task.signal.rlim[resource]!;
    text += `${name.padEnd(25)} ${show(cur)} ${show(max)} ${unit === '' ? '' : unit.padEnd(10)}\n`;
  }
  return text;
}

/** Nanoseconds run, nanoseconds waited for a processor, slices. */
export function proc_pid_schedstat(task: task_struct): string {
  return `${Math.round(cycles_to_ns(task_runtime(task)))} ${Math.round(cycles_to_ns(task.run_delay))} ${task.pcount}\n`;
}

export function proc_pid_sched(task: task_struct): string {
  const milliseconds = (cycles: number): string => (cycles_to_ns(cycles) / 1e6).toFixed(6);
  const { se } = task;
  const rows: [string, string | number][] = [
    ['se.exec_start', milliseconds(se.exec_start)], ['se.vruntime', milliseconds(se.vruntime)], ['se.sum_exec_runtime', milliseconds(task_runtime(task))],
    ['se.nr_migrations', se.nr_migrations], ['nr_switches', task.nvcsw + task.nivcsw], ['nr_voluntary_switches', task.nvcsw],
    ['nr_involuntary_switches', task.nivcsw], ['se.load.weight', se.weight * 1024], ['policy', task.policy], ['prio', task.prio],
    ['se.slice', Math.round(cycles_to_ns(se.slice))],
  ];
  const head = `${task.comm} (${task.pid}, #threads: ${task.signal.threads.length})\n`;
  return `${head}${'-'.repeat(67)}\n${rows.map(([name, value]) => `${name.padEnd(45)}:${String(value).padStart(21)}\n`).join('')}`;
}

export function proc_pid_syscall(task: task_struct): string {
  const { user } = task;
  if (task.on_cpu || user === undefined) return 'running\n';
  if (task.syscall_nr < 0) return '-1 0x0 0x0\n';
  const args = [user.a0, user.a1, user.a2, user.a3, user.a4, user.a5].map((a) => `0x${BigInt.asUintN(64, BigInt(a)).toString(16)}`);
  return `${task.syscall_nr} ${args.join(' ')} 0x0 0x0\n`;
}
