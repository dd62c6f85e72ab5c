import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { kvm_vm_ioctl_check_extension } from '../../kvm/caps.ts';
import { __NR_read } from '../../abi/syscalls.ts';
import { close, eventfd, loadBytes, malloc, storeBytes, syscall } from '../../userland/libc.ts';
import type { Guest } from '../golden/probe/guest.ts';
import { anon, bytes, mk, setmem, word64, words } from '../golden/probe/machine.ts';
import { CLI, HLT, IRET, STI, VECTOR, X2APIC_EOI, X2APIC_LVTT, X2APIC_TMICT, apicOn, machine, make, next, notes, out, picOn, rawIoctl, readStats, rm, wrmsr } from './chips-program.ts';
import { capabilityUses } from './capabilities-table.ts';

const root = new URL('../../', import.meta.url);

test('for each capability that is claimed there is a test that uses it, and none for one that is not', () => {
  const claimed = Array.from({ length: 0x400 }, (_, cap) => cap).filter((cap) => kvm_vm_ioctl_check_extension(BigInt(cap)) !== 0);
  assert.ok(claimed.length > 80);
  const names = new Map(Object.entries(K).filter(([name]) => name.startsWith('KVM_CAP_')).map(([name, cap]) => [cap as number, name]));
  assert.deepEqual(claimed.filter((cap) => capabilityUses[cap] === undefined).map((cap) => names.get(cap)), [], 'claimed, and used by no test');
  assert.deepEqual(Object.keys(capabilityUses).map(Number).filter((cap) => !claimed.includes(cap)).map((cap) => names.get(cap)), [], 'not claimed');
});

test('the tests and recorded answers named for capabilities are there', () => {
  const expected = JSON.parse(readFileSync(new URL('test/golden/expected.json', root), 'utf8')) as Record<'cases' | 'runs', { held: string[] }>;
  const held = new Set([...expected.cases.held, ...expected.runs.held]);
  for (const [cap, use] of Object.entries(capabilityUses)) {
    for (const id of use.recorded ?? []) assert.ok(held.has(id), `${cap}: ${id} is not among the held answers`);
    if (use.test === undefined) continue;
    const [file, name] = use.test;
    const at = new URL(file, root);
    const source = existsSync(at) ? readFileSync(at, 'utf8') : '';
    assert.ok(["'", '"', '`'].some((q) => source.includes(`test(${q}${name}${q}`)), `${cap}: no test "${name}" in ${file}`);
  }
});

const enableCap = function* enableCap(vm: number, cap: number, ...args: bigint[]): Sys<number> { return yield* rawIoctl(vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap, args })); };
const shown = (g: Guest): number => loadBytes(g.m.runAt + Number(g.m.run.io.data_offset), 1)[0]!;

test('a VM answers for its capabilities as /dev/kvm does', () => {
  notes(function* body(sys) {
    const m = yield* mk(sys, {});
    for (let cap = 0; cap < 300; cap++) assert.equal(yield* rawIoctl(m.vm, K.KVM_CHECK_EXTENSION.nr, cap), yield* rawIoctl(sys, K.KVM_CHECK_EXTENSION.nr, cap), `capability ${cap}`);
    yield* rm(m);
  });
});

test('as many vCPUs as recommended can be made, and a guest sees memory given by the second form', () => {
  notes(function* body(sys) {
    const m = yield* mk(sys, {});
    const n = yield* rawIoctl(sys, K.KVM_CHECK_EXTENSION.nr, K.KVM_CAP_NR_VCPUS);
    const fds: number[] = [];
    for (let id = 0; id < n; id++) fds.push(yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, id));
    assert.ok(n >= 1 && fds.every((fd) => fd >= 0));
    for (const fd of fds) yield* close(fd);
    yield* rm(m);
    // MOV AX,9000h; MOV DS,AX; MOV AL,[0]; OUT 10h,AL
    const g = yield* machine(sys, {}, [0xb8, 0x00, 0x90, 0x8e, 0xd8, 0xa0, 0, 0, 0xe6, 0x10], []);
    const at = yield* anon(0x1000);
    storeBytes(at, Uint8Array.of(0x5a));
    assert.equal(yield* rawIoctl(g.m.vm, K.KVM_SET_USER_MEMORY_REGION2.nr, yield* make(K.kvm_userspace_memory_region2, { slot: 1, guest_phys_addr: 0x90000n, memory_size: 0x1000n, userspace_addr: BigInt(at) })), 0);
    assert.deepEqual([yield* next(g), shown(g)], ['out 10', 0x5a]);
    yield* rm(g.m);
  });
});

