import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { __NR_read } from '../../abi/syscalls.ts';
import { clock_gettime, close, eventfd, readFile, syscall, write } from '../../userland/libc.ts';
import { Guest, setMode } from '../golden/probe/guest.ts';
import { mk, word64, words } from '../golden/probe/machine.ts';
import { CLI, HLT, IRET, MSR_APIC_BASE, STI, VECTOR, X2APIC_EOI, X2APIC_LVTT, X2APIC_TMICT, apicOn, machine, make, next, notes, out, picOn, rawIoctl, rm, setCpuid, wrmsr, writeFile } from './chips-program.ts';

const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
const picEoi = out(0x20, 0x20), apicEoi = wrmsr(X2APIC_EOI, 0);
/** PUSH AX; INC WORD [3000h]; EOI; POP AX; IRET */
const count = (...eoi: number[]): number[] => [0x50, 0xff, 0x06, 0x00, 0x30, ...eoi, 0x58, IRET];
/** Some 65,000 cycles. */
const delay = [0xbf, 0x00, 0x80, 0xb9, 0x00, 0x70, 0xf3, 0xaa, 0xbf, 0x00, 0x80, 0xb9, 0x00, 0x70, 0xf3, 0xaa];
const counted = (g: Guest): number => Number(word64(g.m.mem + 0x3000) & 0xffffn);
const enableCap = function* enableCap(vm: number, cap: number, ...args: bigint[]): Sys<number> { return yield* rawIoctl(vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap, args })); };
const pit = [...out(0x43, 0x34), ...out(0x40, 1193 & 0xff), ...out(0x40, 1193 >> 8)];

test('a tick the guest could not take is given later with reinjection, and merges without', () => {
  notes(function* body(sys) {
    // One tick, then 100 delays with interrupts off, then a moment for what is owed.
    const blind = [0xbd, 100, 0, ...delay, 0x4d, 0x75, 256 - delay.length - 3];
    const code = [...picOn(0xfe), ...pit, STI, HLT, CLI, ...blind, STI, ...delay, CLI, ...out(0x10, 1)];
    const ticks = function* ticks(reinject: number): Sys<number> {
      const g = yield* machine(sys, { irqchip: true, pit: true }, code, count(...picEoi));
      const control = new Uint8Array(K.kvm_reinject_control.size);
      control[0] = reinject;
      const at = yield* words(BigInt(reinject), 0n, 0n, 0n);
      assert.equal(yield* rawIoctl(g.m.vm, K.KVM_REINJECT_CONTROL.nr, at), 0);
      assert.equal(yield* next(g), 'out 10');
      const n = counted(g);
      yield* rm(g.m);
      return n;
    };
    const owed = yield* ticks(1);
    assert.ok(owed >= 6 && owed <= 8, `${owed} ticks in some 6 ms`);
    assert.equal(yield* ticks(0), 2);
  });
});

test('the interval timer is silent where a HPET stands in for it', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true, pit: true }, [...picOn(0xfe), ...pit, ...out(0x10, 1), STI, ...delay, ...Array.from({ length: 40 }, () => delay).flat(), ...out(0x11, 1)], count(...picEoi));
    assert.equal(yield* next(g), 'out 10');
    const state = yield* make(K.kvm_pit_state2);
    yield* rawIoctl(g.m.vm, K.KVM_GET_PIT2.nr, state);
    state.flags = K.KVM_PIT_FLAGS_HPET_LEGACY;
    assert.equal(yield* rawIoctl(g.m.vm, K.KVM_SET_PIT2.nr, state), 0);
    assert.equal(yield* next(g), 'out 11');
    assert.equal(counted(g), 0);
    yield* rm(g.m);
  });
});

test("a level-triggered line through the 8259 is lowered by the guest's EOI, which signals the second eventfd", () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true }, [...picOn(0xdf), 0xba, 0xd0, 0x04, 0xb0, 0x20, 0xee, ...out(0x10, 1), STI, HLT, CLI, ...out(0x11, 1)], []);
    g.put(0x1900, Uint8Array.from(count(...picEoi)));
    g.put32((VECTOR + 5) * 4, 0x1900);
    const [fd, again] = [yield* eventfd(0), yield* eventfd(0, 0o4000)];
    assert.equal(yield* next(g), 'out 10');
    assert.equal(yield* rawIoctl(g.m.vm, K.KVM_IRQFD.nr, yield* make(K.kvm_irqfd, { fd, gsi: 5, flags: K.KVM_IRQFD_FLAG_RESAMPLE, resamplefd: again })), 0);
    yield* write(fd, one);
    assert.equal(yield* next(g), 'out 11');
    const at = yield* words(0n);
    assert.equal(yield* syscall(__NR_read, again, at, 8), 8);
    assert.deepEqual([word64(at), counted(g)], [1n, 1]);
    yield* rm(g.m);
    for (const f of [fd, again]) yield* close(f);
  });
});

