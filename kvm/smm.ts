/**
 * System management mode, which KVM gives its guests without the processor's help: an SMI saves the registers in the
 * guest's memory at SMBASE + FE00h and starts the handler at SMBASE + 8000h; the emulator's RSM takes them back.
 *
 * Linux: arch/x86/kvm/smm.c, smm.h; SDM Vol. 3, ch. 32 (the area is laid out as AMD's, APM Vol. 2, table 10-1)
 *
 * The save area has two layouts, by whether the guest's CPUID knows long mode. Each is a table here, and entry and RSM
 * go through the same one, so that neither can forget a member. What RSM finds may be anything: a value that no
 * register takes shuts the guest down.
 */
import { kvm_set_cr0, kvm_set_cr3, kvm_set_cr4 } from './cr.ts';
import { guest_cpuid_has, kvm_update_cpuid_runtime } from './cpuid.ts';
import type { x86_emulate_ctxt } from './emulate.ts';
import { X86EMUL_CONTINUE, X86EMUL_UNHANDLEABLE, invalidate_registers } from './emulate.ts';
import { kvm_get_rflags64, kvm_set_dr, kvm_set_rflags64 } from './guest-debug.ts';
import { kvm_vcpu_read_guest, kvm_vcpu_write_guest } from './guest-memory.ts';
import { KVM_REQ_EVENT, KVM_REQ_SMI, type kvm_vcpu, type segment, kvm_make_request, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_register_read, kvm_x86 } from './kvm_host.ts';
import { kvm_smm_transition } from './trace.ts';

/** Where the area begins behind SMBASE; offsets below count from SMBASE + 8000h, as the manuals give them. */
const SMRAM_AREA = 0xfe00, FIRST = 0x7e00, SIZE = 512;
const SMM_ENTRY = 0x8000n;
const CR0_PE = 1n, CR0_EM = 4n, CR0_TS = 8n, CR0_PG = 0x8000_0000n, CR4_PAE = 0x20n, CR4_PCIDE = 0x20000n, EFER_LMA = 0x400n;
const MSR_EFER = 0xc000_0080;

const has_long_mode = (vcpu: kvm_vcpu): boolean => guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 29);

/** The area in memory order. */
class Area {
  readonly bytes = new Uint8Array(SIZE);
  private readonly view = new DataView(this.bytes.buffer);
  u8(at: number): number { return this.view.getUint8(at - FIRST); }
  u16(at: number): number { return this.view.getUint16(at - FIRST, true); }
  u32(at: number): number { return this.view.getUint32(at - FIRST, true); }
  u64(at: number): bigint { return this.view.getBigUint64(at - FIRST, true); }
  set8(at: number, value: number): void { this.view.setUint8(at - FIRST, value); }
  set16(at: number, value: number): void { this.view.setUint16(at - FIRST, value, true); }
  set32(at: number, value: number | bigint): void { this.view.setUint32(at - FIRST, Number(BigInt(value) & 0xffff_ffffn), true); }
  set64(at: number, value: bigint): void { this.view.setBigUint64(at - FIRST, value, true); }
}

/** Attributes as in bits 8 to 23 of a descriptor's second word. */
const flags_of = (s: segment): number =>
  (s.g << 23) | (s.db << 22) | (s.l << 21) | (s.avl << 20) | (s.present << 15) | (s.dpl << 13) | (s.s << 12) | (s.type << 8);
const segment_of = (selector: number, base: bigint, limit: number, flags: number): segment => ({
  selector, base, limit, type: (flags >>> 8) & 15, s: (flags >>> 12) & 1, dpl: (flags >>> 13) & 3, present: (flags >>> 15) & 1,
  avl: (flags >>> 20) & 1, l: (flags >>> 21) & 1, db: (flags >>> 22) & 1, g: (flags >>> 23) & 1, unusable: ((flags >>> 15) & 1) ^ 1,
});

// ---------------------------------------------------------------- the two layouts

