/**
 * Trace points of interrupt chips. Linux: include/trace/events/kvm.h, arch/x86/kvm/trace.h
 */
import * as R from '../machine/chips/apic-registers.ts';
import { TRACE_EVENT } from '../kernel/exports.ts';

type names = Readonly<Record<number, string>>;
const hex = (value: number | bigint): string => value.toString(16);
const symbols = (value: string, of: names): string => `__print_symbolic(${value}, ${Object.entries(of).map(([n, name]) => `{ ${n}, "${name}" }`).join(', ')})`;

const deliver_mode: names = { 0: 'Fixed', 1: 'LowPrio', 2: 'SMI', 3: 'Res3', 4: 'NMI', 5: 'INIT', 6: 'SIPI', 7: 'ExtINT' };
const dst_shorthand: names = { 0: 'dst', 1: 'self', 2: 'all', 3: 'all-but-self' };
const irqchips: names = { 0: 'PIC master', 1: 'PIC slave', 2: 'IOAPIC' };
/** The names Linux knows, by register. */
const apic_registers: names = {
  [R.APIC_ID]: 'APIC_ID', [R.APIC_LVR]: 'APIC_LVR', [R.APIC_TASKPRI]: 'APIC_TASKPRI', [R.APIC_ARBPRI]: 'APIC_ARBPRI', [R.APIC_PROCPRI]: 'APIC_PROCPRI', [R.APIC_EOI]: 'APIC_EOI',
  [R.APIC_RRR]: 'APIC_RRR', [R.APIC_LDR]: 'APIC_LDR', [R.APIC_DFR]: 'APIC_DFR', [R.APIC_SPIV]: 'APIC_SPIV', [R.APIC_ISR]: 'APIC_ISR', [R.APIC_TMR]: 'APIC_TMR',
  [R.APIC_IRR]: 'APIC_IRR', [R.APIC_ESR]: 'APIC_ESR', [R.APIC_ICR]: 'APIC_ICR', [R.APIC_ICR2]: 'APIC_ICR2', [R.APIC_LVTT]: 'APIC_LVTT', [R.APIC_LVTTHMR]: 'APIC_LVTTHMR',
  [R.APIC_LVTPC]: 'APIC_LVTPC', [R.APIC_LVT0]: 'APIC_LVT0', [R.APIC_LVT1]: 'APIC_LVT1', [R.APIC_LVTERR]: 'APIC_LVTERR', [R.APIC_TMICT]: 'APIC_TMICT', [R.APIC_TMCCT]: 'APIC_TMCCT',
  [R.APIC_TDCR]: 'APIC_TDCR', [R.APIC_SELF_IPI]: 'APIC_SELF_IPI',
};

export const kvm_set_irq = TRACE_EVENT('kvm', 'kvm_set_irq', { gsi: 'unsigned int', level: 'int', irq_source_id: 'int' },
  (e) => `gsi ${e.gsi} level ${e.level} source ${e.irq_source_id}`,
  '"gsi %u level %d source %d", REC->gsi, REC->level, REC->irq_source_id');

const entry = (e: bigint): string =>
  `dst ${hex((e >> 56n) & 0xffn)} vec ${e & 0xffn} (${deliver_mode[Number((e >> 8n) & 7n)]}|${(e & 0x800n) !== 0n ? 'logical' : 'physical'}|${(e & 0x8000n) !== 0n ? 'level' : 'edge'}${(e & 0x10000n) !== 0n ? '|masked' : ''})`;
export const kvm_ioapic_set_irq = TRACE_EVENT('kvm', 'kvm_ioapic_set_irq', { e: 'u64', pin: 'int', coalesced: 'bool' },
  (r) => `pin ${r.pin} ${entry(r.e)}${r.coalesced ? ' (coalesced)' : ''}`,
  `"pin %u dst %x vec %u (%s|%s|%s%s)%s", REC->pin, (u8)(REC->e >> 56), (u8)REC->e, ${symbols('(REC->e >> 8 & 0x7)', deliver_mode)}, `
  + '(REC->e & (1<<11)) ? "logical" : "physical", (REC->e & (1<<15)) ? "level" : "edge", (REC->e & (1<<16)) ? "|masked" : "", REC->coalesced ? " (coalesced)" : ""');

