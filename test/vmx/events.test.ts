/** Events into a guest and out of it: injection, exceptions, interrupts, NMIs, windows, timers, traps and what is pending at an exit or entry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as C from '../../machine/vmx/controls.ts';
import * as E from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import { APIC_SPIV, APIC_SPIV_APIC_ENABLED } from '../../machine/chips/apic-registers.ts';
import { CODE, GUEST_RAM, HLT, NOP, VIRTUAL_APIC, clear, cpuBased, guest, host, inject, or, qualification, rip, setEpt, setVector, skip } from './guest.ts';

test('an injected interrupt goes through the interrupt table before the first instruction', () => {
  const g = guest('real', [HLT], (v) => v.write32(F.GUEST_RFLAGS, 0x202));
  setVector(g, 0x21, 0x7100);
  g.ram.set([HLT], 0x7100);
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.GUEST_RIP), 0x7100);
  assert.equal(g.read(F.GUEST_RFLAGS) & 0x200, 0);
  assert.equal(g.read(F.GUEST_RSP), 0x6000 - 6);
  assert.equal(g.read(F.VM_ENTRY_INTR_INFO_FIELD) >>> 31, 0, 'the valid bit is cleared by the exit');
});

test('an injected exception pushes its error code', () => {
  const g = guest('protected', [HLT]);
  const gate = new DataView(g.ram.buffer, g.ram.byteOffset);
  gate.setUint32(0x3000 + 8 * 14, (8 << 16) | 0x7100, true);
  gate.setUint32(0x3000 + 8 * 14 + 4, 0x8e00, true);
  gate.setBigUint64(0x2008, 0x00cf_9b00_0000_ffffn, true);
  g.ram.set([HLT], 0x7100);
  g.vmx.write64(F.GUEST_IDTR_BASE, 0x3000n);
  g.vmx.write64(F.GUEST_GDTR_BASE, 0x2000n);
  g.vmx.write32(F.GUEST_GDTR_LIMIT, 0xffff);
  inject(g, 14, 3, 7);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.GUEST_RIP), 0x7100);
  assert.equal(gate.getUint32(g.read(F.GUEST_RSP), true), 7);
  assert.equal(gate.getUint32(g.read(F.GUEST_RSP) + 4, true), CODE);
});

test('an exit in the midst of an injection reports what was being injected', () => {
  const g = guest('real', [HLT], (v) => v.write32(F.GUEST_RFLAGS, 0x202));
  setEpt(g, 0x5000, 0n);                      // the stack below 0x6000
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(g.read(F.IDT_VECTORING_INFO_FIELD), 0x8000_0021);
  assert.deepEqual([rip(g), g.read(F.GUEST_RSP)], [0, 0x6000], 'nothing has happened yet');
  setEpt(g, 0x5000, BigInt(GUEST_RAM + 0x5000) | 0x37n);
  g.vmx.write32(F.VM_ENTRY_INTR_INFO_FIELD, g.read(F.IDT_VECTORING_INFO_FIELD));
  setVector(g, 0x21, 0x7100);
  g.ram.set([HLT], 0x7100);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.IDT_VECTORING_INFO_FIELD), 0);
});

test('the exception bitmap makes exceptions exit; page faults also by mask and match', () => {
  const ud = guest('protected', [NOP, 0x0f, 0x0b], (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 6));
  assert.equal(ud.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([ud.read(F.VM_EXIT_INTR_INFO), rip(ud)], [0x8000_0306, 1]);
  const pf = (bitmap: number, mask: number, match: number) => {
    const g = guest('long', [0xa1, 0, 0, 0, 0x40, 0, 0, 0, 0], (v) => {
      v.write32(F.EXCEPTION_BITMAP, bitmap);
      v.write32(F.PAGE_FAULT_ERROR_CODE_MASK, mask);
      v.write32(F.PAGE_FAULT_ERROR_CODE_MATCH, match);
    });
    const reason = g.run();
    return [reason, qualification(g), g.read(F.VM_EXIT_INTR_INFO), g.read(F.VM_EXIT_INTR_ERROR_CODE)];
  };
  const exits = [E.EXIT_REASON_EXCEPTION_NMI, 0x4000_0000, 0x8000_0b0e, 0];
  assert.deepEqual(pf(1 << 14, 0, 0), exits);
  assert.deepEqual(pf(0, 1, 1), exits);
  assert.equal(pf(1 << 14, 1, 1)[0], E.EXIT_REASON_TRIPLE_FAULT);
  assert.equal(pf(0, 0, 0)[0], E.EXIT_REASON_TRIPLE_FAULT);
});

test('INT3 exits as a software exception with its length', () => {
  const g = guest('real', [0xcc], (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 3));
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.read(F.VM_EXIT_INSTRUCTION_LEN), rip(g)], [0x8000_0603, 1, 0]);
});

test('a triple fault exits', () => {
  const g = guest('protected', [0x0f, 0x0b], (v) => v.write32(F.GUEST_IDTR_LIMIT, 0));
  assert.equal(g.run(), E.EXIT_REASON_TRIPLE_FAULT);
});

test('an interrupt that becomes pending makes the guest exit at the next instruction, with the vector acknowledged', () => {
  const g = guest('real', [0xeb, 0xfe]);
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  assert.equal(g.run(5000), 'limit');
  assert.ok(g.vmx.inGuest);
  assert.equal(g.p.retired.guest, 5000, 'the run ended at the exact cycle');
  g.p.lapic.accept(0x52, false);
  assert.equal(g.run(5000), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.equal(g.read(F.VM_EXIT_INTR_INFO), 0x8000_0052);
  assert.equal(g.p.retired.guest, 5000);
  assert.ok(g.p.lapic.isInService(0x52));
});

test('without acknowledgement the vector stays pending', () => {
  const g = guest('real', [0xeb, 0xfe], (v) => clear(v, F.VM_EXIT_CONTROLS, C.VM_EXIT_ACK_INTR_ON_EXIT));
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  g.p.lapic.accept(0x52, false);
  assert.equal(g.run(), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.p.pendingVector()], [0, 0x52]);
});

test('the interrupt window opens when STI\'s shadow has passed', () => {
  const g = guest('real', [NOP, 0xfb, NOP, NOP, HLT], cpuBased(C.CPU_BASED_INTR_WINDOW_EXITING));
  assert.equal(g.run(), E.EXIT_REASON_INTERRUPT_WINDOW);
  assert.equal(rip(g), 3);
  clear(g.vmx, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_INTR_WINDOW_EXITING);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
});

test('an exit in STI\'s shadow saves it, and the next entry goes on in it', () => {
  const g = guest('real', [0xfb, 0xe6, 0x10, NOP, HLT]);
  assert.equal(g.run(), E.EXIT_REASON_IO_INSTRUCTION);
  assert.equal(g.read(F.GUEST_INTERRUPTIBILITY_INFO), 1);
  cpuBased(C.CPU_BASED_INTR_WINDOW_EXITING)(g.vmx);
  skip(g);
  assert.equal(g.run(), E.EXIT_REASON_INTERRUPT_WINDOW);
  assert.equal(rip(g), 4, 'one instruction ran in the shadow');
});

test('an NMI for the host exits; the NMI window opens after IRET', () => {
  const g = guest('real', [HLT, HLT]);
  g.p.nmi();
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.equal(g.read(F.VM_EXIT_INTR_INFO), 0x8000_0202);
  setVector(g, 2, 0x7100);
  g.ram.set([NOP, 0xcf], 0x7100);
  cpuBased(C.CPU_BASED_NMI_WINDOW_EXITING)(g.vmx);
  inject(g, 2, 2);
  assert.equal(g.run(), E.EXIT_REASON_NMI_WINDOW);
  assert.equal(rip(g), 0, 'back from the handler');
  assert.equal(g.read(F.GUEST_INTERRUPTIBILITY_INFO), 0);
});

test('the preemption timer exits after its count, exactly', () => {
  const g = guest('real', [0xeb, 0xfe], (v) => {
    or(v, F.PIN_BASED_VM_EXEC_CONTROL, C.PIN_BASED_VMX_PREEMPTION_TIMER);
    or(v, F.VM_EXIT_CONTROLS, C.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER);
    v.write32(F.VMX_PREEMPTION_TIMER_VALUE, 100);
  });
  assert.equal(g.run(1000), 'limit');
  assert.equal(g.run(100_000), E.EXIT_REASON_PREEMPTION_TIMER);
  assert.equal(g.p.retired.guest, 100 << C.PREEMPTION_TIMER_RATE);
  assert.equal(g.read(F.VMX_PREEMPTION_TIMER_VALUE), 0);
});

test('the monitor trap flag exits after every instruction', () => {
  const g = guest('real', [NOP, 0xb8, 1, 0, NOP, HLT], cpuBased(C.CPU_BASED_MONITOR_TRAP_FLAG));
  const seen: number[] = [];
  while (g.run() === E.EXIT_REASON_MONITOR_TRAP_FLAG) seen.push(rip(g));
  assert.deepEqual(seen, [1, 4, 5]);
});

test('a debug exception left pending comes before the first instruction', () => {
  const g = guest('real', [NOP, HLT], (v) => {
    v.write64(F.GUEST_PENDING_DBG_EXCEPTIONS, 0x4000n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 1);
  });
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), qualification(g), rip(g)], [0x8000_0301, 0x4000, 0]);
  assert.equal(g.read(F.GUEST_PENDING_DBG_EXCEPTIONS), 0);
});

test('single-stepping by TF traps behind each instruction', () => {
  const g = guest('real', [NOP, 0xb8, 1, 0, HLT], (v) => {
    v.write64(F.GUEST_RFLAGS, 0x102n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 1);
  });
  const seen: number[] = [];
  while (g.run() === E.EXIT_REASON_EXCEPTION_NMI) seen.push(rip(g), qualification(g));
  assert.deepEqual(seen, [1, 0x4000, 4, 0x4000]);
});

test('a guest that halts without HLT exiting sleeps to the limit and wakes by an injected interrupt', () => {
  const g = guest('real', [HLT, 0xe6, 0x10], (v) => {
    clear(v, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_HLT_EXITING);
    v.write32(F.GUEST_RFLAGS, 0x202);
  });
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  assert.equal(g.run(50_000), 'limit');
  g.p.lapic.accept(0x30, false);
  assert.equal(g.run(), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.equal(g.read(F.GUEST_ACTIVITY_STATE), 1);
  assert.equal(rip(g), 1);
  setVector(g, 0x21, 0x7100);
  g.ram.set([0xcf], 0x7100);
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_IO_INSTRUCTION);
});

test('with a TPR shadow CR8 is the virtual APIC page, and falling below the threshold exits behind the instruction', () => {
  // mov cr8,rax (5); mov rcx,cr8; mov cr8,rdx (0); nop
  const g = guest('long', [0xb8, 5, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc1, 0x31, 0xd2, 0x44, 0x0f, 0x22, 0xc2, NOP, HLT], (v, self) => {
    cpuBased(C.CPU_BASED_TPR_SHADOW)(v);
    v.write32(F.TPR_THRESHOLD, 3);
    host(self, VIRTUAL_APIC)[0x80] = 0x40;
  });
  assert.equal(g.run(), E.EXIT_REASON_TPR_BELOW_THRESHOLD);
  assert.equal(rip(g), 19);
  assert.equal(g.gpr(1), 5n);
  assert.equal(g.p.lapic.taskPriority, 0, 'the processor\'s own is untouched');
});

test('an address space with a VPID keeps its translations over exits, one without does not', () => {
  const counts = [true, false].map((vpid) => {
    // loop: mov al,[0x9000]; out 0x10,al; jmp loop
    const g = guest('protected', [0xa0, 0, 0x90, 0, 0, 0xe6, 0x10, 0xeb, 0xf7], (v) => {
      if (!vpid) clear(v, F.SECONDARY_VM_EXEC_CONTROL, C.SECONDARY_EXEC_ENABLE_VPID);
    });
    g.run();
    skip(g);
    g.run();
    const before = g.p.clock;
    skip(g);
    g.run();
    return g.p.clock - before;
  });
  assert.ok(counts[0]! < counts[1]!, String(counts));
});

test('unrestricted: a guest goes from real mode to protected mode by itself', () => {
  // lgdt [0x7080]; mov eax,cr0; or al,1; mov cr0,eax; jmp 8:0x7040 / 0x7040: mov eax,0x12345678; hlt
  const g = guest('real', [0x0f, 0x01, 0x16, 0x80, 0x70, 0x0f, 0x20, 0xc0, 0x0c, 1, 0x0f, 0x22, 0xc0, 0xea, 0x40, 0x70, 8, 0], (v) => {
    v.write32(F.EXCEPTION_BITMAP, 0xffff_ffff);
  });
  g.ram.set([0xb8, 0x78, 0x56, 0x34, 0x12, HLT], 0x7040);
  const view = new DataView(g.ram.buffer, g.ram.byteOffset);
  view.setUint16(0x7080, 0xffff, true);
  view.setUint32(0x7082, 0x2000, true);
  view.setBigUint64(0x2008, 0x00cf_9b00_0000_ffffn, true);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.gpr(0), 0x1234_5678n);
  assert.equal(g.read(F.GUEST_CS_AR_BYTES), 0xc09b);
});

test('a guest that left in the shadow of MOV SS is entered again, and its single-step trap is told as pending', () => {
  const TF = 0x100;
  const g = guest('protected', [0x8e, 0xd0, 0x0f, 0xa2, NOP, HLT], (v) => v.write32(F.GUEST_RFLAGS, 2 | TF));
  const { mem, base } = g.machine.ram;
  mem.u64[(base + GUEST_RAM + 0x5008) / 8] = 0x00cf93000000ffffn;
  g.vmx.write64(F.GUEST_GDTR_BASE, 0x5000n);
  g.vmx.write32(F.GUEST_GDTR_LIMIT, 0xf);
  g.p.cpu.gpr[0] = 8n;
  g.vmx.write32(F.EXCEPTION_BITMAP, 1 << 1);
  assert.equal(g.run(), E.EXIT_REASON_CPUID);
  assert.deepEqual([g.read(F.GUEST_INTERRUPTIBILITY_INFO), g.read(F.GUEST_PENDING_DBG_EXCEPTIONS)], [2, 0x4000]);
  skip(g);
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI, 'the next instruction runs in the shadow');
  assert.deepEqual([qualification(g), rip(g)], [0x4000, 5]);
});

test('a guest may be entered at the first address that is not canonical, where its last instruction ended: #GP', () => {
  const g = guest('long', [HLT], (v) => {
    v.write64(F.GUEST_RIP, 1n << 47n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 13);
  });
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.vmx.read64(F.GUEST_RIP)], [0x8000_0b0d, 1n << 47n]);
});

test('an IRET that cannot be finished has let NMIs in, and its exit says so', () => {
  const faulting = guest('real', [0xcf], (v) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    v.write64(F.GUEST_RSP, 0xfffdn);
    v.write32(F.EXCEPTION_BITMAP, 1 << 12);
  });
  assert.equal(faulting.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([faulting.read(F.VM_EXIT_INTR_INFO), faulting.read(F.GUEST_INTERRUPTIBILITY_INFO)], [0x8000_130c, 0]);
  const absent = guest('real', [0xcf], (v, g) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    setEpt(g, 0x6000, 0n);
  });
  assert.equal(absent.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(absent) & 0x1000, 0x1000);
  const other = guest('real', [0x58], (v, g) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    setEpt(g, 0x6000, 0n);
  });
  assert.equal(other.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.deepEqual([qualification(other) & 0x1000, other.read(F.GUEST_INTERRUPTIBILITY_INFO)], [0, 8]);
});

test('an exit in the midst of a fault\'s delivery saves RFLAGS with RF, as the frame would have had it', () => {
  const g = guest('real', [0x0f, 0x0b], (v, own) => {
    setVector(own, 6, 0x7100);
    v.write64(F.GUEST_RSP, 0x9010n);
    setEpt(own, 0x9000, 0n);
  });
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.deepEqual([g.read(F.IDT_VECTORING_INFO_FIELD), g.read(F.GUEST_RFLAGS)], [0x8000_0306, 0x1_0002]);
});
