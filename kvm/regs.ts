/**
 * A vCPU's registers as user space reads and writes them.
 *
 * Linux: arch/x86/kvm/x86.c (__get_regs, __set_sregs_common and relatives)
 */
import { EINVAL } from '../abi/errno.ts';
import type { kvm_debugregs, kvm_fpu, kvm_mp_state, kvm_regs, kvm_segment, kvm_sregs, kvm_sregs2, kvm_translation, kvm_xcrs, kvm_xsave } from '../abi/kvm/index.ts';
import {
  KVM_MP_STATE_AP_RESET_HOLD, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_SIPI_RECEIVED, KVM_MP_STATE_UNINITIALIZED, KVM_NR_INTERRUPTS,
} from '../abi/kvm/index.ts';
import { addressOf, windowOf } from '../abi/struct.ts';
import { kvm_update_cpuid_runtime, supported_xcr0, kvm_vcpu_is_illegal_gpa } from './cpuid.ts';
import { kvm_get_cr8, kvm_is_valid_cr0, kvm_is_valid_cr4, kvm_set_apic_base, kvm_set_cr8, kvm_set_xcr, load_pdptrs } from './cr.ts';
import { kvm_queue_interrupt, kvm_update_dr7 } from './events.ts';
import { invalidate_registers, writeback_registers } from './emulate.ts';
import { kvm_get_rflags64, kvm_set_rflags64 } from './guest-debug.ts';
import {
  KVM_REQ_EVENT, type kvm_vcpu, type segment, is_pae_paging, kvm_make_request, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_x86, lapic_in_kernel,
} from './kvm_host.ts';
import { kvm_apic_accept_events, kvm_apic_init_sipi_allowed } from './lapic.ts';
import { UNMAPPED_GVA, gva_to_gpa } from './mmu/mmu.ts';

// ---------------------------------------------------------------- general registers

/** Where KVM keeps each register of kvm_regs, in its order: RSP is asked for apart. */
const ORDER = [['rax', 0], ['rbx', 3], ['rcx', 1], ['rdx', 2], ['rsi', 6], ['rdi', 7], ['rbp', 5], ['r8', 8], ['r9', 9], ['r10', 10], ['r11', 11], ['r12', 12], ['r13', 13], ['r14', 14], ['r15', 15]] as const;

export function __get_regs(vcpu: kvm_vcpu, regs: kvm_regs): void {
  const { arch } = vcpu;
  if (arch.emulate_regs_need_sync_to_vcpu) {
    // An instruction waits for user space with its registers half done: what it would have is what is shown.
    writeback_registers(arch.emulate_ctxt);
    arch.emulate_regs_need_sync_to_vcpu = false;
  }
  for (const [name, i] of ORDER) regs[name] = arch.regs[i]!;
  regs.rsp = kvm_x86.get_rsp(vcpu);
  regs.rip = kvm_x86.get_rip(vcpu);
  regs.rflags = kvm_get_rflags64(vcpu);
}

export function __set_regs(vcpu: kvm_vcpu, regs: kvm_regs): void {
  const { arch } = vcpu;
  arch.emulate_regs_need_sync_from_vcpu = true;
  arch.emulate_regs_need_sync_to_vcpu = false;
  invalidate_registers(arch.emulate_ctxt);
  for (const [name, i] of ORDER) arch.regs[i] = regs[name];
  kvm_x86.set_rsp(vcpu, regs.rsp);
  kvm_x86.set_rip(vcpu, regs.rip);
  kvm_set_rflags64(vcpu, regs.rflags | 2n);
  arch.exception.pending = false;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
}

export function kvm_arch_vcpu_ioctl_get_regs(vcpu: kvm_vcpu, regs: kvm_regs): number { __get_regs(vcpu, regs); return 0; }
export function kvm_arch_vcpu_ioctl_set_regs(vcpu: kvm_vcpu, regs: kvm_regs): number { __set_regs(vcpu, regs); return 0; }

// ---------------------------------------------------------------- segment and control registers

type Sregs = Pick<kvm_sregs, Exclude<keyof kvm_sregs & keyof kvm_sregs2, `@${string}`>>;
const SEGMENTS = [['cs', 1], ['ds', 3], ['es', 0], ['fs', 4], ['gs', 5], ['ss', 2], ['tr', 6], ['ldt', 7]] as const;

function get_segment(to: kvm_segment, from: segment): void {
  to.base = from.base;
  to.limit = from.limit;
  to.selector = from.selector;
  to.type = from.type;
  to.present = from.present;
  to.dpl = from.dpl;
  to.db = from.db;
  to.s = from.s;
  to.l = from.l;
  to.g = from.g;
  to.avl = from.avl;
  to.unusable = from.unusable;
}