export const kvm_msi_set_irq = TRACE_EVENT('kvm', 'kvm_msi_set_irq', { address: 'u64', data: 'u64' },
  (e) => `dst ${hex(((e.address >> 12n) & 0xffn) | ((e.address >> 32n) & 0xffff_ff00n))} vec ${e.data & 0xffn} (${deliver_mode[Number((e.data >> 8n) & 7n)]}|`
    + `${(e.address & 4n) !== 0n ? 'logical' : 'physical'}|${(e.data & 0x8000n) !== 0n ? 'level' : 'edge'}${(e.address & 8n) !== 0n ? '|rh' : ''})`,
  `"dst %x vec %u (%s|%s|%s%s)", (u8)(REC->address >> 12) | ((REC->address >> 32) & 0xffffff00), (u8)REC->data, ${symbols('(REC->data >> 8 & 0x7)', deliver_mode)}, `
  + '(REC->address & (1<<2)) ? "logical" : "physical", (REC->data & (1<<15)) ? "level" : "edge", (REC->address & (1<<3)) ? "|rh" : ""');

export const kvm_ack_irq = TRACE_EVENT('kvm', 'kvm_ack_irq', { irqchip: 'unsigned int', pin: 'unsigned int' },
  (e) => `irqchip ${irqchips[e.irqchip]} pin ${e.pin}`, `"irqchip %s pin %u", ${symbols('REC->irqchip', irqchips)}, REC->pin`);

export const kvm_pic_set_irq = TRACE_EVENT('kvm', 'kvm_pic_set_irq', { chip: 'u8', pin: 'u8', elcr: 'u8', imr: 'u8', coalesced: 'bool' },
  (e) => `chip ${e.chip} pin ${e.pin} (${(e.elcr >> e.pin) & 1 ? 'level' : 'edge'}${(e.imr >> e.pin) & 1 ? '|masked' : ''})${e.coalesced ? ' (coalesced)' : ''}`,
  '"chip %u pin %u (%s%s)%s", REC->chip, REC->pin, (REC->elcr & (1 << REC->pin)) ? "level":"edge", (REC->imr & (1 << REC->pin)) ? "|masked":"", REC->coalesced ? " (coalesced)" : ""');

export const kvm_apic = TRACE_EVENT('kvm', 'kvm_apic', { rw: 'unsigned int', reg: 'unsigned int', val: 'u64' },
  (e) => `apic_${e.rw ? 'write' : 'read'} ${apic_registers[e.reg] ?? `0x${hex(e.reg)}`} = 0x${hex(e.val)}`,
  `"apic_%s %s = 0x%llx", REC->rw ? "write" : "read", ${symbols('REC->reg', apic_registers)}, REC->val`);

export const kvm_apic_ipi = TRACE_EVENT('kvm', 'kvm_apic_ipi', { icr_low: 'u32', dest_id: 'u32' },
  (e) => `dst ${hex(e.dest_id)} vec ${e.icr_low & 0xff} (${deliver_mode[(e.icr_low >> 8) & 7]}|${e.icr_low & 0x800 ? 'logical' : 'physical'}|${e.icr_low & 0x4000 ? 'assert' : 'de-assert'}|`
    + `${e.icr_low & 0x8000 ? 'level' : 'edge'}|${dst_shorthand[(e.icr_low >> 18) & 3]})`,
  `"dst %x vec %u (%s|%s|%s|%s|%s)", REC->dest_id, (u8)REC->icr_low, ${symbols('(REC->icr_low >> 8 & 0x7)', deliver_mode)}, (REC->icr_low & (1<<11)) ? "logical" : "physical", `
  + `(REC->icr_low & (1<<14)) ? "assert" : "de-assert", (REC->icr_low & (1<<15)) ? "level" : "edge", ${symbols('(REC->icr_low >> 18 & 0x3)', dst_shorthand)}`);

export const kvm_apic_accept_irq = TRACE_EVENT('kvm', 'kvm_apic_accept_irq', { apicid: 'u32', dm: 'u16', tm: 'u16', vec: 'u8' },
  (e) => `apicid ${hex(e.apicid)} vec ${e.vec} (${deliver_mode[(e.dm >> 8) & 7]}|${e.tm ? 'level' : 'edge'})`,
  `"apicid %x vec %u (%s|%s)", REC->apicid, REC->vec, ${symbols('(REC->dm >> 8 & 0x7)', deliver_mode)}, REC->tm ? "level" : "edge"`);

export const kvm_eoi = TRACE_EVENT('kvm', 'kvm_eoi', { apicid: 'u32', vector: 'int' }, (e) => `apicid ${hex(e.apicid)} vector ${e.vector}`, '"apicid %x vector %d", REC->apicid, REC->vector');
export const kvm_pv_eoi = TRACE_EVENT('kvm', 'kvm_pv_eoi', { apicid: 'u32', vector: 'int' }, (e) => `apicid ${hex(e.apicid)} vector ${e.vector}`, '"apicid %x vector %d", REC->apicid, REC->vector');