test('the old ways to the interval timer and its state are the new ones without flags', () => {
  notes(function* body(sys) {
    const m = yield* mk(sys, { irqchip: true });
    assert.equal(yield* rawIoctl(m.vm, K.KVM_CREATE_PIT.nr, 0), 0);
    const old = yield* make(K.kvm_pit_state);
    assert.equal(yield* rawIoctl(m.vm, K.KVM_GET_PIT.nr, old), 0);
    assert.equal(yield* rawIoctl(m.vm, K.KVM_SET_PIT.nr, old), 0);
    const now = yield* make(K.kvm_pit_state2);
    assert.equal(yield* rawIoctl(m.vm, K.KVM_GET_PIT2.nr, now), 0);
    assert.deepEqual(bytes(now, 16), bytes(old, 16));
    yield* rm(m);
  });
});

test('CPUID tells of the services, emulated features, and the delay by port 80h that is not needed', () => {
  notes(function* body(sys) {
    for (const [request, leaf, bit] of [[K.KVM_GET_SUPPORTED_CPUID, K.KVM_CPUID_FEATURES, K.KVM_FEATURE_NOP_IO_DELAY], [K.KVM_GET_EMULATED_CPUID, 1, -1]] as const) {
      const at = yield* malloc(8 + 256 * 40);
      storeBytes(at, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 0));
      assert.equal(yield* rawIoctl(sys, request.nr, at), 0);
      const table = new DataView(loadBytes(at, 8 + 256 * 40).buffer);
      const entry = Array.from({ length: table.getUint32(0, true) }, (_, i) => 8 + 40 * i).find((o) => table.getUint32(o, true) === leaf)!;
      // EAX of the features, or MOVBE in ECX.
      assert.ok(bit < 0 ? (table.getUint32(entry + 20, true) >>> 22) & 1 : (table.getUint32(entry + 12, true) >>> bit) & 1);
    }
  });
});

test('registers go with kvm_run, both ways, and second forms say what the first say', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, {}, [...out(0x10, 1), 0x89, 0xd8, 0xe6, 0x11], []);
    const { run, vcpu } = g.m;
    run.kvm_valid_regs = BigInt(K.KVM_SYNC_X86_VALID_FIELDS);
    assert.equal(yield* next(g), 'out 10');
    const sregs = yield* g.sregs();
    const { regs } = run.s;
    assert.deepEqual([regs.regs.rip & ~0xfn, regs.sregs.cr0], [0x1000n, sregs.cr0]);
    regs.regs.rbx = 0x77n;
    run.kvm_dirty_regs = BigInt(K.KVM_SYNC_X86_REGS);
    assert.deepEqual([yield* next(g), shown(g)], ['out 11', 0x77]);
    const second = yield* make(K.kvm_sregs2);
    assert.equal(yield* rawIoctl(vcpu, K.KVM_GET_SREGS2.nr, second), 0);
    assert.equal(second.cr0, sregs.cr0);
    const [a, b] = [yield* make(K.kvm_xsave), yield* make(K.kvm_xsave)];
    assert.deepEqual([yield* rawIoctl(vcpu, K.KVM_GET_XSAVE.nr, a), yield* rawIoctl(vcpu, K.KVM_GET_XSAVE2.nr, b)], [0, 0]);
    assert.deepEqual(bytes(a, 4096), bytes(b, 4096));
    yield* rm(g.m);
  });
});

test('a write to read-only memory goes to user space, a read does not', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, {}, [0xb8, 0x00, 0x90, 0x8e, 0xd8, 0xa0, 0, 0, 0xe6, 0x10, 0xa2, 1, 0, 0xe6, 0x11], []);
    const at = yield* anon(0x1000);
    storeBytes(at, Uint8Array.of(0x42));
    assert.equal(yield* setmem(g.m.vm, 1, K.KVM_MEM_READONLY, 0x90000n, 0x1000, at), 0);
    assert.deepEqual([yield* next(g), shown(g)], ['out 10', 0x42]);
    assert.equal(yield* next(g), `exit ${K.KVM_EXIT_MMIO}`);
    assert.deepEqual([g.m.run.mmio.phys_addr, g.m.run.mmio.is_write, loadBytes(at + 1, 1)[0]], [0x90001n, 1, 0]);
    assert.equal(yield* next(g), 'out 11');
    yield* rm(g.m);
  });
});

