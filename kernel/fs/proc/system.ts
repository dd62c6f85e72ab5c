/**
 * The files of proc that tell of the whole system.
 *
 * Linux: fs/proc/{meminfo,stat,uptime,loadavg,version,cpuinfo,interrupts,devices,cmdline}.c, kernel/sched/stats.c
 */
import { COM1_PORT, PM1A_CNT_PORT } from '../../../machine/board.ts';
import { show_devices } from '../../drivers/chrdev.ts';
import { show_misc } from '../../drivers/char/misc.ts';
import { kernel_context, machine } from '../../current.ts';
import { interrupt_rows } from '../../irq.ts';
import { nr_free_pages, totalram_pages, zone } from '../../mm/page-alloc.ts';
import type { mm_struct } from '../../mm/types.ts';
import { pid_state, pid_tasks } from '../../pid.ts';
import { runqueues } from '../../sched/core.ts';
import { module_rows } from '../../module.ts';
import { kcpustat } from '../../sched/cputime.ts';
import { calc_load, nr_running } from '../../sched/loadavg.ts';
import { cycles_to_clock_t, cycles_to_ns, jiffies, ktime_get_ns } from '../../time/timekeeping.ts';
import { LINUX_BANNER } from '../../version.ts';
import { file_pages } from '../filemap.ts';
import { namespaceState } from '../namespace.ts';
import { cpuinfo } from './cpuinfo.ts';
import { proc_create_single } from './root.ts';

const row = (name: string, pages: number): string => `${`${name}:`.padEnd(16)}${String(pages * 4).padStart(8)} kB\n`;

function meminfo(): string {
  const total = totalram_pages();
  const free = nr_free_pages();
  const cached = file_pages().count;
  const spaces = new Set<mm_struct>();
  for (const task of pid_tasks()) if (task.mm !== undefined) spaces.add(task.mm);
  let anon = 0, mapped = 0, tables = 0, committed = 0, locked = 0;
  for (const mm of spaces) {
    anon += mm.rss_anon;
    mapped += mm.rss_file + mm.rss_shmem;
    tables += mm.pgtables;
    committed += mm.total_vm;
    locked += mm.locked_vm;
  }
  // What the page cache holds exists nowhere else, so none of it could be given back.
  const rows: [string, number][] = [
    ['MemTotal', total], ['MemFree', free], ['MemAvailable', free], ['Buffers', 0], ['Cached', cached], ['SwapCached', 0],
    ['Active', anon], ['Inactive', 0], ['Active(anon)', anon], ['Inactive(anon)', 0], ['Active(file)', 0], ['Inactive(file)', 0],
    ['Unevictable', cached], ['Mlocked', locked], ['SwapTotal', 0], ['SwapFree', 0], ['Zswap', 0], ['Zswapped', 0], ['Dirty', 0], ['Writeback', 0],
    ['AnonPages', anon], ['Mapped', mapped], ['Shmem', 0], ['KReclaimable', 0], ['Slab', 0], ['SReclaimable', 0], ['SUnreclaim', 0], ['KernelStack', 0],
    ['PageTables', tables], ['SecPageTables', 0], ['NFS_Unstable', 0], ['Bounce', 0], ['WritebackTmp', 0], ['CommitLimit', Math.floor(total / 2)], ['Committed_AS', committed],
  ];
  return rows.map(([name, pages]) => row(name, pages)).join('')
    + 'VmallocTotal:   34359738367 kB\nVmallocUsed:           0 kB\nVmallocChunk:          0 kB\nPercpu:                0 kB\n'
    + 'HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n'
    + row('DirectMap4k', 0) + row('DirectMap2M', total);
}

/** user nice system idle iowait irq softirq steal guest guest_nice, in clock ticks. */
function cpuTicks(id: number): number[] {
  const s = kcpustat()[id]!;
  // the clock of a halted processor stands still until something wakes it
  const clock = Math.max(machine().processors[id]!.clock, machine().now());
  const idle = Math.max(0, clock - s.user - s.nice - s.system);
  return [s.user, s.nice, s.system, idle, 0, 0, 0, 0, s.guest, s.guest_nice].map(cycles_to_clock_t);
}

function stat(): string {
  const cpus = machine().processors.map((_, id) => cpuTicks(id));
  const sum = cpus[0]!.map((_, i) => cpus.reduce((total, ticks) => total + ticks[i]!, 0));
  const lines = interrupt_rows().filter((r) => /^\d+$/.test(r.label));
  const counts = new Array<number>(24).fill(0);
  for (const r of lines) counts[Number(r.label)] = r.counts.reduce((a, b) => a + b, 0);
  const all = interrupt_rows().reduce((total, r) => total + r.counts.reduce((a, b) => a + b, 0), 0);
  return `cpu  ${sum.join(' ')}\n${cpus.map((ticks, id) => `cpu${id} ${ticks.join(' ')}\n`).join('')}`
    + `intr ${all} ${counts.join(' ')}\nctxt ${runqueues().reduce((n, rq) => n + rq.nr_switches, 0)}\n`
    + `btime ${machine().platform.startDate / 1_000_000_000n}\nprocesses ${pid_state().total_forks}\nprocs_running ${Math.max(1, nr_running())}\nprocs_blocked 0\n`
    + `softirq ${new Array<number>(11).fill(0).join(' ')}\n`;
}

