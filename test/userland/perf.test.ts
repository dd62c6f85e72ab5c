/** perf kvm stat and kvm_stat: the tables as Linux's programs print them, and that they count what happened. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KvmEvents, eventKinds, parseTraceLine, sortKeys } from '../../userland/perf/kvm-events.ts';
import { sh } from '../support/boot.ts';

const line = (tid: number, time: number, event: string): string => `     CPU 0/KVM-${tid}       [000] d...1 ${String(time).padStart(12)}: ${event}`;
const exit = (reason: string): string => `kvm_exit: vcpu 0 reason ${reason} rip 0x1000 info1 0x0000000000000000 info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000`;
const entry = (vcpu = 0): string => `kvm_entry: vcpu ${vcpu}, rip 0x1000`;

function table(kind: string, lines: readonly string[], options: { key?: string; vcpu?: number } = {}): string {
  const events = new KvmEvents({ kind: eventKinds[kind]!, sort: sortKeys[options.key ?? 'sample']!, vcpu: options.vcpu, pid: undefined }, 1000);
  for (const text of lines) events.add(text);
  return events.table();
}

test('the name of a thread in a trace line may hold blanks and hyphens', () => {
  assert.deepEqual(parseTraceLine(line(17, 72300, entry())), { tid: 17, time: 72300, name: 'kvm_entry', text: 'vcpu 0, rip 0x1000' });
  assert.deepEqual(parseTraceLine(`       a-b 1-2-305     [001] ....1        5: kvm_fpu: load`), { tid: 305, time: 5, name: 'kvm_fpu', text: 'load' });
});

test('perf sums up the time from an exit to the next entry of the same thread by reason', () => {
  const lines = [
    line(5, 0, entry()), line(5, 1000, exit('HLT')), line(6, 1500, exit('CPUID')), line(6, 1750, entry()), line(5, 3000, entry()),
    line(5, 4000, exit('HLT')), line(5, 5000, entry()), line(5, 9000, exit('CPUID')),
  ];
  assert.equal(table('vmexit', lines), `

Analyze events for all VMs, all VCPUs:

             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time 

                 HLT          2    66.67%    92.31%      1.00us      2.00us      1.50us ( +-  33.33% )
               CPUID          1    33.33%     7.69%      0.25us      0.25us      0.25us ( +-   0.00% )

Total Samples:3, Total events handled time:3.25us.

`);
});

test('perf looks at one vCPU, orders by another key and says what was lost', () => {
  const lines = [
    'CPU:0 [LOST 12 EVENTS]', line(5, 0, entry(0)), line(6, 0, entry(1)), line(5, 10, exit('HLT')), line(5, 20, entry(0)), line(6, 10, exit('CPUID').replace('vcpu 0', 'vcpu 1')),
    line(6, 1010, entry(1)), line(5, 30, exit('HLT')), line(5, 40, entry(0)),
  ];
  assert.match(table('vmexit', lines, { vcpu: 1 }), /all VMs, VCPU 1:\n\n.*\n\n +CPUID +1 +100\.00%.*\n\nTotal Samples:1,/);
  const ordered = table('vmexit', lines, { key: 'time' });
  assert.ok(ordered.indexOf('CPUID') < ordered.indexOf('HLT'));
  assert.match(ordered, /\nLost events: 12\n\n$/);
});

test('an MMIO read lasts from its exit to its value, a write and a port access from themselves to the entry', () => {
  const lines = [
    line(5, 0, exit('EPT_MISCONFIG')), line(5, 100, 'kvm_mmio: mmio unsatisfied-read len 4 gpa 0xfee00000 val 0x0'), line(5, 700, 'kvm_mmio: mmio read len 4 gpa 0xfee00000 val 0x1'), line(5, 800, entry()),
    line(5, 1000, exit('EPT_MISCONFIG')), line(5, 1200, 'kvm_mmio: mmio write len 4 gpa 0xfee00010 val 0x1'), line(5, 1500, entry()),
    line(5, 2000, exit('IO_INSTRUCTION')), line(5, 2100, 'kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x41 '), line(5, 2500, entry()),
  ];
  const mmio = table('mmio', lines);
  assert.match(mmio, /0xfee00000:R +1 +50\.00% +70\.00% +0\.70us/);
  assert.match(mmio, /0xfee00010:W +1 +50\.00% +30\.00% +0\.30us/);
  assert.match(table('ioport', lines), / {10}0x3f8:POUT +1 +100\.00% +100\.00% +0\.40us/);
});

test('perf kvm stat records the exits of a guest, reports them, and leaves tracing as it was', () => {
  const { output } = sh('cd /tmp; echo sched:sched_switch > /sys/kernel/tracing/set_event; echo 0 > /sys/kernel/tracing/tracing_on; perf kvm stat record kvmtest; perf kvm stat report; perf kvm stat report --event ioport; cd /sys/kernel/tracing; cat set_event trace_clock tracing_on; perf kvm stat report -i /nope; echo $?');
  assert.match(output, /^4\nKVM_EXIT_HLT\n\[ perf record: Woken up 1 times to write data \]\n\[ perf record: Captured and wrote 0\.00\d MB perf\.data\.guest \(\d+ samples\) \]$/m);
  assert.match(output, /^ {6}IO_INSTRUCTION {10}2 {4}66\.67%/m);
  assert.match(output, /^ {10}0x3f8:POUT {10}2 {3}100\.00%/m);
  assert.match(output, /^sched:sched_switch\n\[local\] x86-tsc\n0\nfailed to open \/nope: No such file or directory\n255$/m);
});

test('perf kvm stat live shows each interval while a command runs', () => {
  const { output } = sh('qemu-lite -nographic -kernel /boot/busy.elf >/dev/null & sleep 0.02; perf kvm stat live -d 0.03 sleep 0.05; kill $!; wait');
  const samples = [...output.matchAll(/^Total Samples:(\d+)/gm)].map(([, n]) => Number(n));
  assert.ok(samples.length === 2 && samples.every((n) => n > 0), output);
});

test('kvm_stat counts from its start, or with -i from the beginning of the VM', () => {
  const { output } = sh('qemu-lite -nographic -kernel /boot/busy.elf >/dev/null & q=$!; sleep 0.05; kvm_stat -1 -s 0.1 -f "^(exits|hypercalls)$"; echo; kvm_stat -1 -i -s 0.1 -f "^exits$"; kill $q; wait');
  const [, value, delta] = /^exits {37} +(\d+) +(\d+)$/m.exec(output) ?? [];
  assert.ok(Number(value) > 10 && Number(value) - Number(delta) < 3, output);
  assert.match(output, /^hypercalls {41}0 {9}0$/m);
  const [, all, since] = /\n\nexits {37} +(\d+) +(\d+)$/m.exec(output) ?? [];
  assert.ok(Number(all) > 2 * Number(since), output);
});

test('kvm_stat -l prints the names and then a line an interval', () => {
  const { output } = sh('kvm_stat -l -s 0.1 -f "^(exits|hypercalls)$" & sleep 0.25; kill $!; wait');
  assert.equal(output, 'exits hypercalls \n         0         0\n         0         0\n');
});

test('kvm_stat at a terminal shows a table until q', () => {
  const { output, status } = sh('qemu-lite -nographic -kernel /boot/busy.elf >/dev/null </dev/null & kvm_stat -i -f exits; s=$?; kill $!; wait; exit $s', { input: 'xq' });
  assert.equal(status, 0);
  assert.match(output, /kvm statistics - summary\n\n Event {41}Total %Total CurAvg\/s\n/);
});

test('kvm_stat without the module says what is missing', () => {
  const { output, status } = sh('rmmod kvm_intel kvm; kvm_stat -1');
  assert.match(output, /^Also ensure, that the kvm modules are loaded\.$/m);
  assert.equal(status, 1);
});

test('perf says why it cannot record', () => {
  const { output } = sh('perf kvm stat record -o /nope/x true; echo $?; umount /sys/kernel/tracing; perf kvm stat record true; echo $?; perf kvm stat live true; echo $?');
  const missing = 'Error:\tFile /sys/kernel/tracing/events/kvm/kvm_entry not found.\nHint:\tIs the debugfs/tracefs filesystem mounted?\n129\n';
  assert.equal(output, `failed to open /nope/x: No such file or directory\n255\n${missing}${missing}`);
});