test('what a line returns: taken, merged, masked; and a restored chip delivers', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true }, [...picOn(0xff), ...apicOn, ...out(0x10, 1), STI, HLT, CLI, ...out(0x11, 1)], count(...apicEoi));
    assert.equal(yield* next(g), 'out 10');
    const line = function* line(irq: number, level: number): Sys<number> {
      const l = yield* make(K.kvm_irq_level, { irq, level });
      assert.equal(yield* rawIoctl(g.m.vm, K.KVM_IRQ_LINE_STATUS.nr, l), 0);
      return l.status | 0;
    };
    assert.deepEqual([yield* line(20, 1), yield* line(20, 0)], [-1, 1]);
    const chip = yield* make(K.kvm_irqchip, { chip_id: K.KVM_IRQCHIP_IOAPIC });
    yield* rawIoctl(g.m.vm, K.KVM_GET_IRQCHIP.nr, chip);
    chip.chip.ioapic.redirtbl.get(20).bits = BigInt(VECTOR + 1);
    chip.chip.ioapic.redirtbl.get(21).bits = BigInt(VECTOR);
    yield* rawIoctl(g.m.vm, K.KVM_SET_IRQCHIP.nr, chip);
    g.put32((VECTOR + 1) * 4, 0x1900);
    assert.deepEqual([yield* line(20, 1), yield* line(20, 1), yield* line(20, 0)], [1, 0, 1]);
    // Pending in the state that is stored: it arrives.
    yield* rawIoctl(g.m.vm, K.KVM_GET_IRQCHIP.nr, chip);
    chip.chip.ioapic.irr = 1 << 21;
    yield* rawIoctl(g.m.vm, K.KVM_SET_IRQCHIP.nr, chip);
    assert.equal(yield* next(g), 'out 11');
    assert.equal(counted(g), 2);
    yield* rm(g.m);
  });
});

test('IDs of 32 bits, the broadcast that x2APIC processors take for one, and one interrupt for several processors', () => {
  notes(function* body(sys) {
    const m = yield* mk(sys, {});
    assert.equal(yield* enableCap(m.vm, K.KVM_CAP_X2APIC_API, 1n), 0);
    assert.equal(yield* enableCap(m.vm, K.KVM_CAP_SPLIT_IRQCHIP, 24n), 0);
    const x2apic = function* x2apic(id: number): Sys<{ fd: number; state: K.kvm_lapic_state }> {
      const fd = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, id);
      yield* setCpuid(sys, fd);
      assert.equal(yield* rawIoctl(fd, K.KVM_SET_MSRS.nr, yield* words(1n, 0x1bn, 0xfee00c00n)), 1);
      const state = yield* make(K.kvm_lapic_state);
      yield* rawIoctl(fd, K.KVM_GET_LAPIC.nr, state);
      state.regs.set(0xf1, 1);                                         // SPIV: on
      assert.equal(yield* rawIoctl(fd, K.KVM_SET_LAPIC.nr, state), 0);
      return { fd, state };
    };
    const word = (state: K.kvm_lapic_state, at: number): number => [3, 2, 1, 0].reduce((v, i) => v * 256 + (state.regs.get(at + i) & 0xff), 0);
    const cpus = [yield* x2apic(300), yield* x2apic(301)];
    assert.deepEqual(cpus.map(({ state }) => [word(state, 0x20), word(state, 0xd0)]), [[300, (18 << 16) | (1 << 12)], [301, (18 << 16) | (1 << 13)]]);
    cpus[0]!.state.regs.set(0x20, 7);
    assert.equal(yield* rawIoctl(cpus[0]!.fd, K.KVM_SET_LAPIC.nr, cpus[0]!.state), -22);
    const msi = function* msi(data: number, address_lo = 0xfeeff000, address_hi = 0): Sys<number> { return yield* rawIoctl(m.vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo, address_hi, data })); };
    assert.equal(yield* msi(0x40), 2);
    // Lowest priority: the vector chooses among them.
    assert.deepEqual([yield* msi(0x150), yield* msi(0x151)], [1, 1]);
    assert.equal(yield* msi(0x60, 0xfee2c000, 0x100), 1);
    const requests: number[][] = [];
    for (const { fd, state } of cpus) {
      yield* rawIoctl(fd, K.KVM_GET_LAPIC.nr, state);
      requests.push([word(state, 0x220), word(state, 0x230)]);
    }
    assert.deepEqual(requests, [[0x10001, 1], [0x20001, 0]]);
    assert.equal(yield* enableCap(m.vm, K.KVM_CAP_X2APIC_API, 2n), 0);
    assert.equal(yield* msi(0x41), 0);
    for (const { fd } of cpus) yield* close(fd);
    yield* rm(m);
  });
});

