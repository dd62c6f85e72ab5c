/**
 * What `perf kvm stat` makes of KVM's trace: pairs of a beginning and an end in one thread, summed up by what they were.
 * Linux: tools/perf/builtin-kvm.c, tools/perf/arch/x86/util/kvm-stat.c
 */
import { sprintf } from '../libc.ts';

export interface TraceEvent {
  readonly tid: number;
  /** In cycles. */
  readonly time: number;
  readonly name: string;
  readonly text: string;
}

/** A line of trace_pipe with the clock x86-tsc; undefined when it is none. The name of a task may hold blanks. */
export function parseTraceLine(line: string): TraceEvent | undefined {
  const found = /^ *.{1,16}-(\d+) +\[\d+\] \S+ +(\d+): (\w+): (.*)$/.exec(line);
  return found ? { tid: Number(found[1]), time: Number(found[2]), name: found[3] ?? '', text: found[4] ?? '' } : undefined;
}

/** How a kind of event begins and ends; '' begins or ends one without saying which it is. */
interface EventKind {
  readonly title: string;
  readonly begin: (e: TraceEvent) => string | undefined;
  readonly end: (e: TraceEvent) => string | undefined;
}
const atEntry = (e: TraceEvent): string | undefined => (e.name === 'kvm_entry' ? '' : undefined);
const mmio = (e: TraceEvent, what: string): string | undefined => {
  const found = e.name === 'kvm_mmio' ? /^mmio (\S+) len \d+ gpa (0x[\da-f]+)/.exec(e.text) : null;
  return found?.[1] === what ? `${found[2]}:${what === 'read' ? 'R' : 'W'}` : undefined;
};
export const eventKinds: Readonly<Record<string, EventKind>> = {
  vmexit: { title: 'VM-EXIT', begin: (e) => (e.name === 'kvm_exit' ? / reason (\S+)/.exec(e.text)?.[1] : undefined), end: atEntry },
  // a read is known when its value has come, a write when it begins
  mmio: { title: 'MMIO Access', begin: (e) => (e.name === 'kvm_exit' ? '' : mmio(e, 'write')), end: (e) => atEntry(e) ?? mmio(e, 'read') },
  ioport: {
    title: 'IO Port Access',
    begin: (e) => {
      const found = e.name === 'kvm_pio' ? /^pio_(\w+) at (0x[\da-f]+)/.exec(e.text) : null;
      return found ? `${found[2]}:${found[1] === 'write' ? 'POUT' : 'PIN'}` : undefined;
    },
    end: atEntry,
  },
};

class Statistic {
  readonly name: string;
  count = 0;
  time = 0;
  min = Number.POSITIVE_INFINITY;
  max = 0;
  private mean = 0;
  private squares = 0;
  constructor(name: string) {
    this.name = name;
  }
  add(time: number): void {
    this.count++;
    this.time += time;
    this.min = Math.min(this.min, time);
    this.max = Math.max(this.max, time);
    const delta = time - this.mean;
    this.mean += delta / this.count;
    this.squares += delta * (time - this.mean);
  }
  /** The standard error of the mean, in percent of it. */
  get deviation(): number {
    if (this.count < 2 || this.mean === 0) return 0;
    return (100 * Math.sqrt(this.squares / (this.count - 1) / this.count)) / this.mean;
  }
}

/** What --key orders by. */
export const sortKeys: Readonly<Record<string, (s: Statistic) => number>> = {
  sample: (s) => s.count, time: (s) => s.time / s.count, percent_time: (s) => s.time, max: (s) => s.max, min: (s) => s.min, mean: (s) => s.time / s.count,
};

export interface View {
  readonly kind: EventKind;
  readonly sort: (s: Statistic) => number;
  /** Only this vCPU. */
  readonly vcpu: number | undefined;
  readonly pid: string | undefined;
}

export class KvmEvents {
  private readonly view: View;
  private readonly cyclesPerUs: number;
  private statistics = new Map<string, Statistic>();
  /** What has begun, by thread; a thread runs one vCPU, whose number its entries and exits tell. */
  private readonly open = new Map<number, { name: string; time: number }>();
  private readonly vcpus = new Map<number, number>();
  private lost = 0;
  constructor(view: View, cyclesPerUs: number) {
    this.view = view;
    this.cyclesPerUs = cyclesPerUs;
  }

  add(line: string): void {
    const e = parseTraceLine(line);
    if (e === undefined) {
      this.lost += Number(/^CPU:\d+ \[LOST (\d+) EVENTS\]/.exec(line)?.[1] ?? 0);
      return;
    }
    const vcpu = /^vcpu (\d+)/.exec(e.text)?.[1];
    if (vcpu !== undefined) this.vcpus.set(e.tid, Number(vcpu));
    const { kind } = this.view;
    const begun = this.open.get(e.tid);
    const ended = kind.end(e);
    if (ended !== undefined) {
      this.open.delete(e.tid);
      const name = ended || (begun?.name ?? '');
      if (begun && name !== '' && (this.view.vcpu ?? this.vcpus.get(e.tid)) === this.vcpus.get(e.tid)) this.statistic(name).add(e.time - begun.time);
      return;
    }
    const name = kind.begin(e);
    if (name !== undefined) this.open.set(e.tid, { name, time: e.time });
  }

  private statistic(name: string): Statistic {
    const known = this.statistics.get(name) ?? new Statistic(name);
    this.statistics.set(name, known);
    return known;
  }

  /** Begins to sum up anew; what has begun stays. */
  clear(): void {
    this.statistics = new Map();
    this.lost = 0;
  }

  table(): string {
    const { view } = this;
    const us = (cycles: number): number => cycles / this.cyclesPerUs;
    const all = [...this.statistics.values()].sort((a, b) => view.sort(b) - view.sort(a));
    const samples = all.reduce((sum, s) => sum + s.count, 0);
    const time = all.reduce((sum, s) => sum + s.time, 0);
    const head = sprintf('%20s %10s %9s %9s %11s %11s %16s ', view.kind.title, 'Samples', 'Samples%', 'Time%', 'Min Time', 'Max Time', 'Avg time');
    const rows = all.map((s) => sprintf('%20s %10d %8.2f%% %8.2f%% %9.2fus %9.2fus %9.2fus ( +-%7.2f%% )\n', s.name, s.count, (s.count / samples) * 100,
      time === 0 ? 0 : (s.time / time) * 100, us(s.min), us(s.max), us(s.time / s.count), s.deviation));
    return `\n\nAnalyze events for ${view.pid === undefined ? 'all VMs' : `pid(s) ${view.pid}`}, ${view.vcpu === undefined ? 'all VCPUs' : `VCPU ${view.vcpu}`}:\n\n`
      + `${head}\n\n${rows.join('')}\n${sprintf('Total Samples:%d, Total events handled time:%.2fus.\n\n', samples, us(time))}`
      + (this.lost > 0 ? `\nLost events: ${this.lost}\n\n` : '');
  }
}