interface layout {
  readonly revision: number;
  readonly smbase: number;
  readonly int_shadow: number;
  /** By kvm's segment numbers: ES CS SS DS FS GS TR LDTR. */
  save_segment(a: Area, n: number, s: segment): void;
  load_segment(a: Area, n: number): segment;
  /** Registers of the width the layout has. */
  readonly word: 4 | 8;
  readonly gpr: (i: number) => number;
  readonly gprs: number;
  readonly rip: number;
  readonly rflags: number;
  readonly dr6: number;
  readonly dr7: number;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly gdtr: { readonly base: number; readonly limit: number };
  readonly idtr: { readonly base: number; readonly limit: number };
}

const SEG64 = [0x7e00, 0x7e10, 0x7e20, 0x7e30, 0x7e40, 0x7e50, 0x7e90, 0x7e70] as const;
const layout64: layout = {
  revision: 0x0002_0064, smbase: 0x7f00, int_shadow: 0x7ec4, word: 8,
  gpr: (i) => 0x7ff8 - 8 * i, gprs: 16, rip: 0x7f78, rflags: 0x7f70, dr6: 0x7f68, dr7: 0x7f60, cr0: 0x7f58, cr3: 0x7f50, cr4: 0x7f48, efer: 0x7ed0,
  gdtr: { base: 0x7e68, limit: 0x7e64 }, idtr: { base: 0x7e88, limit: 0x7e84 },
  save_segment: (a, n, s) => {
    const at = SEG64[n]!;
    a.set16(at, s.selector);
    a.set16(at + 2, flags_of(s) >>> 8);
    a.set32(at + 4, s.limit);
    a.set64(at + 8, s.base);
  },
  load_segment: (a, n) => {
    const at = SEG64[n]!;
    return segment_of(a.u16(at), a.u64(at + 8), a.u32(at + 4), a.u16(at + 2) << 8);
  },
};

const SEG32 = [0x7f84, 0x7f90, 0x7f9c, 0x7f2c, 0x7f38, 0x7f44, 0x7f5c, 0x7f78] as const;
const SELECTOR32 = [0x7fa8, 0x7fac, 0x7fb0, 0x7fb4, 0x7fb8, 0x7fbc, 0x7fc4, 0x7fc0] as const;
const layout32: layout = {
  revision: 0x0002_0000, smbase: 0x7ef8, int_shadow: 0x7f1a, word: 4,
  gpr: (i) => 0x7fd0 + 4 * i, gprs: 8, rip: 0x7ff0, rflags: 0x7ff4, dr6: 0x7fcc, dr7: 0x7fc8, cr0: 0x7ffc, cr3: 0x7ff8, cr4: 0x7f14, efer: -1,
  gdtr: { base: 0x7f74, limit: 0x7f70 }, idtr: { base: 0x7f58, limit: 0x7f54 },
  save_segment: (a, n, s) => {
    const at = SEG32[n]!;
    a.set32(SELECTOR32[n]!, s.selector);
    a.set32(at, flags_of(s));
    a.set32(at + 4, s.limit);
    a.set32(at + 8, s.base);
  },
  load_segment: (a, n) => {
    const at = SEG32[n]!;
    return segment_of(a.u32(SELECTOR32[n]!) & 0xffff, BigInt(a.u32(at + 8)), a.u32(at + 4), a.u32(at));
  },
};

const layout_of = (vcpu: kvm_vcpu): layout => (has_long_mode(vcpu) ? layout64 : layout32);
const set_word = (a: Area, l: layout, at: number, value: bigint): void => { if (l.word === 8) a.set64(at, value); else a.set32(at, value); };
const word_of = (a: Area, l: layout, at: number): bigint => (l.word === 8 ? a.u64(at) : BigInt(a.u32(at)));

// ---------------------------------------------------------------- entry

/** The vCPU changes address spaces. */
export function kvm_smm_changed(vcpu: kvm_vcpu, entering: boolean): void {
  const { arch } = vcpu;
  if (kvm_smm_transition.enabled) kvm_smm_transition.trace({ vcpu_id: vcpu.vcpu_id, smbase: arch.smbase, entering: entering ? 1 : 0 });
  arch.smm = entering;
  if (!entering) {
    arch.smm_inside_nmi = false;
    // An INIT or SMI may have waited for this.
    kvm_make_request(KVM_REQ_EVENT, vcpu);
  }
  kvm_x86.flush_tlb_current(vcpu);
}

