/**
 * hybrid: what KVM is, shown on two running vCPUs. A Type-1 hypervisor runs guest instructions on the processor
 * itself; a Type-2 runs as a program among others. The two columns are facts about the same vCPU, and the lines below
 * them change it by the means one has for any thread.
 */
import type { Sys } from '../abi/process.ts';
import { SIGCONT, SIGKILL, SIGSTOP, SIGUSR1 } from '../abi/signal.ts';
import { PRIO_PROCESS } from '../abi/sched.ts';
import { Errno, decode, eputs, fputs, getpriority, kill, puts, sched_setaffinity, setpriority, sleep, stat, tgkill, wait4 } from './libc.ts';
import { pids } from './lib/procfs.ts';
import { maybe } from './lib/main.ts';
import { type Guest, TEXT, busy, talking } from './hybrid/guests.ts';
import { type Facts, KVM_DEBUGFS, measure, share } from './hybrid/facts.ts';
import { type Vmm, startVmm } from './hybrid/vmm.ts';

const SETTLE = 0.004;
const LOOK = 0.01;
/** Long enough for a few of the scheduler's slices. */
const LOOK_AT_SHARE = 0.04;

const grouped = (n: number): string => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',');
const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
/** How much one of KVM's counters has grown. */
const growth = (before: Facts, now: Facts, name: string): string => (now.kvm.has(name) ? grouped((now.kvm.get(name) ?? 0) - (before.kvm.get(name) ?? 0)) : '-');

const WIDTH = 38;

/** One row: what a Type-1 would say, beside what a Type-2 would. */
type Row = readonly [one: readonly [string, string], two: readonly [string, string]];

function rows({ guest, report, pid }: Vmm, before: Facts, now: Facts): Row[] {
  const elapsed = Number(now.at - before.at) / 1e9;
  // Each guest instruction takes one cycle.
  const instructions = guest.instructions(now.count) - guest.instructions(before.count);
  const inGuest = instructions / (elapsed * now.frequency);
  const grown = (name: string): string => growth(before, now, name);
  const entries = (now.kvm.get('pages_4k') ?? 0) + (now.kvm.get('pages_2m') ?? 0);
  return [
    [['instructions in guest mode', grouped(instructions)], ['thread', `${now.stat.comm}, tid ${report.tid}`]],
    [['time in guest mode', percent(Math.min(1, inGuest))], ['of process', String(pid)]],
    [['VM exits', grown('exits')], ['on processor', String(now.stat.processor)]],
    [['  for port I/O', grown('io_exits')], ['nice value', String(now.stat.nice)]],
    [['  for external interrupts', grown('irq_exits')], ['time slices', grouped(now.slices - before.slices)]],
    [['  for EPT violations', grown('pf_taken')], ['context switches', `${grouped(now.voluntary - before.voluntary)} + ${grouped(now.involuntary - before.involuntary)} forced`]],
    [['EPT entries', now.kvm.has('pages_4k') ? grouped(entries) : '-'], ['signals taken', grouped(report.interrupted)]],
    [['exits to user space', grouped(now.exits - before.exits)], ['resident memory', now.resident]],
  ];
}

function* table(vmm: Vmm, before: Facts, now: Facts): Sys {
  const cell = ([name, value]: readonly [string, string]): string => `${name} ${value.padStart(WIDTH - name.length - 1)}`;
  yield* puts(`\nThe ${vmm.guest.name} guest ${vmm.guest.does}. In ${(Number(now.at - before.at) / 1e6).toFixed(1)} ms:`);
  yield* puts(`${'as a Type-1 sees its vCPU'.padEnd(WIDTH)} | as a Type-2 sees its vCPU`);
  yield* puts(`${'-'.repeat(WIDTH + 1)}+${'-'.repeat(WIDTH + 1)}`);
  for (const [one, two] of rows(vmm, before, now)) yield* puts(`${cell(one)} | ${cell(two)}`);
}

function* startBoth(): Sys<[Vmm, Vmm]> {
  const start = function* start(guest: Guest): Sys<Vmm> {
    const vmm = yield* startVmm(guest);
    while (vmm.report.ready === 0) {
      if ((yield* wait4(vmm.pid, 1)).pid !== 0) throw new RangeError(guest.name);
      yield* sleep(0.001);
    }
    return vmm;
  };
  return [yield* start(busy), yield* start(talking)];
}

/** The share of the time the vCPU ran, and the instructions it retired in it. */
function* observe(vmm: Vmm, seconds: number): Sys<{ share: number; instructions: number; now: Facts }> {
  const before = yield* measure(vmm);
  yield* sleep(seconds);
  const now = yield* measure(vmm);
  return { share: share(before, now), instructions: vmm.guest.instructions(now.count) - vmm.guest.instructions(before.count), now };
}