const hundredths = (ns: number): string => (Math.floor(ns / 1e7) / 100).toFixed(2);

function uptime(): string {
  const idle = machine().processors.reduce((total, _, id) => total + cpuTicks(id)[3]!, 0);
  return `${hundredths(ktime_get_ns())} ${(idle / 100).toFixed(2)}\n`;
}

function loadavg(): string {
  const averages = calc_load().map((average) => (Math.round(average * 100) / 100).toFixed(2));
  const tasks = pid_tasks();
  return `${averages.join(' ')} ${Math.max(1, nr_running())}/${tasks.length} ${pid_state().last}\n`;
}

/** Order of the rows that are no device's. */
const NAMED = ['NMI', 'LOC', 'SPU', 'RES', 'CAL'];

function interrupts(): string {
  const count = (n: number): string => `${String(n).padStart(10)} `;
  const head = `${' '.repeat(11)}${machine().processors.map((_, id) => `CPU${String(id).padEnd(8)}`).join('')}\n`;
  const place = (label: string): number => (NAMED.includes(label) ? NAMED.indexOf(label) : NAMED.length);
  const rows = interrupt_rows();
  const lines = rows.filter((r) => /^\d+$/.test(r.label));
  const named = rows.filter((r) => !/^\d+$/.test(r.label)).sort((a, b) => place(a.label) - place(b.label));
  return head + [...lines, ...named].map((r) => {
    const isLine = /^\d+$/.test(r.label);
    return `${r.label.padStart(3)}: ${r.counts.map(count).join('')}${isLine ? ' ' : '  '}${r.description}\n`;
  }).join('');
}

function schedstat(): string {
  let text = `version 16\ntimestamp ${jiffies()}\n`;
  for (const rq of runqueues()) {
    const ns = (cycles: number): number => Math.round(cycles_to_ns(cycles));
    text += `cpu${rq.cpu} 0 0 ${rq.sched_count} ${rq.sched_goidle} ${rq.ttwu_count} ${rq.ttwu_local} ${ns(rq.rq_cpu_time)} ${ns(rq.run_delay)} ${rq.sched_count - rq.sched_goidle}\n`;
  }
  return text;
}

/** Free blocks of each order, as the buddy allocator has them. */
const buddyinfo = (): string => `Node 0, zone   Normal ${[...zone().nr_free_blocks].map((n) => `${String(n).padStart(6)} `).join('')}\n`;

const range = (start: number, size: number, digits: number): string =>
  `${start.toString(16).padStart(digits, '0')}-${(start + size - 1).toString(16).padStart(digits, '0')}`;

const iomem = (): string =>
  `${range(0, machine().ram.size, 8)} : System RAM\n${range(0xfec0_0000, 0x400, 8)} : IOAPIC 0\n${range(0xfee0_0000, 0x1000, 8)} : Local APIC\n`;
const ioports = (): string => `${range(COM1_PORT, 8, 4)} : serial\n${range(PM1A_CNT_PORT, 2, 4)} : ACPI PM1a_CNT_BLK\n`;

const filesystems = (): string => [...namespaceState().filesystems.values()].map((type) => `${type.nodev ? 'nodev' : ''}\t${type.name}\n`).join('');

/** One row an entry. */
export function proc_system_init(): void {
  const entries: readonly [name: string, show: () => string][] = [
    ['buddyinfo', buddyinfo],
    ['cmdline', () => `${kernel_context().options.cmdline}\n`],
    ['consoles', () => 'ttyS0                -W- (EC p a)    4:64\n'],
    ['cpuinfo', cpuinfo],
    ['devices', show_devices],
    ['filesystems', filesystems],
    ['interrupts', interrupts],
    ['iomem', iomem],
    ['ioports', ioports],
    ['loadavg', loadavg],
    ['meminfo', meminfo],
    ['modules', () => module_rows().map((row) => `${row}\n`).join('')],
    ['misc', show_misc],
    ['schedstat', schedstat],
    ['stat', stat],
    ['swaps', () => 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n'],
    ['uptime', uptime],
    ['version', () => `${LINUX_BANNER}\n`],
  ];
  for (const [name, show] of entries) proc_create_single(name, 0o444, show);
}
