/** The shortest way from one OUT to the next does what the long way does, whatever comes between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { loadBytes, storeBytes } from '../../userland/libc.ts';
import { tracepoints } from '../../kernel/trace/tracepoint.ts';
import { boot } from '../support/boot.ts';
import { HLT, ISR, chipsProgram, machine, make, notes, rawIoctl, readStats, rm } from './chips-program.ts';

/** In real mode, three turns of: OUT of each size, in STI's shadow, with interrupts on and off, to port 7eh, IN, REP OUTSB, an exit between, and under TF. */
const code = [
  0xb9, 3, 0,                                          // mov cx,3
  0x66, 0xb8, 0x78, 0x56, 0x34, 0x12,                  // mov eax,12345678h
  0xe6, 0x10, 0xe7, 0x12, 0x66, 0xe7, 0x14,            // out 10h,al; out 12h,ax; out 14h,eax
  0xfb, 0xe6, 0x16, 0xe6, 0x18, 0xfa, 0xe6, 0x1a,      // sti; out 16h,al; out 18h,al; cli; out 1ah,al
  0xe6, 0x7e, 0xe6, 0x1c,                              // out 7eh,al; out 1ch,al
  0xba, 0x20, 0, 0xee, 0xe4, 0x22, 0xe6, 0x24, 0x40, 0xe6, 0x26, // mov dx,20h; out dx,al; in al,22h; out 24h,al; inc ax; out 26h,al
  0x89, 0xcb, 0xb9, 2, 0, 0xbe, 0, 0x10, 0xf3, 0x6e, 0x89, 0xd9, // mov bx,cx; mov cx,2; mov si,1000h; rep outsb; mov cx,bx
  0x66, 0x51, 0x66, 0x31, 0xc0, 0x0f, 0xa2, 0x66, 0x59, 0xe6, 0x28, // push ecx; xor eax,eax; cpuid; pop ecx; out 28h,al
  0x68, 0x02, 0x01, 0x9d, 0xe6, 0x2a, 0xe6, 0x2c,      // push 102h; popf; out 2ah,al; out 2ch,al
  0x49, 0x75, 0,                                       // dec cx; jnz
  HLT,
];
code[code.length - 2] = 256 - (code.length - 1 - 3);
/** The #DB that follows an instruction under TF: clears TF and returns. */
const handler = [0x55, 0x89, 0xe5, 0x81, 0x66, 6, 0xff, 0xfe, 0x5d, 0xcf];

/** Everything user space sees of each run. `before` comes before it: a request that changes nothing makes the next run go the long way. */
function* runs(sys: number, note: (line: string) => void, before: (vcpu: number, scratch: K.kvm_mp_state) => Sys): Sys {
  const g = yield* machine(sys, {}, code, handler);
  g.put32(4, ISR);
  const { vcpu, run, runAt } = g.m;
  const regs = yield* make(K.kvm_regs), scratch = yield* make(K.kvm_mp_state);
  for (let n = 0; ; n++) {
    yield* before(vcpu, scratch);
    run.immediate_exit = n % 7 === 6 ? 1 : 0;
    run.request_interrupt_window = n % 11 === 3 ? 1 : 0;
    run.kvm_valid_regs = n % 13 === 5 ? BigInt(K.KVM_SYNC_X86_REGS) : 0n;
    run.cr8 = n % 17 === 9 ? 3n : run.cr8;
    const r = yield* rawIoctl(vcpu, K.KVM_RUN.nr, 0);
    const data = [...loadBytes(runAt + 4096, 4)].join(' ');
    const io = run.exit_reason === K.KVM_EXIT_IO ? `${run.io.direction} ${run.io.size} ${run.io.port.toString(16)} ${run.io.count} ${run.io.data_offset} ${data}` : '';
    const synced = run.kvm_valid_regs !== 0n ? `${run.s.regs.regs.rip} ${run.s.regs.regs.rax}` : '';
    note(`${r} ${run.exit_reason} ${io} if ${run.if_flag} ready ${run.ready_for_interrupt_injection} flags ${run.flags} cr8 ${run.cr8} apic ${run.apic_base} ${synced}`);
    if (run.exit_reason === K.KVM_EXIT_HLT) break;
    if (run.exit_reason === K.KVM_EXIT_IO && run.io.port === 0x22) storeBytes(runAt + 4096, Uint8Array.of(0x5a));
    if (n % 5 === 4 || (r === 0 && run.io.port === 0x26)) {
      yield* rawIoctl(vcpu, K.KVM_GET_REGS.nr, regs);
      note(`rip ${regs.rip} rax ${regs.rax} rflags ${regs.rflags}`);
      // Where user space has moved RIP, the instruction is not stepped over again.
      if (r === 0 && run.io.port === 0x26) {
        regs.rip += 2n;
        yield* rawIoctl(vcpu, K.KVM_SET_REGS.nr, regs);
      }
    }
  }
  const stats = yield* readStats(yield* rawIoctl(vcpu, K.KVM_GET_STATS_FD.nr, 0));
  for (const name of ['exits', 'io_exits', 'signal_exits', 'request_irq_exits']) note(`${name} ${stats.get(name)}`);
  yield* rm(g.m);
}

test('after an OUT the guest goes on in the same way whether or not requests came between', () => {
  const short = notes((sys, note) => runs(sys, note, function* nothing() {}));
  const long = notes((sys, note) => runs(sys, note, function* ask(vcpu, scratch) { yield* rawIoctl(vcpu, K.KVM_GET_MP_STATE.nr, scratch); }));
  assert.deepEqual(short, long);
  assert.ok(short.length > 60, short.join('\n'));
  for (const port of ['10', '12', '14', '16', '18', '1a', '7e', '1c', '20', '22', '24', '26', '28', '2a', '2c']) {
    assert.ok(short.some((line) => new RegExp(`^0 2 \\d \\d ${port} 1 `).test(line)), `no access to port ${port}: ${short.join('\n')}`);
  }
});

test('after an OUT the guest goes on at the same cycle whether or not its exits are traced', () => {
  const ends = [false, true].map((traced) => {
    let end = 0;
    const { system, port } = boot({ init: ['-c', 'chips'], cpus: 1, programs: [chipsProgram(function* (sys) {
      const buffer = system.kernel.trace_buffer();
      if (traced) for (const point of tracepoints()) if (point.system === 'kvm') buffer.enable(point);
      yield* runs(sys, () => {}, function* nothing() {});
      for (const point of tracepoints()) buffer.disable(point);
      end = system.machine.processors[0]!.clock;
    })] });
    assert.equal(system.machine.run(10 * system.cyclesPerMs * 1000), 'off', port.output);
    return end;
  });
  assert.ok(ends[0]! > 0);
  assert.equal(ends[0], ends[1]);
});
