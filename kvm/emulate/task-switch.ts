/**
 * Hardware task switches: the processor checks and exits, KVM moves the state.
 *
 * Linux: arch/x86/kvm/emulate.c (emulator_do_task_switch); SDM Vol. 3, 8.3
 *
 * Up to the point where the old TSS is written a fault belongs to the old task; what the new task's registers then turn
 * out to be is the new task's fault, raised in it.
 */
import { emulate_exception, emulate_gp, push } from './memory.ts';
import { reg_read, reg_write } from './registers.ts';
import { X86_TRANSFER_TASK_SWITCH, descriptor_address, load_segment, read_segment_descriptor, set_descriptor_type, unpacked } from './segments.ts';
import {
  NT, TS_VECTOR, VCPU_SREG_CS, VCPU_SREG_LDTR, VCPU_SREG_TR, VM, X86EMUL_CONTINUE, X86EMUL_MODE_PROT32, X86EMUL_MODE_VM86, type x86_emulate_ctxt,
} from './types.ts';

export const TASK_SWITCH_CALL = 0, TASK_SWITCH_IRET = 1, TASK_SWITCH_JMP = 2, TASK_SWITCH_GATE = 3;

/** Offsets in a TSS. The part from `first` up to the LDT's selector is the state; the selectors are ES CS SS DS and, of 32 bits, FS GS. */
const TSS32 = { size: 0x68, word: 4, cr3: 0x1c, first: 0x20, eflags: 0x24, gpr: 0x28, seg: 0x48, segments: 6, ldt: 0x60 } as const;
const TSS16 = { size: 0x2c, word: 2, cr3: -1, first: 0x0e, eflags: 0x10, gpr: 0x12, seg: 0x22, segments: 4, ldt: 0x2a } as const;
type Layout = typeof TSS32 | typeof TSS16;

const CR0_TS = 8n, CR0_PG = 0x8000_0000n;
const TYPE_32 = 8, BUSY = 2;

class Tss {
  readonly layout: Layout;
  readonly bytes: Uint8Array;
  private readonly view: DataView;
  constructor(layout: Layout) {
    this.layout = layout;
    this.bytes = new Uint8Array(layout.size);
    this.view = new DataView(this.bytes.buffer);
  }
  word(at: number): number { return this.layout.word === 4 ? this.view.getUint32(at, true) : this.view.getUint16(at, true); }
  selector(at: number): number { return this.view.getUint16(at, true); }
  set(at: number, value: bigint): void {
    if (this.layout.word === 4) this.view.setUint32(at, Number(value & 0xffff_ffffn), true);
    else this.view.setUint16(at, Number(value & 0xffffn), true);
  }
}

function save_state(ctxt: x86_emulate_ctxt, tss: Tss): void {
  const { layout: l } = tss;
  tss.set(l.first, ctxt._eip);
  tss.set(l.eflags, BigInt(ctxt.eflags >>> 0));
  for (let i = 0; i < 8; i++) tss.set(l.gpr + l.word * i, reg_read(ctxt, i));
  for (let i = 0; i < l.segments; i++) tss.set(l.seg + l.word * i, BigInt(ctxt.ops.get_segment(i).selector));
}

function load_state(ctxt: x86_emulate_ctxt, tss: Tss): number {
  const { layout: l } = tss;
  if (l.cr3 >= 0 && (ctxt.ops.get_cr(0) & CR0_PG) !== 0n && ctxt.ops.set_cr(3, BigInt(tss.word(l.cr3))) !== 0) return emulate_gp(ctxt, 0);
  ctxt._eip = BigInt(tss.word(l.first));
  ctxt.eflags = tss.word(l.eflags) | 2;
  for (let i = 0; i < 8; i++) reg_write(ctxt, i, BigInt(tss.word(l.gpr + l.word * i)));
  // The selectors are visible before their descriptors are checked: a fault finds them in place.
  const selectors = Array.from({ length: l.segments }, (_, i) => tss.selector(l.seg + l.word * i));
  const ldt = tss.selector(l.ldt);
  for (const [seg, selector] of [[VCPU_SREG_LDTR, ldt] as const, ...selectors.map((s, i) => [i, s] as const)]) ctxt.ops.set_segment(seg, { ...ctxt.ops.get_segment(seg), selector });
  const vm86 = (ctxt.eflags & VM) !== 0;
  ctxt.mode = vm86 ? X86EMUL_MODE_VM86 : X86EMUL_MODE_PROT32;
  const cpl = vm86 ? 3 : selectors[VCPU_SREG_CS]! & 3;
  let rc = load_segment(ctxt, ldt, VCPU_SREG_LDTR, cpl, X86_TRANSFER_TASK_SWITCH);
  for (let seg = 0; seg < l.segments && rc === X86EMUL_CONTINUE; seg++) rc = load_segment(ctxt, selectors[seg]!, seg, cpl, X86_TRANSFER_TASK_SWITCH);
  return rc;
}

