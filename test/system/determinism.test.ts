import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tracepoints } from '../../kernel/trace/tracepoint.ts';
import { type RunOptions, fingerprint, run } from '../support/boot.ts';

const busy = 'kvmtest; qemu-lite -nographic -kernel /boot/hello.elf; ps -eLo pid,tid,psr,ni,comm; head -c 16 /dev/urandom | hexdump; sleep 0.3 & sleep 0.1; wait; dmesg | tail -3; cat /proc/interrupts';
const once = (options: RunOptions = {}) => run({ quiet: false, init: ['-c', busy], ...options });

test('same commands and same seed: the same bytes of output, instructions and RAM', () => {
  const [a, b] = [once(), once()];
  assert.match(a.output, /KVM_EXIT_HLT/);
  assert.equal(a.output, b.output);
  assert.equal(fingerprint(a.system), fingerprint(b.system));
});

test('another seed is another run', () => {
  assert.notEqual(once({ seed: 2 }).output, once({ seed: 3 }).output);
});

test('tracing changes nothing but that there is a trace', () => {
  const plain = once();
  let records = 0;
  const names = new Set<string>();
  const traced = once({
    prepare({ kernel }) {
      const buffer = kernel.trace_buffer();
      buffer.consumer = (record) => { records++; names.add(record.point.name); };
      for (const point of tracepoints()) buffer.enable(point);
    },
  });
  for (const point of tracepoints()) traced.system.kernel.trace_buffer().disable(point);
  assert.ok(records > 1000, `only ${records} records`);
  for (const name of ['sched_switch', 'sys_enter', 'sys_exit', 'irq_handler_entry', 'kvm_entry', 'kvm_exit', 'kvm_pio', 'kvm_userspace_exit']) assert.ok(names.has(name), `${name} was never traced`);
  assert.equal(traced.output, plain.output);
  assert.equal(fingerprint(traced.system), fingerprint(plain.system));
});

test('how the host cuts a run into pieces changes nothing', () => {
  const whole = once();
  let pieces = 0;
  const cut = once({
    prepare({ machine }) {
      for (let to = 1000; to < 50_000_000 && machine.run(to) === 'paused'; to = Math.floor(to * 1.37) + 777) pieces++;
    },
  });
  assert.ok(pieces > 20);
  assert.equal(cut.output, whole.output);
  assert.equal(fingerprint(cut.system), fingerprint(whole.system));
});
