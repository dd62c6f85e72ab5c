/** KVM's trace points: an exit can be followed from the guest's instruction to user space and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { tracepoints } from '../../kernel/trace/tracepoint.ts';
import { traceLine } from '../../kernel/trace/output.ts';
import { boot } from '../support/boot.ts';
import { HLT, chipsProgram, machine, next, rawIoctl } from './chips-program.ts';

/** Lines of these trace points while a guest runs this code, times and tasks left out. */
function traced(names: readonly string[], code: readonly number[], exits: number): string[] {
  const lines: string[] = [];
  const times: number[] = [];
  const { system, port } = boot({ init: ['-c', 'chips'], cpus: 1, programs: [chipsProgram(function* (sys) {
    const g = yield* machine(sys, {}, code, [HLT]);
    const buffer = system.kernel.trace_buffer();
    buffer.consumer = (record) => {
      times.push(record.time);
      lines.push(traceLine(record, 1000).replace(/^.*?\d\.\d{6}: /, '').trimEnd());
    };
    for (const point of tracepoints()) if (names.includes(point.name)) buffer.enable(point);
    for (let i = 0; i < exits; i++) yield* next(g);
    for (const point of tracepoints()) buffer.disable(point);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_MP_STATE.nr, g.m.runAt);
  })] });
  assert.equal(system.machine.run(10 * system.cyclesPerMs * 1000), 'off', port.output);
  assert.equal(port.output, '');
  assert.deepEqual(times, times.toSorted((a, b) => a - b));
  return lines;
}

test('a store to where there is no memory shows the exit, the emulated instruction, the access, user space, and the entry', () => {
  // mov ax,0x9000; mov ds,ax; mov [0x10],al; hlt
  const code = [0xb8, 0x00, 0x90, 0x8e, 0xd8, 0xa2, 0x10, 0x00, HLT];
  const lines = traced(['sys_enter_ioctl', 'sys_exit_ioctl', 'kvm_entry', 'kvm_exit', 'kvm_page_fault', 'kvm_emulate_insn', 'kvm_mmio', 'kvm_userspace_exit'], code, 2);
  const from = lines.findIndex((line) => line.startsWith('kvm_page_fault') && line.includes('90010'));
  assert.deepEqual(lines.slice(from - 1, from + 9).map((line) => line.replace(/(info2|intr_info) \S+|error_code \S+|cmd: \S+|fd: \S+|arg: \S+/g, '').replace(/[ ,]+/g, ' ').trim()), [
    'kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x1005 info1 0x0000000000000182',
    'kvm_page_fault: vcpu 0 rip 0x1005 address 0x0000000000090010',
    'kvm_emulate_insn: 0:1005:a2 10 00 (real)',
    'kvm_mmio: mmio write len 1 gpa 0x90010 val 0x0',
    'kvm_userspace_exit: reason KVM_EXIT_MMIO (6)',
    'sys_ioctl -> 0x0',
    'sys_ioctl(',
    'kvm_entry: vcpu 0 rip 0x1008',
    'kvm_exit: vcpu 0 reason HLT rip 0x1008 info1 0x0000000000000000',
    'kvm_userspace_exit: reason KVM_EXIT_HLT (5)',
  ]);
});

test('an exception that KVM injects is named, with its error code', () => {
  // mov ecx,0x12345678; wrmsr: #GP(0) in real mode has no error code
  const lines = traced(['kvm_inj_exception', 'kvm_msr'], [0x66, 0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x30], 1);
  assert.deepEqual(lines.slice(0, 2).map((line) => line.replace(/= 0x[0-9a-f]+/, '= …')), ['kvm_msr: msr_write 12345678 = … (#GP)', 'kvm_inj_exception: #GP (0x0)']);
});
