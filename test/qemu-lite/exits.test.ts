import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EFAULT, EINTR } from '../../abi/errno.ts';
import { KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, KVM_EXIT_UNKNOWN, kvm_regs } from '../../abi/kvm/index.ts';
import { FlatSpace, Mem } from '../../abi/space.ts';
import { type Exit, hlt, inb, inl, outb, outl, outw, runScripted, say } from './scripted-kvm.ts';

const hello = 'qemu-lite -kernel /boot/hello.elf';

test('what a guest writes to COM1 is printed, and its debug exit is the status', () => {
  const { output, status, state } = runScripted(function* guest() { yield* say('Hi\n'); yield outb(0xf4, 0x10); }, hello);
  assert.deepEqual([state, status, output], ['off', 0x21, 'Hi\n']);
});

test('ACPI power-off ends with status 0', () => {
  const { status, state } = runScripted(function* guest() { yield outw(0x604, 0x2000); }, hello);
  assert.deepEqual([state, status], ['off', 0]);
});

test('the processor starts where the image says', () => {
  const { seen } = runScripted(function* guest() { yield outw(0x604, 0x2000); }, hello);
  const bytes = new FlatSpace(new Mem(new ArrayBuffer(kvm_regs.size)));
  bytes.mem.u8.set(seen.regs);
  const { rip, rax, rbx, rflags } = kvm_regs.at(bytes, 0);
  assert.deepEqual([rip, rax, rbx, rflags], [0x10000cn, 0x2badb002n, 0x9000n, 2n]);
});

test('string instructions give their elements in order', () => {
  const { output } = runScripted(function* guest() { yield outb(0x3f8, ...Buffer.from('whole line\n')); yield outw(0x604, 0x2000); }, hello);
  assert.equal(output, 'whole line\n');
});

test('reads are answered at the width they have', () => {
  const seen: number[] = [];
  runScripted(function* guest() {
    yield outl(0xcf8, 0x8000_0000);
    seen.push(yield inb(0x3fd), yield inl(0xcf8), yield inl(0xcfc));
    yield outw(0x604, 0x2000);
  }, hello);
  assert.deepEqual(seen, [0x60, 0x8000_0000, 0xffff_ffff]);
});

test('memory that is not there reads as ones', () => {
  const data: number[] = [];
  let last: Parameters<Exit>[0] | undefined;
  runScripted(function* guest() {
    yield (run) => { last = run; run.exit_reason = KVM_EXIT_MMIO; run.mmio.phys_addr = 0xb8000n; run.mmio.len = 4; run.mmio.is_write = 0; };
    data.push(...[...(last?.mmio.data ?? [])].slice(0, 4));
    yield outw(0x604, 0x2000);
  }, hello);
  assert.deepEqual(data, new Array(4).fill(0xff));
});

test('an interrupted run is run again', () => {
  const { output } = runScripted(function* guest() { yield () => -EINTR; yield* say('on\n'); yield outw(0x604, 0x2000); }, hello);
  assert.equal(output, 'on\n');
});

const fatal: readonly (readonly [string, Exit, RegExp])[] = [
  ['a triple fault', (run) => { run.exit_reason = KVM_EXIT_SHUTDOWN; }, /^qemu-lite: CPU 0: triple fault at rip 0x10000c \(KVM_EXIT_SHUTDOWN\), the guest is shut down\n$/],
  ['a failed entry', (run) => { run.exit_reason = KVM_EXIT_FAIL_ENTRY; run.fail_entry.hardware_entry_failure_reason = 0x8000_0021n; }, /^KVM: entry failed, hardware error 0x80000021\nEAX=2badb002 .*\nEFER=0{16}\nCode=<fc> bc /s],
  ['an internal error', (run) => { run.exit_reason = KVM_EXIT_INTERNAL_ERROR; run.internal.suberror = 1; run.internal.ndata = 1; run.internal.data.set(0, 0xf4n); }, /^KVM internal error\. Suberror: 1\nextra data\[0\]: 0x00000000000000f4\nemulation failure\nEAX=/],
  ['an exit nobody knows', (run) => { run.exit_reason = KVM_EXIT_UNKNOWN; run.hw.hardware_exit_reason = 0x2bn; }, /^KVM: unknown exit, hardware reason 2b \(exit reason 0\)\nEAX=/],
  ['a KVM_RUN that fails', () => -EFAULT, /^error: kvm run failed Bad address\nEAX=/],
];
for (const [name, exit, said] of fatal) {
  test(`${name} ends with status 1 and says what happened`, () => {
    const { output, status, state } = runScripted(function* guest() { yield exit; }, hello);
    assert.deepEqual([state, status], ['off', 1]);
    assert.match(output, said);
  });
}

