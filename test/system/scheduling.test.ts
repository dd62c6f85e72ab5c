/** vCPUs under the scheduler: shares, affinity, and what a killed VM leaves behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sh } from '../support/boot.ts';
import { guestInstructions } from '../support/guest-time.ts';

test('a VM at nice 10 beside one at nice 0 on one processor gets 110:1024 of the guest instructions', () => {
  const second = 1_000_000_000;
  const counts = guestInstructions(
    'qemu-lite -nographic -name heavy -kernel /boot/busy.elf < /dev/null & nice -n 10 qemu-lite -nographic -name light -kernel /boot/busy.elf < /dev/null & wait', { cpus: 1 }, 0.2 * second, 1.2 * second);
  const [heavy, light] = [...counts.values()].map((c) => c.instructions).sort((a, b) => b - a);
  assert.equal(counts.size, 2, JSON.stringify([...counts]));
  assert.ok(heavy! > 100_000_000, 'the heavy one ran');
  const ratio = light! / heavy!;
  assert.ok(Math.abs(ratio / (110 / 1024) - 1) <= 0.02, `the share is ${ratio.toFixed(5)}, not ${(110 / 1024).toFixed(5)}`);
});

test('two VMs share two processors, taskset moves a vCPU thread, kill -9 of one leaves the other and frees everything', () => {
  const { status, output } = sh([
    'cat /proc/modules; free > /tmp/before',
    'qemu-lite -nographic -kernel /boot/busy.elf < /dev/null & A=$!',
    'qemu-lite -nographic -kernel /boot/busy.elf < /dev/null & B=$!',
    'sleep 0.2; ps -eLo pid,tid,psr,comm | grep CPU',
    'T=$(ps -eLo pid,tid,comm | grep "$A .*CPU" | head -n 1 | sed "s/^ *[0-9]* *\\([0-9]*\\).*/\\1/")',
    'taskset -p 1 $T; sleep 0.05; echo "on $(ps -eLo tid,psr | grep "^ *$T ")"; taskset -p 2 $T; sleep 0.05; echo "on $(ps -eLo tid,psr | grep "^ *$T ")"',
    'echo "used $(lsmod | grep "^kvm_intel")"',
    'kill -9 $A; wait $A; echo "A: $?"; sleep 0.1; kill -0 $B && echo "B lives"; ps -eLo pid,comm | grep -c CPU',
    'kill -9 $B; wait $B; echo "B: $?"; sleep 0.1; echo "used $(lsmod | grep "^kvm_intel")"; ls /proc/$A 2>&1',
  ].join('\n'));
  assert.match(output, /CPU 0\/KVM/);
  assert.match(output, /on +\d+ +0\n[\s\S]*on +\d+ +1\n/, output);
  assert.match(output, /used kvm_intel +\d+ +2/, output);
  assert.match(output, /A: 137\nB lives\n1\nB: 137\nused kvm_intel +\d+ +0/, output);
  assert.match(output, /No such file/, output);
  assert.notEqual(status, 0);
});

test('frames of killed VMs come back', () => {
  const { output } = sh([
    'qemu-lite -nographic -kernel /boot/busy.elf < /dev/null & A=$!; sleep 0.1; kill -9 $A; wait $A; sleep 0.1',
    'head -2 /proc/meminfo | tail -1',
    'for i in 1 2 3 4 5; do qemu-lite -nographic -kernel /boot/busy.elf < /dev/null & A=$!; sleep 0.1; kill -9 $A; wait $A; done; sleep 0.1',
    'head -2 /proc/meminfo | tail -1',
  ].join('\n'));
  const free = [...output.matchAll(/MemFree: +(\d+) kB/g)].map((m) => Number(m[1]));
  assert.equal(free.length, 2, output);
  assert.equal(free[0], free[1]);
});