test('a line counts as up or down whatever polarity the I/O APIC is told', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, { irqchip: true }, [...picOn(0xff), ...apicOn, ...out(0x10, 1), STI, HLT, ...out(0x11, 1)], [...wrmsr(X2APIC_EOI, 0), IRET]);
    assert.equal(yield* next(g), 'out 10');
    const chip = yield* make(K.kvm_irqchip, { chip_id: K.KVM_IRQCHIP_IOAPIC });
    yield* rawIoctl(g.m.vm, K.KVM_GET_IRQCHIP.nr, chip);
    chip.chip.ioapic.redirtbl.get(20).bits = BigInt(VECTOR | 0x2000);
    yield* rawIoctl(g.m.vm, K.KVM_SET_IRQCHIP.nr, chip);
    assert.equal(yield* rawIoctl(g.m.vm, K.KVM_IRQ_LINE.nr, yield* make(K.kvm_irq_level, { irq: 20, level: 1 })), 0);
    assert.equal(yield* next(g), 'out 11');
    yield* rm(g.m);
  });
});

test('an ioeventfd without a length takes writes of every length, for ports and for memory', () => {
  notes(function* body(sys) {
    // OUT of 1, 2 and 4 bytes, then stores of 1 and 4 to A0000h
    const code = [0xba, 0x00, 0x05, 0xee, 0xef, 0x66, 0xef, 0xb8, 0x00, 0xa0, 0x8e, 0xd8, 0xa2, 0, 0, 0x66, 0xa3, 0, 0, ...out(0x10, 1)];
    const g = yield* machine(sys, {}, code, []);
    const fd = yield* eventfd(0);
    const at = yield* words(0n);
    for (const [addr, flags] of [[0x500n, K.KVM_IOEVENTFD_FLAG_PIO], [0xa0000n, 0]] as const) assert.equal(yield* rawIoctl(g.m.vm, K.KVM_IOEVENTFD.nr, yield* make(K.kvm_ioeventfd, { addr, len: 0, fd, flags })), 0);
    assert.equal(yield* next(g), 'out 10');
    yield* syscall(__NR_read, fd, at, 8);
    assert.equal(word64(at), 5n);
    yield* rm(g.m);
    yield* close(fd);
  });
});

test('with its exits disabled HLT waits inside the guest', () => {
  notes(function* body(sys) {
    const code = [...apicOn, ...wrmsr(X2APIC_LVTT, VECTOR), ...wrmsr(X2APIC_TMICT, 1000), STI, HLT, CLI, ...out(0x10, 1)];
    const halts = function* halts(disabled: bigint): Sys<number> {
      const g = yield* machine(sys, { irqchip: true, disabled }, code, [...wrmsr(X2APIC_EOI, 0), IRET]);
      assert.equal(yield* next(g), 'out 10');
      const fd = yield* rawIoctl(g.m.vcpu, K.KVM_GET_STATS_FD.nr, 0);
      const n = (yield* readStats(fd)).get('halt_exits')![0]!;
      yield* close(fd);
      yield* rm(g.m);
      return n;
    };
    assert.deepEqual([yield* halts(0n), yield* halts(BigInt(K.KVM_X86_DISABLE_EXITS_HLT))], [1, 0]);
  });
});

test('each feature MSR of the list can be read, and attributes of the system too', () => {
  notes(function* body(sys) {
    const list = yield* malloc(4 + 4 * 64);
    storeBytes(list, Uint8Array.of(64, 0, 0, 0));
    assert.equal(yield* rawIoctl(sys, K.KVM_GET_MSR_FEATURE_INDEX_LIST.nr, list), 0);
    const msrs = new Uint32Array(loadBytes(list, 4 + 4 * 64).buffer);
    assert.ok(msrs[0]! >= 3);
    for (const msr of msrs.subarray(1, 1 + msrs[0]!)) assert.equal(yield* rawIoctl(sys, K.KVM_GET_MSRS.nr, yield* words(1n, BigInt(msr), 0n)), 1, `0x${msr.toString(16)}`);
    const at = yield* words(0n);
    assert.equal(yield* rawIoctl(sys, K.KVM_GET_DEVICE_ATTR.nr, yield* make(K.kvm_device_attr, { group: K.KVM_X86_GRP_SYSTEM, attr: BigInt(K.KVM_X86_XCOMP_GUEST_SUPP), addr: BigInt(at) })), 0);
    assert.equal(word64(at) & 3n, 3n);
  });
});