function* changeNice(one: Vmm, other: Vmm): Sys {
  yield* sched_setaffinity(one.report.tid, 1n);
  yield* sched_setaffinity(other.report.tid, 1n);
  yield* sleep(SETTLE);
  const before = yield* observe(one, LOOK_AT_SHARE);
  yield* setpriority(PRIO_PROCESS, one.report.tid, 10);
  const nice = yield* getpriority(PRIO_PROCESS, one.report.tid);
  const after = yield* observe(one, LOOK_AT_SHARE);
  yield* puts(`nice      both on processor 0, the busy vCPU from nice 0 to ${nice}: it ran ${percent(before.share)} of the`);
  yield* puts(`          time, then ${percent(after.share)}; Linux's weights, 110 to 1024, say ${percent(110 / 1134)}`);
  yield* setpriority(PRIO_PROCESS, one.report.tid, 0);
}

function* changeAffinity(one: Vmm): Sys {
  try {
    yield* sched_setaffinity(one.report.tid, 2n);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* puts('affinity  there is but one processor: nowhere to move the vCPU to');
    return;
  }
  yield* sleep(SETTLE);
  const { share: part, instructions, now } = yield* observe(one, LOOK);
  yield* puts(`affinity  the busy vCPU moved to processor ${now.stat.processor}: alone there it ran ${percent(part)} of the time,`);
  yield* puts(`          ${grouped(instructions)} guest instructions in ${LOOK} s`);
}

function* sendSignals(one: Vmm): Sys {
  const taken = one.report.interrupted;
  yield* tgkill(one.pid, one.report.tid, SIGUSR1);
  yield* sleep(SETTLE);
  yield* puts(`signal    SIGUSR1 to the thread: KVM_RUN returned EINTR ${one.report.interrupted - taken === 1 ? 'once' : `${one.report.interrupted - taken} times`}, and the guest went on`);
  yield* kill(one.pid, SIGSTOP);
  yield* sleep(SETTLE);
  const { instructions, now } = yield* observe(one, SETTLE);
  yield* kill(one.pid, SIGCONT);
  const again = yield* observe(one, SETTLE);
  yield* puts(`          SIGSTOP: state ${now.stat.state}, ${grouped(instructions)} guest instructions; SIGCONT: state ${again.now.stat.state}, ${grouped(again.instructions)}`);
}

function* killVm({ pid, report }: Vmm): Sys {
  const directory = `${KVM_DEBUGFS}/${pid}-${report.vm_fd}`;
  const before = (yield* maybe(stat(directory))) !== undefined;
  yield* kill(pid, SIGKILL);
  yield* wait4(pid);
  const left = (yield* pids()).includes(pid) || (yield* maybe(stat(directory))) !== undefined;
  yield* puts(`          SIGKILL: ${left ? 'something of the VM is left' : `the process is gone, and the VM${before ? ` ${pid}-${report.vm_fd}` : ''} with it`}`);
}

export function* main(): Sys<number> {
  if ((yield* maybe(stat('/dev/kvm'))) === undefined) {
    yield* eputs('hybrid: there is no /dev/kvm; load the module with: modprobe kvm_intel');
    return 1;
  }
  let vmms: [Vmm, Vmm];
  try {
    vmms = yield* startBoth();
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    yield* eputs(`hybrid: the VMM of the ${e.message} guest ended before it ran`);
    return 1;
  }
  const [one, other] = vmms;
  const before = [yield* measure(one), yield* measure(other)] as const;
  yield* sleep(LOOK);
  const now = [yield* measure(one), yield* measure(other)] as const;
  yield* puts('Two VMs run. Each vCPU executes guest code on the processor itself,\nand is a thread of an ordinary process.');
  yield* table(one, before[0], now[0]);
  yield* table(other, before[1], now[1]);
  const said = decode(Uint8Array.from({ length: TEXT.length }, (_, i) => other.report.text.get(i)));
  yield* fputs(`it says: ${said.trim()}\n\nWhat one can do to any thread, done to a vCPU:\n`);
  yield* changeNice(one, other);
  yield* changeAffinity(one);
  yield* sendSignals(one);
  for (const { guest, report } of vmms) {
    if (report.error !== 0) yield* eputs(`hybrid: the ${guest.name} guest stopped: ${report.error >= 0x10000 ? `exit reason ${report.error - 0x10000}` : `errno ${report.error}`}`);
  }
  yield* killVm(one);
  yield* kill(other.pid, SIGKILL);
  yield* wait4(other.pid);
  return 0;
}
