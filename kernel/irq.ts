/**
 * Interrupts: the vector table, device lines behind the I/O APIC, and what /proc/interrupts counts.
 * Linux: arch/x86/kernel/irq.c, arch/x86/include/asm/irq_vectors.h, kernel/irq/manage.c
 */
import { EBUSY, EINVAL } from '../abi/errno.ts';
import { APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE, APIC_SPIV, APIC_SPIV_APIC_ENABLED } from '../machine/chips/apic-registers.ts';
import type { Processor } from '../machine/processor.ts';
import { kernelVariable, machine, this_processor } from './current.ts';
import { irq_handler_entry, irq_handler_exit } from './trace/events-sched.ts';

export const LOCAL_TIMER_VECTOR = 0xec;
export const CALL_FUNCTION_VECTOR = 0xfc;
export const RESCHEDULE_VECTOR = 0xfd;
export const SPURIOUS_APIC_VECTOR = 0xff;
/** Vectors of the I/O APIC's pins start here. */
const IRQ_VECTOR_BASE = 0x30;

type Handler = (vector: number) => void;

interface VectorDesc {
  handler: Handler | undefined;
  /** The device line, -1 for other vectors. */
  readonly irq: number;
  /** Row label of /proc/interrupts: a number for a device line, three letters otherwise. */
  label: string;
  description: string;
  readonly counts: number[];
}

interface IrqState {
  readonly vectors: (VectorDesc | undefined)[];
  /** Nesting of interrupt handlers, by processor. */
  readonly depth: number[];
}

const state = kernelVariable<IrqState>(() => ({ vectors: new Array<VectorDesc | undefined>(256).fill(undefined), depth: machine().processors.map(() => 0) }));

export const in_interrupt = (): boolean => state().depth[this_processor().id]! > 0;
export const local_irq_enable = (): void => { this_processor().interruptFlag = true; };
export const local_irq_disable = (): void => { this_processor().interruptFlag = false; };

/** Runs the handler of a vector the processor has acknowledged, interrupts off. */
export function do_IRQ(vector: number): void {
  const p = this_processor();
  const { vectors, depth } = state();
  const saved = p.interruptFlag;
  p.interruptFlag = false;
  depth[p.id]!++;
  const desc = vectors[vector];
  if (desc?.handler !== undefined) {
    desc.counts[p.id]!++;
    if (desc.irq >= 0 && irq_handler_entry.enabled) irq_handler_entry.trace({ irq: desc.irq, name: desc.description });
    p.lapic.eoi();
    desc.handler(vector);
    if (desc.irq >= 0 && irq_handler_exit.enabled) irq_handler_exit.trace({ irq: desc.irq, ret: 1 });
  } else if (vector !== SPURIOUS_APIC_VECTOR) p.lapic.eoi();
  depth[p.id]!--;
  p.interruptFlag = saved;
}

/** For KVM: the vector its VM exit acknowledged. Called with interrupts off. */
export const handle_external_interrupt = (vector: number): void => do_IRQ(vector);

export function register_vector_handler(vector: number, label: string, description: string, handler: Handler): void {
  state().vectors[vector] = { handler, irq: /^\d+$/.test(label) ? Number(label) : -1, label, description, counts: machine().processors.map(() => 0) };
}
export function unregister_vector_handler(vector: number): void { state().vectors[vector] = undefined; }

/** Connects a device's line (a pin of the I/O APIC) to a handler. 0, -EINVAL, -EBUSY. */
export function request_irq(irq: number, handler: () => void, name: string, cpu = 0): number {
  if (!(irq >= 0 && irq < 24)) return -EINVAL;
  const vector = IRQ_VECTOR_BASE + irq;
  if (state().vectors[vector] !== undefined) return -EBUSY;
  register_vector_handler(vector, String(irq), `IO-APIC ${String(irq).padStart(3)}-edge      ${name}`, handler);
  machine().ioapic.route(irq, vector, machine().processors[cpu]!.lapic.id);
  return 0;
}

/** Switches a processor's local APIC on, its timer in TSC-deadline mode. */
export function setup_local_APIC(p: Processor): void {
  p.lapic.write(APIC_SPIV, SPURIOUS_APIC_VECTOR | APIC_SPIV_APIC_ENABLED);
  p.lapic.write(APIC_LVTT, LOCAL_TIMER_VECTOR | APIC_LVT_TIMER_TSCDEADLINE);
  p.interruptFlag = true;
}

/** Rows of /proc/interrupts: device lines by number, then the named ones. */
export function interrupt_rows(): { label: string; counts: readonly number[]; description: string }[] {
  const rows = state().vectors.filter((v): v is VectorDesc => v !== undefined);
  const isLine = (row: VectorDesc) => /^\d+$/.test(row.label);
  return [...rows.filter(isLine), ...rows.filter((row) => !isLine(row))];
}