/**
 * Switches to the task of `selector`. `vector` is that of a software interrupt through a task gate, whose privilege is
 * checked here, else -1; `error` the error code the new task's handler is to find on its stack, or undefined.
 */
export function emulator_task_switch(ctxt: x86_emulate_ctxt, selector: number, vector: number, reason: number, error: number | undefined): number {
  const { ops } = ctxt;
  const old = { ...ops.get_segment(VCPU_SREG_TR) };
  let rc = read_segment_descriptor(ctxt, selector);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const next = unpacked(selector);
  const nextAt = descriptor_address();
  if (reason === TASK_SWITCH_GATE && vector >= 0) {
    const gate = new Uint8Array(8);
    rc = ops.read_std(ctxt, ops.get_dt('idt').base + BigInt(8 * vector), gate);
    if (rc !== X86EMUL_CONTINUE) return rc;
    const dpl = (gate[5]! >> 5) & 3;
    if ((selector & 3) > dpl || ops.cpl() > dpl) return emulate_gp(ctxt, (vector << 3) | 2);
  }
  const layout = next.type & TYPE_32 ? TSS32 : TSS16;
  if (!next.present || next.limit < layout.size - 1) return emulate_exception(ctxt, TS_VECTOR, selector & 0xfffc);

  if (reason === TASK_SWITCH_IRET || reason === TASK_SWITCH_JMP) {
    rc = read_segment_descriptor(ctxt, old.selector);
    if (rc === X86EMUL_CONTINUE) rc = set_descriptor_type(ctxt, descriptor_address(), unpacked(old.selector).type & ~BUSY);
    if (rc !== X86EMUL_CONTINUE) return rc;
  }
  if (reason === TASK_SWITCH_IRET) ctxt.eflags &= ~NT;

  const from = new Tss(old.type & TYPE_32 ? TSS32 : TSS16);
  const to = new Tss(layout);
  rc = ops.read_std(ctxt, old.base, from.bytes);
  if (rc !== X86EMUL_CONTINUE) return rc;
  save_state(ctxt, from);
  const { first, ldt } = from.layout;
  rc = ops.write_std(ctxt, old.base + BigInt(first), from.bytes.subarray(first, ldt));
  if (rc === X86EMUL_CONTINUE) rc = ops.read_std(ctxt, next.base, to.bytes);
  const nested = reason === TASK_SWITCH_CALL || reason === TASK_SWITCH_GATE;
  if (rc === X86EMUL_CONTINUE && nested) rc = ops.write_std(ctxt, next.base, Uint8Array.of(old.selector & 0xff, old.selector >> 8));
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = load_state(ctxt, to);
  if (rc !== X86EMUL_CONTINUE) return rc;

  if (nested) ctxt.eflags |= NT;
  if (reason !== TASK_SWITCH_IRET) {
    next.type |= BUSY;
    rc = set_descriptor_type(ctxt, nextAt, next.type);
    if (rc !== X86EMUL_CONTINUE) return rc;
  }
  ops.set_cr(0, ops.get_cr(0) | CR0_TS);
  ops.set_segment(VCPU_SREG_TR, { ...next, selector });
  // Breakpoints that were set for the old task only are over.
  ops.set_dr(7, ops.get_dr(7) & ~0x155n);
  return error === undefined ? rc : push(ctxt, BigInt(error), layout.word);
}