function get_sregs_common(vcpu: kvm_vcpu, sregs: Sregs): void {
  for (const [name, i] of SEGMENTS) get_segment(sregs[name], kvm_x86.get_segment(vcpu, i));
  for (const which of ['gdt', 'idt'] as const) {
    const { base, limit } = kvm_x86.get_dt(vcpu, which);
    sregs[which].base = base;
    sregs[which].limit = limit;
  }
  sregs.cr0 = kvm_read_cr0(vcpu);
  sregs.cr2 = vcpu.arch.cr2;
  sregs.cr3 = kvm_read_cr3(vcpu);
  sregs.cr4 = kvm_read_cr4(vcpu);
  sregs.cr8 = kvm_get_cr8(vcpu);
  sregs.efer = vcpu.arch.efer;
  sregs.apic_base = vcpu.arch.apic_base;
}

export function __get_sregs(vcpu: kvm_vcpu, sregs: kvm_sregs): void {
  get_sregs_common(vcpu, sregs);
  const { interrupt } = vcpu.arch;
  for (let i = 0; i < KVM_NR_INTERRUPTS / 64; i++) sregs.interrupt_bitmap.set(i, 0n);
  if (interrupt.injected && !interrupt.soft) sregs.interrupt_bitmap.set(interrupt.nr >> 6, 1n << BigInt(interrupt.nr & 63));
}

function is_valid_sregs(vcpu: kvm_vcpu, s: Sregs): boolean {
  if ((s.efer & 0x100n) !== 0n && (s.cr0 & 0x8000_0000n) !== 0n) {
    // 64-bit mode, though perhaps in a 32-bit code segment.
    if ((s.cr4 & 0x20n) === 0n || (s.efer & 0x400n) === 0n || kvm_vcpu_is_illegal_gpa(vcpu, s.cr3)) return false;
  } else if ((s.efer & 0x400n) !== 0n || s.cs.l !== 0) return false;
  return kvm_is_valid_cr4(vcpu, s.cr4) && kvm_is_valid_cr0(vcpu, s.cr0);
}

function set_sregs_common(vcpu: kvm_vcpu, s: Sregs, update_pdptrs: boolean): number {
  if (!is_valid_sregs(vcpu, s)) return -EINVAL;
  if (kvm_set_apic_base(vcpu, s.apic_base, true) !== 0) return -EINVAL;
  for (const which of ['idt', 'gdt'] as const) kvm_x86.set_dt(vcpu, which, s[which].base, s[which].limit);
  vcpu.arch.cr2 = s.cr2;
  kvm_x86.set_cr3(vcpu, s.cr3);
  kvm_set_cr8(vcpu, s.cr8);
  kvm_x86.set_efer(vcpu, s.efer);
  kvm_x86.set_cr0(vcpu, s.cr0);
  kvm_x86.set_cr4(vcpu, s.cr4);
  kvm_update_cpuid_runtime(vcpu);
  if (update_pdptrs && is_pae_paging(vcpu)) load_pdptrs(vcpu, s.cr3);
  kvm_x86.flush_tlb_current(vcpu);
  for (const [name, i] of SEGMENTS) kvm_x86.set_segment(vcpu, i, s[name]);
  // Older user space does not wake the boot processor when it resets it.
  if (vcpu.vcpu_id === vcpu.kvm.arch.bsp_vcpu_id && kvm_x86.get_rip(vcpu) === 0xfff0n && s.cs.selector === 0xf000 && s.cs.base === 0xffff_0000n && (s.cr0 & 1n) === 0n) {
    vcpu.arch.mp_state = KVM_MP_STATE_RUNNABLE;
  }
  return 0;
}

export function __set_sregs(vcpu: kvm_vcpu, sregs: kvm_sregs): number {
  const r = set_sregs_common(vcpu, sregs, true);
  if (r !== 0) return r;
  for (let i = 0; i < KVM_NR_INTERRUPTS; i++) {
    if ((sregs.interrupt_bitmap.get(i >> 6) & (1n << BigInt(i & 63))) === 0n) continue;
    kvm_queue_interrupt(vcpu, i, false);
    kvm_make_request(KVM_REQ_EVENT, vcpu);
    break;
  }
  return 0;
}
export function kvm_arch_vcpu_ioctl_get_sregs(vcpu: kvm_vcpu, sregs: kvm_sregs): number { __get_sregs(vcpu, sregs); return 0; }
export const kvm_arch_vcpu_ioctl_set_sregs = __set_sregs;

