/**
 * Guests without protection or paging on a processor that cannot run them: real mode in virtual-8086 mode, no paging
 * with tables that map every address to itself, and the emulator for what neither can do.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (enter_rmode, enter_pmode, guest_state_valid, handle_rmode_exception)
 *
 * In virtual-8086 mode everything that real mode may do and a task of ring 3 may not comes as a general protection
 * fault: INT n, for the IDT the processor sees is empty; HLT and MOV to CR0; I/O, where user space gave no address for a
 * TSS that allows it.
 * The emulator then does the instruction. A state that neither mode can hold, a segment whose base is not its selector's,
 * is emulated instruction by instruction until it can.
 */
import { KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_EMULATION } from '../../abi/kvm/index.ts';
import { MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import * as F from '../../machine/vmx/fields.ts';
import { copy_to_user, this_processor, need_resched, signal_pending, current, vm_mmap, vm_munmap } from '../../kernel/exports.ts';
import { kvm_read_guest_u32, kvm_vcpu_write_guest } from '../guest-memory.ts';
import { KVM_USER_MEM_SLOTS, KVM_REQ_EVENT, type kvm, type kvm_vcpu, type segment, is_protmode, kvm_make_request, kvm_register_read, kvm_register_write, kvm_test_request, kvm_x86 } from '../kvm_host.ts';
import { __kvm_set_memory_region } from '../memslots.ts';
import { kvm_emulate_instruction } from '../x86-emulate.ts';
import { vmx_capabilities } from './capabilities.ts';
import { read_segment, write_segment } from './segments.ts';

const ES = 0, CS = 1, SS = 2, FS = 4, GS = 5, TR = 6;
const X86_EFLAGS_IOPL = 0x3000, X86_EFLAGS_VM = 0x20000, X86_EFLAGS_IF = 0x200, X86_EFLAGS_TF = 0x100, X86_EFLAGS_AC = 0x40000;
/** What of RFLAGS is the guest's own in virtual-8086 mode. */
const RMODE_GUEST_OWNED_EFLAGS_BITS = ~(X86_EFLAGS_IOPL | X86_EFLAGS_VM);
const SEGMENTS = [ES, CS, SS, 3, FS, GS] as const;

/** Whatever holds it: a view of a struct too. */
const copy = ({ selector, base, limit, type, present, dpl, db, s, l, g, avl, unusable }: segment): segment => ({ selector, base, limit, type, present, dpl, db, s, l, g, avl, unusable });

/** Real mode begins: what the guest sees is kept, and the processor gets what virtual-8086 mode wants. */
export function enter_rmode(vcpu: kvm_vcpu): void {
  const { hw, rmode } = vcpu.vmx;
  for (const seg of [...SEGMENTS, TR]) rmode.segs[seg] = copy(read_segment(vcpu, seg));
  rmode.idt = { base: hw.read64(F.GUEST_IDTR_BASE), limit: hw.read32(F.GUEST_IDTR_LIMIT) };
  rmode.vm86_active = true;
  write_segment(vcpu, TR, { selector: 0, base: BigInt(vcpu.kvm.arch.tss_addr), limit: vcpu.kvm.arch.tss_addr === 0 ? 0 : RMODE_TSS_SIZE - 1, type: 11, present: 1, dpl: 0, db: 0, s: 0, l: 0, g: 0, avl: 0, unusable: 0 });
  hw.write64(F.GUEST_IDTR_BASE, 0n);
  hw.write32(F.GUEST_IDTR_LIMIT, 0);
  const flags = hw.read32(F.GUEST_RFLAGS);
  rmode.save_rflags = flags;
  hw.write64(F.GUEST_RFLAGS, BigInt((flags | X86_EFLAGS_IOPL | X86_EFLAGS_VM) >>> 0));
  kvm_x86.update_exception_bitmap(vcpu);
  for (const seg of SEGMENTS) fix_rmode_seg(vcpu, seg);
}

/** Protected mode begins, with the segments real mode left: they hold until they are loaded anew. */
export function enter_pmode(vcpu: kvm_vcpu): void {
  const { hw, rmode } = vcpu.vmx;
  const flags = rmode_get_rflags(vcpu);
  for (const seg of SEGMENTS) rmode.segs[seg] = copy(rmode_get_segment(vcpu, seg));
  rmode.vm86_active = false;
  for (const seg of [...SEGMENTS, TR]) write_segment(vcpu, seg, rmode.segs[seg]!);
  hw.write64(F.GUEST_IDTR_BASE, rmode.idt.base);
  hw.write32(F.GUEST_IDTR_LIMIT, rmode.idt.limit);
  hw.write64(F.GUEST_RFLAGS, BigInt(flags >>> 0));
  kvm_x86.update_exception_bitmap(vcpu);
}

/** A segment register for virtual-8086 mode: ring 3, readable and writable, base and limit as they are. */
function fix_rmode_seg(vcpu: kvm_vcpu, seg: number): void {
  const save = vcpu.vmx.rmode.segs[seg]!;
  write_segment(vcpu, seg, { ...save, dpl: 3, type: 3, s: 1, present: 1, unusable: 0 });
}

export function rmode_get_segment(vcpu: kvm_vcpu, seg: number): segment {
  const { hw, rmode } = vcpu.vmx;
  const save = rmode.segs[seg]!;
  if (seg === TR) return save;
  // The guest loads segment registers by itself: what it loaded is the processor's.
  const selector = hw.read32(F.GUEST_ES_SELECTOR + 2 * seg) & 0xffff;
  if (selector !== save.selector) {
    save.selector = selector;
    save.base = hw.read64(F.GUEST_ES_BASE + 2 * seg);
  }
  return save;
}
export function rmode_set_segment(vcpu: kvm_vcpu, seg: number, value: segment): void {
  vcpu.vmx.rmode.segs[seg] = copy(value);
  if (seg !== TR) fix_rmode_seg(vcpu, seg);
}

export const rmode_get_rflags = (vcpu: kvm_vcpu): number =>
  (vcpu.vmx.hw.read32(F.GUEST_RFLAGS) & RMODE_GUEST_OWNED_EFLAGS_BITS) | (vcpu.vmx.rmode.save_rflags & ~RMODE_GUEST_OWNED_EFLAGS_BITS);
export function rmode_set_rflags(vcpu: kvm_vcpu, value: number): void {
  vcpu.vmx.rmode.save_rflags = value;
  vcpu.vmx.hw.write64(F.GUEST_RFLAGS, BigInt((value | X86_EFLAGS_IOPL | X86_EFLAGS_VM) >>> 0));
}

// ---------------------------------------------------------------- what the processor would refuse

const fits_vm86 = (s: segment): boolean => s.base === BigInt(s.selector << 4) && s.limit === 0xffff && s.s === 1 && s.present === 1 && s.db === 0 && s.g === 0 && s.l === 0 && s.avl === 0 && s.unusable === 0;

/** SDM Vol. 3, 27.3.1.2, as far as a guest can come into such a state by itself. */
function guest_state_valid(vcpu: kvm_vcpu): boolean {
  const seg = (i: number): segment => copy(kvm_x86.get_segment(vcpu, i));
  if (!is_protmode(vcpu) || (kvm_x86.get_rflags(vcpu) & X86_EFLAGS_VM) !== 0) return SEGMENTS.every((i) => fits_vm86(seg(i)));
  const cs = seg(CS), ss = seg(SS);
  if ((cs.selector & 3) !== (ss.selector & 3) && ss.unusable === 0) return false;
  if (cs.unusable !== 0 || cs.s === 0 || cs.present === 0 || (cs.type & 9) !== 9) return false;
  if ((cs.type & 4) !== 0 ? cs.dpl > (cs.selector & 3) : cs.dpl !== (cs.selector & 3)) return false;
  if (ss.unusable === 0 && ((ss.type !== 3 && ss.type !== 7) || ss.s === 0 || ss.present === 0 || ss.dpl !== (ss.selector & 3))) return false;
  for (const i of [ES, 3, FS, GS]) {
    const s = seg(i);
    if (s.unusable === 0 && (s.s === 0 || s.present === 0 || ((s.type & 12) !== 12 && s.dpl < (s.selector & 3)))) return false;
  }
  const tr = seg(TR);
  return tr.unusable === 0 && (tr.selector & 4) === 0 && (tr.type === 3 || tr.type === 11) && tr.present === 1;
}

/** Must the next instruction be emulated because the processor cannot be entered with this state? */
export const vmx_emulation_required = (vcpu: kvm_vcpu): boolean => {
  const c = vmx_capabilities();
  return !c.enable_unrestricted_guest && c.emulate_invalid_guest_state && !guest_state_valid(vcpu);
};

/** What an emulated instruction takes: chosen, a few hundred instructions of the emulator's. */
const CYCLES = 300;

/** Instructions one after the other, until the processor can go on or somebody else must act. */
export function handle_invalid_guest_state(vcpu: kvm_vcpu, halt: (vcpu: kvm_vcpu) => number): number {
  for (let count = 0; count < 130; count++) {
    if (kvm_test_request(KVM_REQ_EVENT, vcpu) && count > 0) return 1;
    this_processor().charge(CYCLES);
    const r = kvm_emulate_instruction(vcpu, 0);
    if (r <= 0) return r;
    if (vcpu.arch.halt_request) return halted(vcpu, halt);
    if (vcpu.vmx.rmode.vm86_active && vcpu.arch.exception.pending) {
      vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
      vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
      vcpu.run.internal.ndata = 0;
      return 0;
    }
    if (vcpu.arch.mp_state !== 0 || signal_pending(current()) || need_resched() || !vmx_emulation_required(vcpu)) return 1;
  }
  return 1;
}

const GP_VECTOR = 13, SS_VECTOR = 12;
/** The emulator met HLT. */
function halted(vcpu: kvm_vcpu, halt: (vcpu: kvm_vcpu) => number): number {
  vcpu.arch.halt_request = false;
  return halt(vcpu);
}

/** Exceptions of virtual-8086 mode: what the mode itself refuses is emulated, all else is the guest's, by its vector table. */
export function handle_rmode_exception(vcpu: kvm_vcpu, vector: number, error: number, queue: (vcpu: kvm_vcpu, vector: number) => void, halt: (vcpu: kvm_vcpu) => number): number {
  // INT n finds no entry in the processor's IDT, which the error code names.
  if ((vector === GP_VECTOR || vector === SS_VECTOR) && (error === 0 || (error & 2) !== 0)) {
    const r = kvm_emulate_instruction(vcpu, 0);
    return r > 0 && vcpu.arch.halt_request ? halted(vcpu, halt) : r;
  }
  queue(vcpu, vector);
  return 1;
}

/** Delivers an event through the vector table in memory. `length` is that of the instruction that raised it, if it is past. */
export function kvm_inject_realmode_interrupt(vcpu: kvm_vcpu, vector: number, length: number): void {
  const push = (value: number): boolean => {
    const sp = (Number(kvm_register_read(vcpu, 4) & 0xffffn) - 2) & 0xffff;
    const ss = Number(kvm_x86.get_segment_base(vcpu, SS));
    if (kvm_vcpu_write_guest(vcpu, ss + sp, Uint8Array.of(value & 0xff, (value >>> 8) & 0xff)) !== 0) return false;
    kvm_register_write(vcpu, 4, (kvm_register_read(vcpu, 4) & ~0xffffn) | BigInt(sp));
    return true;
  };
  const flags = kvm_x86.get_rflags(vcpu);
  const cs = copy(kvm_x86.get_segment(vcpu, CS));
  const rip = Number(kvm_x86.get_rip(vcpu) & 0xffffn) + length;
  const entry = kvm_read_guest_u32(vcpu, Number(vcpu.vmx.rmode.idt.base) + vector * 4);
  if (entry === undefined || !push(flags) || !push(cs.selector) || !push(rip)) {
    kvm_make_request(1 << 4, vcpu);
    return;
  }
  cs.selector = entry >>> 16;
  cs.base = BigInt(cs.selector << 4);
  kvm_x86.set_segment(vcpu, CS, cs);
  kvm_x86.set_rip(vcpu, BigInt(entry & 0xffff));
  kvm_x86.set_rflags(vcpu, flags & ~(X86_EFLAGS_IF | X86_EFLAGS_TF | X86_EFLAGS_AC));
}

// ---------------------------------------------------------------- KVM's own pages in guest memory

const TSS_PRIVATE_MEMSLOT = KVM_USER_MEM_SLOTS, IDENTITY_PAGETABLE_PRIVATE_MEMSLOT = KVM_USER_MEM_SLOTS + 1;
export const VMX_IDENTITY_MAP_ADDR = 0xfffb_c000;
/** A TSS, the map of interrupts to redirect, that of all ports, and its end. */
const TSS_BASE_SIZE = 0x68, TSS_REDIRECTION_SIZE = 32, TSS_IOPB_SIZE = 8192, TSS_IOPB_BASE_OFFSET = 0x66;
const RMODE_TSS_SIZE = TSS_BASE_SIZE + TSS_REDIRECTION_SIZE + TSS_IOPB_SIZE + 1;

/** A slot user space cannot name, with memory of its process behind it: where that is, or -errno. */
function private_region(kvm: kvm, slot: number, address: number, size: number): number {
  const at = vm_mmap(undefined, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0);
  if (at < 0) return at;
  const r = __kvm_set_memory_region(kvm, { slot, flags: 0, guest_phys_addr: BigInt(address), memory_size: BigInt(size), userspace_addr: BigInt(at) }, true);
  if (r < 0) vm_munmap(at, size);
  return r < 0 ? r : at;
}

/** KVM_SET_TSS_ADDR: three pages that let every port through to the exit it causes. */
export function vmx_set_tss_addr(kvm: kvm, address: number): number {
  if (vmx_capabilities().enable_unrestricted_guest) return 0;
  const at = private_region(kvm, TSS_PRIVATE_MEMSLOT, address, 3 * 4096);
  if (at < 0) return at;
  const tss = new Uint8Array(RMODE_TSS_SIZE);
  tss[TSS_IOPB_BASE_OFFSET] = TSS_BASE_SIZE + TSS_REDIRECTION_SIZE;
  tss[RMODE_TSS_SIZE - 1] = 0xff;
  return copy_to_user(at, tss);
}

/** Under EPT a guest without paging runs on one page of 1024 entries of 4 MiB that map every address to itself. 0 or -errno. */
export function init_rmode_identity_map(kvm: kvm): number {
  const { arch } = kvm;
  if (arch.identity_map_done) return 0;
  arch.identity_map_addr ||= VMX_IDENTITY_MAP_ADDR;
  const at = private_region(kvm, IDENTITY_PAGETABLE_PRIVATE_MEMSLOT, arch.identity_map_addr, 4096);
  if (at < 0) return at;
  arch.identity_map_done = true;
  const entries = Uint32Array.from({ length: 1024 }, (_, i) => ((i << 22) | 0xe7) >>> 0);
  return copy_to_user(at, new Uint8Array(entries.buffer));
}
