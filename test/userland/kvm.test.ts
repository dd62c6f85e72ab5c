/** The programs that show KVM, in a whole system. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sh } from '../support/boot.ts';

test('kvmtest prints 4 and says why the guest stopped', () => {
  const { output, status } = sh('kvmtest');
  assert.equal(output, '4\nKVM_EXIT_HLT\n');
  assert.equal(status, 0);
});

test('strace shows the requests of kvmtest by name, with their structs', () => {
  const { output } = sh('strace -o /tmp/log kvmtest; cat /tmp/log');
  for (const line of [
    'execve("/bin/kvmtest", ["kvmtest"], ',
    'open("/dev/kvm", O_RDWR|O_CLOEXEC)      = 3\n',
    'ioctl(3, KVM_GET_API_VERSION, 0)        = 12\n',
    'ioctl(3, KVM_CREATE_VM, 0)              = 4\n',
    'ioctl(4, KVM_SET_USER_MEMORY_REGION, {slot=0, flags=0, guest_phys_addr=0x1000, memory_size=4096, userspace_addr=0x',
    'ioctl(5, KVM_SET_REGS, {rax=0x2, ..., rsp=0, rbp=0, ..., rip=0x1000, rflags=0x2}) = 0\n',
    'ioctl(5, KVM_RUN, 0)                    = 0\n',
    'write(1, "4", 1)                        = 1\n',
    'exit_group(0)                           = ?\n+++ exited with 0 +++\n',
  ]) assert.ok(output.includes(line), `${line}\nis not in\n${output}`);
});

test('without the module there is no /dev/kvm, and modprobe brings it back with what it needs', () => {
  const { output } = sh('rmmod kvm_intel; rmmod kvm; ls /dev/kvm; kvmtest; modprobe kvm_intel; kvmtest; lsmod | cut -c1-10; rmmod kvm');
  assert.match(output, /^ls: cannot access '\/dev\/kvm': No such file or directory$/m);
  assert.match(output, /^kvmtest: open: No such file or directory \(ENOENT\)$/m);
  assert.match(output, /^4\nKVM_EXIT_HLT\nModule {4}\nkvm_intel {1}\nkvm {7}\nrmmod: ERROR: Module kvm is in use by: kvm_intel$/m);
});

test('hybrid measures a vCPU in two ways and shows what nice, affinity and signals do to it', () => {
  const { output, status } = sh('hybrid');
  assert.equal(status, 0, output);
  const number = (pattern: RegExp): number => Number((pattern.exec(output)?.[1] ?? 'NaN').replaceAll(',', ''));
  assert.ok(number(/instructions in guest mode +([\d,]+)/) > 5_000_000, output);
  assert.match(output, /thread +CPU 0\/KVM, tid \d+$/m);
  assert.match(output, /it says: .*Hello from guest mode/);
  const shares = /nice 0 to 10: it ran ([\d.]+) % of the\n +time, then ([\d.]+) %/.exec(output) ?? [];
  assert.ok(Math.abs(Number(shares[1]) - 50) < 5 && Number(shares[2]) < 18, output);
  assert.match(output, /moved to processor 1: alone there it ran (9\d|100)/);
  assert.match(output, /KVM_RUN returned EINTR once/);
  assert.match(output, /SIGSTOP: state T, 0 guest instructions; SIGCONT: state R, [1-9]/);
  assert.match(output, /SIGKILL: the process is gone, and the VM \d+-\d+ with it/);
});