const PDPTRS_VALID = 1n;
export function kvm_vcpu_ioctl_get_sregs2(vcpu: kvm_vcpu, s: kvm_sregs2): number {
  get_sregs_common(vcpu, s);
  if (is_pae_paging(vcpu)) {
    for (let i = 0; i < 4; i++) s.pdptrs.set(i, kvm_x86.get_pdptr(vcpu, i));
    s.flags |= PDPTRS_VALID;
  }
  return 0;
}
export function kvm_vcpu_ioctl_set_sregs2(vcpu: kvm_vcpu, s: kvm_sregs2): number {
  const valid = (s.flags & PDPTRS_VALID) !== 0n;
  const pae = (s.cr0 & 0x8000_0000n) !== 0n && (s.cr4 & 0x20n) !== 0n && (s.efer & 0x400n) === 0n;
  if ((s.flags & ~PDPTRS_VALID) !== 0n || (valid && !pae)) return -EINVAL;
  const r = set_sregs_common(vcpu, s, !valid);
  if (r !== 0) return r;
  if (valid) for (let i = 0; i < 4; i++) kvm_x86.set_pdptr(vcpu, i, s.pdptrs.get(i));
  return 0;
}

// ---------------------------------------------------------------- floating point

/** Offsets in the FXSAVE image. */
const FX = { st: 32, xmm: 160, mxcsr: 24 };

/** kvm_fpu's mxcsr is not carried by this pair of requests, in either direction. */
export function kvm_arch_vcpu_ioctl_get_fpu(vcpu: kvm_vcpu, fpu: kvm_fpu): number {
  const from = vcpu.arch.guest_fpu;
  const view = new DataView(from.buffer, from.byteOffset);
  const to = windowOf(fpu);
  to.set(from.subarray(FX.st, FX.st + 128), addressOf(fpu.fpr) - addressOf(fpu));
  to.set(from.subarray(FX.xmm, FX.xmm + 256), addressOf(fpu.xmm) - addressOf(fpu));
  fpu.fcw = view.getUint16(0, true);
  fpu.fsw = view.getUint16(2, true);
  fpu.ftwx = view.getUint8(4);
  fpu.last_opcode = view.getUint16(6, true);
  fpu.last_ip = view.getBigUint64(8, true);
  fpu.last_dp = view.getBigUint64(16, true);
  return 0;
}
export function kvm_arch_vcpu_ioctl_set_fpu(vcpu: kvm_vcpu, fpu: kvm_fpu): number {
  const to = vcpu.arch.guest_fpu;
  const view = new DataView(to.buffer, to.byteOffset);
  const from = windowOf(fpu);
  const at = (member: Parameters<typeof addressOf>[0]) => addressOf(member) - addressOf(fpu);
  to.set(from.subarray(at(fpu.fpr), at(fpu.fpr) + 128), FX.st);
  to.set(from.subarray(at(fpu.xmm), at(fpu.xmm) + 256), FX.xmm);
  view.setUint16(0, fpu.fcw, true);
  view.setUint16(2, fpu.fsw, true);
  view.setUint8(4, fpu.ftwx);
  view.setUint16(6, fpu.last_opcode, true);
  view.setBigUint64(8, fpu.last_ip, true);
  view.setBigUint64(16, fpu.last_dp, true);
  return 0;
}

