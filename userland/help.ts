/** help: what this system offers, by what one wants to do. */
import type { Sys } from '../abi/process.ts';
import { fputs } from './libc.ts';

const HELP = `Vitrine: a miniature Linux with KVM, on simulated processors with VMX.

See what KVM is
  hybrid                        a vCPU as a Type-1 and as a Type-2 sees it
  kvmtest                       the well-known KVM sample, 16-bit code
  strace kvmtest                every system call of it; -f follows threads, -c counts
  qemu-lite -kernel FILE        a PC around a guest; guests lie in /boot
  lsmod, modprobe, rmmod        the modules kvm and kvm_intel
  dmesg, cat /proc/interrupts   what the kernel says

See what a guest does
  kvm_stat                      KVM's counters as they grow; -1 once, -l a line a second
  perf kvm stat record COMMAND  every exit while COMMAND runs; then: perf kvm stat report
  perf kvm stat live            the same as it happens; -d SECONDS between tables
  cd /sys/kernel/tracing        echo 'kvm:*' > set_event; cat trace_pipe

A vCPU is a thread
  ps -eLo pid,tid,psr,ni,comm   vCPU threads are named "CPU n/KVM"
  top -H                        who uses the processors
  nice, renice, taskset -p      change its share and its processor
  kill, free, /proc/PID         end it, and see what it held

The shell
  pipes, redirection, & jobs fg bg, variables, $( ), $(( )), if for while case, functions, here-documents
  Tab completes, Ctrl-R searches the history, Ctrl-C interrupts, Ctrl-Z stops
  ls /bin                       all programs
  poweroff                      back to the host's shell
`;

export function* main(): Sys<number> {
  yield* fputs(HELP);
  return 0;
}