/** KVM_SMI, or an interrupt message of that kind. */
export function kvm_inject_smi(vcpu: kvm_vcpu): void { kvm_make_request(KVM_REQ_SMI, vcpu); }
export function process_smi(vcpu: kvm_vcpu): void {
  vcpu.arch.smi_pending = true;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
}

function save_state(vcpu: kvm_vcpu, a: Area, l: layout): void {
  for (let i = 0; i < l.gprs; i++) set_word(a, l, l.gpr(i), kvm_register_read(vcpu, i));
  set_word(a, l, l.rip, kvm_x86.get_rip(vcpu));
  a.set32(l.rflags, kvm_get_rflags64(vcpu));
  set_word(a, l, l.dr6, vcpu.arch.dr6);
  set_word(a, l, l.dr7, vcpu.arch.dr7);
  set_word(a, l, l.cr0, kvm_read_cr0(vcpu));
  set_word(a, l, l.cr3, kvm_read_cr3(vcpu));
  set_word(a, l, l.cr4, kvm_read_cr4(vcpu));
  if (l.efer >= 0) a.set64(l.efer, vcpu.arch.efer);
  for (let n = 0; n < 8; n++) l.save_segment(a, n, kvm_x86.get_segment(vcpu, n));
  for (const [which, at] of [['gdt', l.gdtr], ['idt', l.idtr]] as const) {
    const { base, limit } = kvm_x86.get_dt(vcpu, which);
    a.set32(at.limit, limit);
    set_word(a, l, at.base, base);
  }
  a.set32(l.smbase, vcpu.arch.smbase);
  a.set32(0x7efc, l.revision);
  a.set8(l.int_shadow, kvm_x86.get_interrupt_shadow(vcpu));
}

const FLAT: segment = { selector: 0, base: 0n, limit: 0xffff_ffff, type: 3, present: 1, dpl: 0, db: 0, s: 1, l: 0, g: 1, avl: 0, unusable: 0 };

/** An SMI is taken: between two instructions, before NMIs and interrupts. */
export function enter_smm(vcpu: kvm_vcpu): void {
  const { arch } = vcpu;
  const area = new Area();
  save_state(vcpu, area, layout_of(vcpu));
  kvm_smm_changed(vcpu, true);
  // No memory to save in: nothing could ever bring the guest back.
  if (kvm_vcpu_write_guest(vcpu, Number(arch.smbase) + SMRAM_AREA, area.bytes) !== 0) {
    vcpu.kvm.vm_dead = true;
    return;
  }
  if (kvm_x86.get_nmi_mask(vcpu)) arch.smm_inside_nmi = true;
  else kvm_x86.set_nmi_mask(vcpu, true);

  kvm_x86.enter_smm(vcpu);
  kvm_set_rflags64(vcpu, 2n);
  kvm_x86.set_rip(vcpu, SMM_ENTRY);
  kvm_x86.set_interrupt_shadow(vcpu, 0);
  kvm_x86.set_cr0(vcpu, kvm_read_cr0(vcpu) & ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG));
  kvm_x86.set_cr4(vcpu, 0n);
  kvm_x86.set_dt(vcpu, 'idt', 0n, 0);
  kvm_set_dr(vcpu, 7, 0x400n);
  kvm_x86.set_segment(vcpu, 1, { ...FLAT, selector: Number((arch.smbase >> 4n) & 0xffffn), base: arch.smbase });
  for (const n of [3, 0, 4, 5, 2]) kvm_x86.set_segment(vcpu, n, FLAT);
  if (has_long_mode(vcpu)) kvm_x86.set_efer(vcpu, 0n);
  kvm_update_cpuid_runtime(vcpu);
  kvm_x86.flush_tlb_current(vcpu);
}

// ---------------------------------------------------------------- RSM