test('the bus clock of the APIC timer can be chosen while there are no processors', () => {
  notes(function* body(sys) {
    const wait = function* wait(ns: bigint): Sys<number> {
      const m = yield* mk(sys, {});
      assert.equal(yield* enableCap(m.vm, K.KVM_CAP_X86_APIC_BUS_CYCLES_NS, ns), -6);
      yield* rm(m);
      const g = yield* machine(sys, { irqchip: true, bus: ns }, [...apicOn, ...wrmsr(X2APIC_LVTT, VECTOR), ...out(0x10, 1), ...wrmsr(X2APIC_TMICT, 10_000), STI, HLT, CLI, ...out(0x11, 1)], count(...apicEoi));
      assert.equal(yield* enableCap(g.m.vm, K.KVM_CAP_X86_APIC_BUS_CYCLES_NS, ns), -22);
      yield* next(g);
      const before = yield* clock_gettime(1);
      yield* next(g);
      const after = yield* clock_gettime(1);
      yield* rm(g.m);
      return Number(after - before);
    };
    const [fast, slow] = [yield* wait(1n), yield* wait(25n)];
    assert.ok(fast > 20_000 && fast < 60_000, `${fast} ns for 10,000 counts of 2 ns`);
    assert.ok(slow > 500_000 && slow < 560_000, `${slow} ns for 10,000 counts of 50 ns`);
  });
});

test('accesses to the task priority can be reported, and a page shows it', () => {
  notes(function* body(sys) {
    const m = yield* mk(sys, { mem: true, irqchip: true, vcpu: true, cpuid: true, tss: true });
    const g = new Guest(m, sys);
    yield* setMode(g, 'prot32');
    // MOV DWORD [fee00080h],20h; MOV EAX,[fee00080h]; OUT 10h,AL; OUT 11h,AL
    g.put(0x1000, Uint8Array.of(0xc7, 0x05, 0x80, 0, 0xe0, 0xfe, 0x20, 0, 0, 0, 0xa1, 0x80, 0, 0xe0, 0xfe, 0xe6, 0x10, 0xe6, 0x11));
    yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 2n, rsp: 0x7000n }));
    assert.equal(yield* rawIoctl(m.vcpu, K.KVM_TPR_ACCESS_REPORTING.nr, yield* make(K.kvm_tpr_access_ctl, { enabled: 1 })), 0);
    assert.equal(yield* rawIoctl(m.vcpu, K.KVM_SET_VAPIC_ADDR.nr, yield* make(K.kvm_vapic_addr, { vapic_addr: 0x3000n })), 0);
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) {
      const said = yield* next(g);
      seen.push(m.run.exit_reason === K.KVM_EXIT_TPR_ACCESS ? `tpr ${m.run.tpr_access.is_write} ${m.run.tpr_access.rip.toString(16)}` : said);
    }
    assert.deepEqual(seen, ['tpr 1 1000', 'tpr 0 100a', 'out 10']);
    // What stands in the page counts at the next exit.
    g.put(0x3000, Uint8Array.of(0x30));
    assert.equal(yield* next(g), 'out 11');
    const state = yield* make(K.kvm_lapic_state);
    yield* rawIoctl(m.vcpu, K.KVM_GET_LAPIC.nr, state);
    assert.equal(state.regs.get(0x80), 0x30);
    yield* rm(m);
  });
});

test('a machine check that needs no action interrupts where its bank and the local APIC say so', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true }, [...apicOn, ...wrmsr(0x82f, VECTOR), ...wrmsr(0x281, 1 << 30), ...out(0x10, 1), STI, HLT, ...out(0x11, 1)], count(...apicEoi));
    const { vcpu } = g.m;
    assert.equal(yield* rawIoctl(vcpu, K.KVM_X86_SETUP_MCE.nr, yield* words(0x1000504n)), 0);
    assert.equal(yield* next(g), 'out 10');
    const status = (1n << 63n) | (1n << 61n);
    for (const bank of [2, 1]) assert.equal(yield* rawIoctl(vcpu, K.KVM_X86_SET_MCE.nr, yield* make(K.kvm_x86_mce, { status, addr: 0x1234n, bank })), 0);
    assert.equal(yield* next(g), 'out 11');
    assert.equal(counted(g), 1);
    const msrs = yield* words(1n, 0x409n, 0n);
    assert.equal(yield* rawIoctl(vcpu, K.KVM_GET_MSRS.nr, msrs), 1);
    assert.equal(word64(msrs + 16), status);
    yield* rm(g.m);
  });
});