test('vCPUs are threads named as QEMU names them, beside the main thread, and those nobody can start wait', () => {
  const { output } = runScripted(function* guest() { yield hlt; }, `${hello} -smp 3 > /tmp/log 2>&1 & sleep 0.1; ps -eLo comm | grep -e CPU -e qemu | sort; kill $!; wait $!; echo $?; cat /tmp/log`);
  assert.equal(output, 'CPU 0/KVM\nCPU 1/KVM\nCPU 2/KVM\nqemu-lite\n0\n'
    + 'qemu-lite: warning: without an interrupt controller in the kernel only CPU 0 can start; CPU 1 to 2 stay halted\nqemu-lite: terminating on signal 15\n');
});

test('a kill -9 leaves nothing of it', () => {
  const { output } = runScripted(function* guest() { yield* say('x'); }, `${hello} & sleep 0.1; kill -9 $!; wait $!; echo $?; ps -eo comm | grep -c qemu-lite`);
  assert.equal(output, 'x137\n0\n');
});

/** Prints what it reads in capitals, and powers off after a full stop. */
function* capitals(): Generator<Exit, void, number> {
  for (;;) {
    if (((yield inb(0x3fd)) & 1) === 0) continue;
    const byte = yield inb(0x3f8);
    if (byte === 0x2e) yield outw(0x604, 0x2000);
    yield outb(0x3f8, byte ^ 0x20);
  }
}

test('what is typed reaches the guest key by key, Ctrl-a twice as one', () => {
  const { output, status } = runScripted(capitals, 'qemu-lite -kernel /boot/hello.elf -nographic', { input: 'ab\x01\x01c.' });
  assert.deepEqual([status, output], [0, 'AB!C']);
});

test('Ctrl-a x quits and Ctrl-a h helps, but only where the option says so', () => {
  const quit = runScripted(capitals, 'qemu-lite -kernel /boot/hello.elf -nographic', { input: '\x01h\x01x' });
  assert.match(quit.output, /^C-a h {4}print this help\n(.*\n)+qemu-lite: Terminated\n$/);
  assert.equal(quit.status, 0);
  const kept = runScripted(capitals, 'qemu-lite -kernel /boot/hello.elf -serial stdio', { input: '\x01x.' });
  assert.equal(kept.output, '!X');
});

test('without an option for it, standard input is left to the next program', () => {
  const { output } = runScripted(function* guest() { yield* say('Hi\n'); yield outw(0x604, 0x2000); }, `${hello}; cat`, { input: 'rest\n' });
  assert.equal(output, 'Hi\nrest\n');
});

test('a kernel that cannot be opened or a file that cannot be written is said with the reason', () => {
  const idle = function* guest() { yield hlt; };
  const { output } = runScripted(idle, 'qemu-lite -kernel /nowhere; echo $?; qemu-lite -kernel /boot/hello.elf -serial file:/nowhere/x; echo $?; qemu-lite -kernel /etc; echo $?');
  assert.equal(output, "qemu-lite: could not open kernel file '/nowhere': No such file or directory\n1\n"
    + "qemu-lite: could not open '/nowhere/x': No such file or directory\n1\nqemu-lite: could not open kernel file '/etc': Is a directory\n1\n");
});