const MXCSR_MASK = 0xffff;
/** The legacy region and the header that says which parts are there; this processor has no more. */
export function kvm_vcpu_ioctl_x86_get_xsave(vcpu: kvm_vcpu, xsave: kvm_xsave): number {
  const to = windowOf(xsave);
  to.set(vcpu.arch.guest_fpu);
  const view = new DataView(to.buffer, to.byteOffset);
  view.setUint32(28, MXCSR_MASK, true);
  to.fill(0, 416, 512);
  view.setBigUint64(512, supported_xcr0(), true);
  return 0;
}
export function kvm_vcpu_ioctl_x86_set_xsave(vcpu: kvm_vcpu, xsave: kvm_xsave): number {
  const from = windowOf(xsave);
  const view = new DataView(from.buffer, from.byteOffset);
  const features = view.getBigUint64(512, true);
  if ((features & ~supported_xcr0()) !== 0n) return -EINVAL;
  // XCOMP_BV and the reserved part of the header.
  for (let i = 520; i < 576; i += 8) if (view.getBigUint64(i, true) !== 0n) return -EINVAL;
  if ((features & 3n) !== 0n && (view.getUint32(FX.mxcsr, true) & ~MXCSR_MASK) !== 0) return -EINVAL;
  const to = vcpu.arch.guest_fpu;
  const fresh = new_fpu();
  if ((features & 1n) !== 0n) {
    to.set(from.subarray(0, 24));
    to.set(from.subarray(FX.st, FX.st + 128), FX.st);
  } else {
    to.set(fresh.subarray(0, 24));
    to.set(fresh.subarray(FX.st, FX.st + 128), FX.st);
  }
  to.set((features & 2n) !== 0n ? from.subarray(FX.xmm, FX.xmm + 256) : fresh.subarray(FX.xmm, FX.xmm + 256), FX.xmm);
  if ((features & 3n) !== 0n) to.set(from.subarray(FX.mxcsr, FX.mxcsr + 4), FX.mxcsr);
  return 0;
}
/** The FPU after FNINIT, with MXCSR's reset value. */
export function new_fpu(): Uint8Array {
  const fpu = new Uint8Array(512);
  const view = new DataView(fpu.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(FX.mxcsr, 0x1f80, true);
  view.setUint32(28, MXCSR_MASK, true);
  return fpu;
}

export function kvm_vcpu_ioctl_x86_get_xcrs(vcpu: kvm_vcpu, xcrs: kvm_xcrs): number {
  xcrs.nr_xcrs = 1;
  xcrs.xcrs.get(0).xcr = 0;
  xcrs.xcrs.get(0).value = vcpu.arch.xcr0;
  return 0;
}
export function kvm_vcpu_ioctl_x86_set_xcrs(vcpu: kvm_vcpu, xcrs: kvm_xcrs): number {
  if (xcrs.nr_xcrs > 16 || xcrs.flags !== 0) return -EINVAL;
  for (let i = 0; i < xcrs.nr_xcrs; i++) {
    const one = xcrs.xcrs.get(i);
    if (one.xcr === 0) return kvm_set_xcr(vcpu, 0, one.value) === 0 ? 0 : -EINVAL;
  }
  return 0;
}

// ---------------------------------------------------------------- debug registers, run state, translation

export function kvm_vcpu_ioctl_x86_get_debugregs(vcpu: kvm_vcpu, d: kvm_debugregs): number {
  for (let i = 0; i < 4; i++) d.db.set(i, vcpu.arch.db[i]!);
  d.dr6 = vcpu.arch.dr6;
  d.dr7 = vcpu.arch.dr7;
  return 0;
}
export function kvm_vcpu_ioctl_x86_set_debugregs(vcpu: kvm_vcpu, d: kvm_debugregs): number {
  if (d.flags !== 0n || d.dr6 >> 32n !== 0n || d.dr7 >> 32n !== 0n) return -EINVAL;
  for (let i = 0; i < 4; i++) vcpu.arch.db[i] = d.db.get(i);
  vcpu.arch.dr6 = d.dr6;
  vcpu.arch.dr7 = d.dr7;
  kvm_update_dr7(vcpu);
  return 0;
}

export function kvm_arch_vcpu_ioctl_get_mpstate(vcpu: kvm_vcpu, mp: kvm_mp_state): number {
  const r = kvm_apic_accept_events(vcpu);
  if (r < 0) return r;
  mp.mp_state = vcpu.arch.mp_state;
  return 0;
}
const NEEDS_LAPIC = new Set<number>([KVM_MP_STATE_UNINITIALIZED, KVM_MP_STATE_HALTED, KVM_MP_STATE_AP_RESET_HOLD, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_SIPI_RECEIVED]);
export function kvm_arch_vcpu_ioctl_set_mpstate(vcpu: kvm_vcpu, mp: kvm_mp_state): number {
  const state = mp.mp_state;
  if (state !== KVM_MP_STATE_RUNNABLE && !(NEEDS_LAPIC.has(state) && lapic_in_kernel(vcpu))) return -EINVAL;
  // While in SMM, or about to be, INIT waits.
  if ((!kvm_apic_init_sipi_allowed(vcpu) || vcpu.arch.smi_pending) && (state === KVM_MP_STATE_SIPI_RECEIVED || state === KVM_MP_STATE_INIT_RECEIVED)) return -EINVAL;
  if (state === KVM_MP_STATE_SIPI_RECEIVED) {
    vcpu.arch.mp_state = KVM_MP_STATE_INIT_RECEIVED;
    vcpu.arch.apic!.sipi_pending = true;
  } else vcpu.arch.mp_state = state;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 0;
}

export function kvm_arch_vcpu_ioctl_translate(vcpu: kvm_vcpu, tr: kvm_translation): number {
  const gpa = gva_to_gpa(vcpu, tr.linear_address, 0, undefined, false);
  tr.physical_address = gpa === UNMAPPED_GVA ? 0xffff_ffff_ffff_ffffn : BigInt(gpa);
  tr.valid = gpa === UNMAPPED_GVA ? 0 : 1;
  tr.writeable = 1;
  tr.usermode = 0;
  return 0;
}
