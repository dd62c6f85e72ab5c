/**
 * What can be measured of one vCPU: KVM's counters in debugfs and the guest's own, and what /proc says of the thread.
 */
import type { Sys } from '../../abi/process.ts';
import { CLOCK_MONOTONIC } from '../../abi/time.ts';
import { u32 } from '../../abi/struct.ts';
import { clock_gettime, readFile, view } from '../libc.ts';
import { maybe } from '../lib/main.ts';
import { type TaskStat, parseStat } from '../lib/procfs.ts';
import { COUNTER } from './guests.ts';
import type { Vmm } from './vmm.ts';

export const KVM_DEBUGFS = '/sys/kernel/debug/kvm';

export interface Facts {
  /** Nanoseconds on the machine's clock. */
  readonly at: bigint;
  readonly count: number;
  /** Returns of KVM_RUN, as the VMM counted them. */
  readonly exits: number;
  readonly kvm: ReadonlyMap<string, number>;
  readonly stat: TaskStat;
  /** Cycles a second of a processor. */
  readonly frequency: number;
  readonly runtime: bigint;
  readonly slices: number;
  readonly voluntary: number;
  readonly involuntary: number;
  readonly resident: string;
}

const COUNTERS = ['exits', 'io_exits', 'irq_exits', 'request_irq_exits', 'signal_exits', 'halt_exits', 'mmio_exits', 'pf_taken', 'pages_4k', 'pages_2m'] as const;

export function* kvmCounters(directory: string): Sys<Map<string, number>> {
  const counters = new Map<string, number>();
  for (const name of COUNTERS) {
    const text = yield* maybe(readFile(`${directory}/${name}`));
    if (text !== undefined) counters.set(name, Number(text));
  }
  return counters;
}

const field = (text: string, name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '-';

export function* measure({ pid, report, ram }: Vmm): Sys<Facts> {
  const task = `/proc/${pid}/task/${report.tid}`;
  const stat = yield* readFile(`${task}/stat`);
  const status = yield* readFile(`${task}/status`);
  const [runtime = '0', , slices = '0'] = (yield* readFile(`${task}/schedstat`)).trim().split(' ');
  return {
    at: yield* clock_gettime(CLOCK_MONOTONIC),
    count: view(u32, ram + COUNTER), exits: Number(report.exits),
    kvm: yield* kvmCounters(`${KVM_DEBUGFS}/${pid}-${report.vm_fd}`),
    stat: parseStat(pid, stat), frequency: Number(/^cpu MHz\s*:\s*(\S+)/m.exec(yield* readFile('/proc/cpuinfo'))?.[1] ?? 1000) * 1e6,
    runtime: BigInt(runtime), slices: Number(slices),
    voluntary: Number(field(status, 'voluntary_ctxt_switches')), involuntary: Number(field(status, 'nonvoluntary_ctxt_switches')),
    resident: field(yield* readFile(`/proc/${pid}/status`), 'VmRSS'),
  };
}

/** Share of the time between two measurements in which the thread ran. */
export const share = (before: Facts, after: Facts): number => Number(after.runtime - before.runtime) / Math.max(1, Number(after.at - before.at));
