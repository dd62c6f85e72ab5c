import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sh } from '../support/boot.ts';

/** Images of random bytes, each after a start that brings it somewhere: real mode as it is, or protected mode. */
function randomImages(count: number): Map<string, Uint8Array> {
  let seed = 12345;
  const random = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2 ** 31) >>> 8 & 0x7fffff ? ((seed >>> 8) % n) : 0;
  // cli; lgdt [0x7c40]; mov eax,cr0; or al,1; mov cr0,eax; jmp 8:0x7c20 … 0x7c20: the random part; GDT at 0x7c48
  const protect = [0xfa, 0x0f, 0x01, 0x16, 0x40, 0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xea, 0x60, 0x7c, 0x08, 0x00];
  const gdt = [0x17, 0, 0x48, 0x7c, 0, 0, 0, 0, ...new Array<number>(8).fill(0), 0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0];
  return new Map(Array.from({ length: count }, (_, i) => {
    const bytes = Uint8Array.from({ length: 512 }, () => random(256));
    if (i % 2 === 1) {
      bytes.set(protect);
      bytes.set(gdt, 0x40);
    }
    return [`/fuzz/${i}`, bytes];
  }));
}

test('no guest of random bytes hurts the kernel or leaves anything behind', () => {
  const count = 40;
  const { output, status } = sh(`free | grep Mem; i=0; while [ $i -lt ${count} ]; do
    qemu-lite -kernel /fuzz/$i > /tmp/log 2>&1 & sleep 0.0003; kill -9 $! 2> /dev/null; wait $!; i=$((i + 1)); rm /tmp/log; done; sleep 0.01
    lsmod | grep '^kvm_intel'; free | grep Mem; echo end; exit 5`, { files: randomImages(count) });
  assert.equal(status, 5, output);
  assert.doesNotMatch(output, /Oops|BUG|panic|WARNING/);
  const lines = output.split('\n').map((line) => line.trim().split(/ +/));
  assert.equal(lines.find(([name]) => name === 'kvm_intel')?.[2], '0');
  const free = lines.filter(([name]) => name === 'Mem:').map(([, , , kib]) => Number(kib));
  assert.ok(free.length === 2 && free[0]! - free[1]! < 100, `free KiB before and after: ${free.join(' ')}`);
});