test('lines, messages, acknowledgements and registers of the chips can be traced as Linux prints them', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true }, [...picOn(0xff), ...apicOn, ...out(0x10, 1), STI, HLT, ...out(0x11, 1)], [...wrmsr(X2APIC_EOI, 0), ...wrmsr(0x830, 0x4000 | 0x31), IRET]);
    assert.equal(yield* next(g), 'out 10');
    g.put(0x1b00, Uint8Array.from([...apicEoi, IRET]));
    g.put32(0x31 * 4, 0x1b00);
    const chip = yield* make(K.kvm_irqchip, { chip_id: K.KVM_IRQCHIP_IOAPIC });
    yield* rawIoctl(g.m.vm, K.KVM_GET_IRQCHIP.nr, chip);
    chip.chip.ioapic.redirtbl.get(21).bits = BigInt(0x8000 | VECTOR);
    yield* rawIoctl(g.m.vm, K.KVM_SET_IRQCHIP.nr, chip);
    const events = '/sys/kernel/tracing/events/kvm';
    for (const name of ['set_irq', 'msi_set_irq', 'ioapic_set_irq', 'pic_set_irq', 'apic', 'apic_ipi', 'apic_accept_irq', 'eoi', 'ack_irq']) yield* writeFile(`${events}/kvm_${name}/enable`, '1');
    for (const level of [1, 0]) yield* rawIoctl(g.m.vm, K.KVM_IRQ_LINE.nr, yield* make(K.kvm_irq_level, { irq: 5, level }));
    for (const level of [1, 0]) yield* rawIoctl(g.m.vm, K.KVM_IRQ_LINE.nr, yield* make(K.kvm_irq_level, { irq: 21, level }));
    yield* rawIoctl(g.m.vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo: 0xfee01000, data: 0x4142 }));
    assert.equal(yield* next(g), 'out 11');
    yield* rm(g.m);
    const lines = (yield* readFile('/sys/kernel/tracing/trace')).split('\n').filter((l) => !l.startsWith('#')).map((l) => l.replace(/^.*?\d+\.\d+: /, ''));
    for (const line of [
      'kvm_set_irq: gsi 5 level 1 source 0', 'kvm_pic_set_irq: chip 0 pin 5 (edge|masked)', 'kvm_ioapic_set_irq: pin 5 dst 0 vec 0 (Fixed|physical|edge|masked)',
      'kvm_ioapic_set_irq: pin 21 dst 0 vec 32 (Fixed|physical|level)', 'kvm_apic_accept_irq: apicid 0 vec 32 (Fixed|level)', 'kvm_msi_set_irq: dst 1 vec 66 (LowPrio|physical|edge)',
      'kvm_apic: apic_write APIC_EOI = 0x0', 'kvm_eoi: apicid 0 vector 32', 'kvm_ack_irq: irqchip IOAPIC pin 21', 'kvm_apic: apic_write APIC_ICR = 0x4031',
      'kvm_apic_ipi: dst 0 vec 49 (Fixed|physical|assert|edge|dst)', 'kvm_apic_accept_irq: apicid 0 vec 49 (Fixed|edge)',
    ]) assert.ok(lines.includes(line), `${line}\nis missing of\n${lines.join('\n')}`);
  });
});

test('the window of a local APIC lies where IA32_APIC_BASE says, and one that is switched on has its own ID again', () => {
  notes(function* body(sys) {
    const readId = (at: number): number[] => [0x26, 0x66, 0xa1, 0x20, 0x00, 0x66, 0xa3, at & 0xff, at >> 8];      // mov eax, es:[20h]; mov [at], eax
    const g = yield* machine(sys, { irqchip: true }, [
      ...wrmsr(MSR_APIC_BASE, 0xd0900), 0xb8, 0x00, 0xd0, 0x8e, 0xc0,                                             // mov ax, d000h; mov es, ax
      0x26, 0x66, 0xc7, 0x06, 0x20, 0x00, 0x00, 0x00, 0x00, 0x05, ...readId(0x3000),                              // mov dword es:[20h], 5000000h
      ...wrmsr(MSR_APIC_BASE, 0xd0100), ...wrmsr(MSR_APIC_BASE, 0xd0900), ...readId(0x3004), ...out(0x10, 1),
    ], []);
    assert.equal(yield* next(g), 'out 10');
    assert.equal(word64(g.m.mem + 0x3000), 0x0500_0000n);
    yield* rm(g.m);
  });
});
