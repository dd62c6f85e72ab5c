/** A guest seen from the shell beside it: threads, processors, what is left when it dies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprint, sh } from '../support/boot.ts';
import { benchGuests, guestFiles } from './guests.ts';

const busy = (name: string): string => `qemu-lite -kernel /boot/busy.elf -name ${name} > /dev/null &`;

test('two guests share two processors and both progress', () => {
  const { output, system } = sh(`${busy('a')} a=$!; ${busy('b')} b=$!; sleep 0.1
    for p in $a $b; do cut -d ' ' -f 14,15 /proc/$p/stat; done; kill $a $b; wait`);
  const times = output.trim().split('\n').slice(0, 2).map((line) => line.split(' ').reduce((sum, n) => sum + Number(n), 0));
  assert.ok(times.length === 2 && times.every((ticks) => ticks >= 7 && ticks <= 11), `ticks of 1/100 s: ${times.join(' ')}\n${output}`);
  const retired = system.machine.processors.map((p) => p.retired.guest);
  assert.ok(retired.every((n) => n > 20_000_000), `instructions in guest mode: ${retired.join(' ')}`);
});

test('the same two guests make the same run again: instructions, clocks and memory', () => {
  const once = (): string => fingerprint(sh(`${busy('a')} a=$!; ${busy('b')} sleep 0.02; kill $a $!; wait`).system);
  assert.equal(once(), once());
});

test('taskset -p moves a vCPU thread, and ps shows where it runs', () => {
  const psr = (): string => 'ps -eLo psr,comm | grep CPU';
  const { output } = sh(`${busy('a')} sleep 0.02; tid=$(ps -eLo tid,comm | grep CPU | sed 's/^ *//; s/ .*//')
    taskset -p 1 $tid > /dev/null; sleep 0.02; ${psr()}; taskset -p 2 $tid > /dev/null; sleep 0.02; ${psr()}; kill $!; wait`);
  assert.match(output, /^ *0 CPU 0\/KVM\n *1 CPU 0\/KVM\n/);
});

test('kill -9 of one guest frees all it held and leaves the other running', () => {
  const { output } = sh(`free | grep Mem; lsmod | grep '^kvm_intel'; ${busy('a')} a=$!; sleep 0.03; ${busy('b')} b=$!; sleep 0.03; lsmod | grep '^kvm_intel'
    kill -9 $b; wait $b; echo status $?; sleep 0.03; lsmod | grep '^kvm_intel'; ls -d /proc/$b 2> /dev/null; ps -eo comm | grep -c qemu-lite
    kill -9 $a; wait $a; sleep 0.03; lsmod | grep '^kvm_intel'; free | grep Mem`);
  const lines = output.trim().split('\n').map((line) => line.trim().split(/ +/));
  const uses = lines.filter(([name]) => name === 'kvm_intel').map(([, , count]) => Number(count));
  assert.deepEqual(uses, [0, 2, 1, 0], output);
  assert.ok(lines.some((line) => line.join(' ') === 'status 137'), output);
  assert.ok(lines.some((line) => line.join(' ') === '1'), 'one of two is left');
  const free = lines.filter(([name]) => name === 'Mem:').map(([, , , kib]) => Number(kib));
  // The shell itself may have grown by a page or two of history and jobs.
  assert.ok(free.length === 2 && free[0]! - free[1]! < 100, `free KiB before and after: ${free.join(' ')}`);
});

test('the RAM of a guest is mapped into it by entries of 2 MiB where its slot covers them', () => {
  const sieve = benchGuests('tiny').filter(({ name }) => name === 'sieve.32');
  const { output } = sh(`echo kvmmmu:kvm_mmu_set_spte > /sys/kernel/tracing/set_event; qemu-lite -kernel ${sieve[0]!.path} -serial none; cat /sys/kernel/tracing/trace`, { files: guestFiles('tiny', sieve) });
  const entries = [...output.matchAll(/ gfn ([0-9a-f]+) spte .* level (\d)/g)].map(([, gfn, level]) => ({ gfn: Number.parseInt(gfn!, 16), level: Number(level) }));
  // The slot that begins behind the graphics card's window does not reach the start of the first 2 MiB.
  for (const { gfn, level } of entries) assert.equal(level, gfn < 0x200 ? 1 : 2, `gfn ${gfn.toString(16)}`);
  assert.ok(entries.some(({ level }) => level === 1) && entries.some(({ level }) => level === 2), output);
});

/** A flat image: the bytes run at 0x7c00 in real mode. */
const flat = (name: string, ...bytes: number[]): [string, Uint8Array] => [`/${name}`, Uint8Array.from(bytes)];
const files = new Map([
  // mov dx,0x3f8; mov al,'R'; out dx,al; mov al,'\n'; out dx,al; mov al,3; out 0xf4,al
  flat('hi', 0xba, 0xf8, 0x03, 0xb0, 0x52, 0xee, 0xb0, 0x0a, 0xee, 0xb0, 0x03, 0xe6, 0xf4),
  // lidt [0x7c06] with limit 0; int3
  flat('triple', 0x0f, 0x01, 0x1e, 0x06, 0x7c, 0xcc, 0, 0, 0, 0, 0, 0),
  // mov ax,0xb800; mov ds,ax; mov word [0],0x1234; mov al,[1]; out 0xf4,al
  flat('vga', 0xb8, 0x00, 0xb8, 0x8e, 0xd8, 0xc7, 0x06, 0x00, 0x00, 0x34, 0x12, 0xa0, 0x01, 0x00, 0xe6, 0xf4),
  // mov al,dl; out 0xf4,al
  flat('drive', 0x88, 0xd0, 0xe6, 0xf4),
  // inc byte [0x9000]; mov al,[0x9000]; add al,'0'; mov dx,0x3f8; out dx,al; cmp al,'3'; je 1f; mov al,0xfe; out 0x64,al; hlt; 1: out 0xf4,al
  flat('reset', 0xfe, 0x06, 0x00, 0x90, 0xa0, 0x00, 0x90, 0x04, 0x30, 0xba, 0xf8, 0x03, 0xee, 0x3c, 0x33, 0x74, 0x05, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xe6, 0xf4),
  // mov si,text; mov cx,3; mov dx,0xe9; cs rep outsb; mov ax,0x2000; mov dx,0x604; out dx,ax
  flat('outs', 0xbe, 0x14, 0x7c, 0xb9, 0x03, 0x00, 0xba, 0xe9, 0x00, 0xf3, 0x6e, 0xb8, 0x00, 0x20, 0xba, 0x04, 0x06, 0xef, 0xf4, 0x90, 0x6f, 0x6b, 0x0a),
]);
const flatCases: readonly (readonly [string, string, number, string])[] = [
  ['a flat image runs in real mode and prints', '/hi', 7, 'R\n'],
  ['a triple fault ends with status 1 and one line', '/triple', 1, 'qemu-lite: CPU 0: triple fault at rip 0x7c05 (KVM_EXIT_SHUTDOWN), the guest is shut down\n'],
  ['the graphics card that is not there reads as ones', '/vga', 0xff, ''],
  ['DL holds the boot drive', '/drive', 1, ''],
  ['a string instruction reaches the debug console', '/outs -debugcon stdio -serial none', 0, 'ok\n'],
  ['a guest that resets the machine starts again with memory as it was', '/reset', 0x67, '123'],
  ['with -no-reboot it ends instead', '/reset -no-reboot', 0, '1'],
];
for (const [rule, kernel, status, printed] of flatCases) {
  test(rule, () => {
    const run = sh(`qemu-lite -kernel ${kernel}`, { files });
    assert.equal(run.output.replace(/\[ *[\d.]+\] reboot: Power down\n$/, ''), printed);
    assert.equal(run.status, status);
  });
}

test('output to a file is in the file', () => {
  const { output } = sh('qemu-lite -kernel /boot/hello.elf -serial file:/tmp/log; cat /tmp/log');
  assert.match(output, /^Hello from a guest/);
});