/** Back to real mode, from where any saved mode can be built up step by step. */
function to_real_mode(vcpu: kvm_vcpu): void {
  const long = has_long_mode(vcpu);
  if (long) {
    const cr4 = kvm_read_cr4(vcpu);
    if ((cr4 & CR4_PCIDE) !== 0n) kvm_set_cr4(vcpu, cr4 & ~CR4_PCIDE);
    // Only a 32-bit code segment lets EFER.LMA go.
    kvm_x86.set_segment(vcpu, 1, { ...FLAT, type: 0xb, limit: 0xffff });
  }
  const cr0 = kvm_read_cr0(vcpu);
  if ((cr0 & CR0_PE) !== 0n) kvm_set_cr0(vcpu, cr0 & ~(CR0_PG | CR0_PE));
  if (!long) return;
  const cr4 = kvm_read_cr4(vcpu);
  if ((cr4 & CR4_PAE) !== 0n) kvm_set_cr4(vcpu, cr4 & ~CR4_PAE);
  kvm_x86.set_msr(vcpu, MSR_EFER, 0n, false);
}

/** CR3, CR4, CR0 in the one order that passes through legal states only. PCIDs need long mode on, so they come last. */
function load_control_registers(vcpu: kvm_vcpu, saved: { cr0: bigint; cr3: bigint; cr4: bigint }): boolean {
  const { cr0, cr4 } = saved;
  const pcid = (cr4 & CR4_PCIDE) !== 0n ? saved.cr3 & 0xfffn : 0n;
  const cr3 = saved.cr3 & ~pcid;
  if (kvm_set_cr3(vcpu, cr3) !== 0 || kvm_set_cr4(vcpu, cr4 & ~CR4_PCIDE) !== 0 || kvm_set_cr0(vcpu, cr0) !== 0) return false;
  if ((cr4 & CR4_PCIDE) === 0n) return true;
  return kvm_set_cr4(vcpu, cr4) === 0 && (pcid === 0n || kvm_set_cr3(vcpu, cr3 | pcid) === 0);
}

function load_state(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, a: Area, l: layout): boolean {
  for (let i = 0; i < l.gprs; i++) ctxt.ops.write_gpr(i, word_of(a, l, l.gpr(i)));
  ctxt._eip = word_of(a, l, l.rip);
  ctxt.eflags = a.u32(l.rflags) | 2;
  if (kvm_set_dr(vcpu, 6, word_of(a, l, l.dr6)) !== 0 || kvm_set_dr(vcpu, 7, word_of(a, l, l.dr7)) !== 0) return false;
  vcpu.arch.smbase = BigInt(a.u32(l.smbase));
  if (l.efer >= 0 && kvm_x86.set_msr(vcpu, MSR_EFER, a.u64(l.efer) & ~EFER_LMA, false) !== 0) return false;
  for (const n of [6, 7]) kvm_x86.set_segment(vcpu, n, l.load_segment(a, n));
  for (const [which, at] of [['gdt', l.gdtr], ['idt', l.idtr]] as const) kvm_x86.set_dt(vcpu, which, word_of(a, l, at.base), a.u32(at.limit));
  const saved = { cr0: word_of(a, l, l.cr0), cr3: word_of(a, l, l.cr3), cr4: word_of(a, l, l.cr4) };
  // A 64-bit code segment before long mode, or none after it, would be refused: 32-bit segments come first, 64-bit ones last.
  if (l.word === 4) for (let n = 0; n < 6; n++) kvm_x86.set_segment(vcpu, n, l.load_segment(a, n));
  if (!load_control_registers(vcpu, saved)) return false;
  if (l.word === 8) for (let n = 0; n < 6; n++) kvm_x86.set_segment(vcpu, n, l.load_segment(a, n));
  kvm_x86.set_interrupt_shadow(vcpu, 0);
  ctxt.interruptibility = a.u8(l.int_shadow);
  return true;
}

/** RSM in system management mode. X86EMUL_UNHANDLEABLE: there is no memory where the state should be; -1: it is not a state, the guest shuts down. */
export function emulator_leave_smm(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt): number {
  const area = new Area();
  if (kvm_vcpu_read_guest(vcpu, Number(vcpu.arch.smbase) + SMRAM_AREA, area.bytes) < 0) return X86EMUL_UNHANDLEABLE;
  if (!vcpu.arch.smm_inside_nmi) kvm_x86.set_nmi_mask(vcpu, false);
  kvm_smm_changed(vcpu, false);
  to_real_mode(vcpu);
  invalidate_registers(ctxt);
  return load_state(vcpu, ctxt, area, layout_of(vcpu)) ? X86EMUL_CONTINUE : -1;
}