test('a guest may be kept from the platform information', () => {
  notes(function* body(sys) {
    const rdmsr = [0x66, 0xb9, 0xce, 0, 0, 0, 0x0f, 0x32, ...out(0x10, 1)];
    const g = yield* machine(sys, {}, [...rdmsr, ...rdmsr], out(0x55, 1));
    g.put32(13 * 4, 0x1900);
    assert.equal(yield* next(g), 'out 10');
    assert.equal(yield* enableCap(g.m.vm, K.KVM_CAP_MSR_PLATFORM_INFO, 0n), 0);
    assert.equal(yield* next(g), 'out 55');
    yield* rm(g.m);
  });
});

test('a pending page fault brings its address when it is delivered, and a triple fault can be given', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, {}, [...out(0x10, 1), 0x90], out(0x55, 1));
    g.put32(14 * 4, 0x1900);
    const { vm, vcpu } = g.m;
    for (const cap of [K.KVM_CAP_EXCEPTION_PAYLOAD, K.KVM_CAP_X86_TRIPLE_FAULT_EVENT]) assert.equal(yield* enableCap(vm, cap, 1n), 0);
    assert.equal(yield* next(g), 'out 10');
    const events = yield* make(K.kvm_vcpu_events);
    yield* rawIoctl(vcpu, K.KVM_GET_VCPU_EVENTS.nr, events);
    Object.assign(events.exception, { pending: 1, nr: 14 });
    Object.assign(events, { exception_has_payload: 1, exception_payload: 0x1234n });
    assert.equal(yield* rawIoctl(vcpu, K.KVM_SET_VCPU_EVENTS.nr, events), 0);
    assert.equal((yield* g.sregs()).cr2, 0n);
    assert.equal(yield* next(g), 'out 55');
    assert.equal((yield* g.sregs()).cr2, 0x1234n);
    yield* rawIoctl(vcpu, K.KVM_GET_VCPU_EVENTS.nr, events);
    events.triple_fault.pending = 1;
    assert.equal(yield* rawIoctl(vcpu, K.KVM_SET_VCPU_EVENTS.nr, events), 0);
    assert.equal(yield* next(g), `exit ${K.KVM_EXIT_SHUTDOWN}`);
    yield* rm(g.m);
  });
});

test('an instruction KVM cannot emulate goes to user space with its bytes', () => {
  notes(function* body(sys) {
    // MOV AX,A000h; MOV DS,AX; FBSTP [0]: to where there is no memory
    const code = [0xb8, 0x00, 0xa0, 0x8e, 0xd8, 0xdf, 0x36, 0, 0];
    const g = yield* machine(sys, {}, code, []);
    assert.equal(yield* enableCap(g.m.vm, K.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1n), 0);
    assert.equal(yield* next(g), `exit ${K.KVM_EXIT_INTERNAL_ERROR}`);
    const { emulation_failure: e } = g.m.run;
    assert.deepEqual([e.suberror, e.flags & BigInt(K.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES), e.insn_bytes.get(0), e.insn_bytes.get(1)], [K.KVM_INTERNAL_ERROR_EMULATION, 1n, 0xdf, 0x36]);
    yield* rm(g.m);
  });
});

test('an entry that fails says on which processor', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, {}, [...out(0x10, 1)], []);
    const s = yield* g.sregs();
    // A limit beyond 1 MiB without granularity: no processor enters a guest like that.
    s.cr0 |= 1n;
    s.cs.limit = 0xffff_ffff;
    s.cs.g = 0;
    assert.equal(yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s), 0);
    assert.equal(yield* next(g), `exit ${K.KVM_EXIT_FAIL_ENTRY}`);
    assert.ok(g.m.run.fail_entry.cpu < 2 && g.m.run.fail_entry.hardware_entry_failure_reason !== 0n);
    yield* rm(g.m);
  });
});

test('memory can be mapped for a guest before it runs', () => {
  notes(function* body(sys) {
    const g = yield* machine(sys, {}, [...out(0x10, 1)], []);
    const range = yield* make(K.kvm_pre_fault_memory, { gpa: 0n, size: 0x10000n });
    assert.equal(yield* rawIoctl(g.m.vcpu, K.KVM_PRE_FAULT_MEMORY.nr, range), 0);
    assert.deepEqual([range.gpa, range.size], [0x10000n, 0n]);
    const faults = function* faults(): Sys<number> {
      const fd = yield* rawIoctl(g.m.vcpu, K.KVM_GET_STATS_FD.nr, 0);
      const n = (yield* readStats(fd)).get('pf_taken')![0]!;
      yield* close(fd);
      return n;
    };
    const before = yield* faults();
    assert.equal(yield* next(g), 'out 10');
    assert.equal(yield* faults(), before);
    yield* rm(g.m);
  });
});
