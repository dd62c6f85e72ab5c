/**
 * The emulator at work for a vCPU: its memory, its ports, and the exits to user space an instruction may need.
 *
 * Linux: arch/x86/kvm/x86.c (emulate_ops, x86_emulate_instruction, emulator_read_write, complete_emulated_mmio)
 *
 * An access that user space must perform is cut into fragments of at most 8 bytes an exit. A write leaves when the
 * instruction is otherwise done; a read is answered first and the instruction executed again.
 */
import { KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_MMIO, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, kvm_run } from '../abi/kvm/index.ts';
import { PAGE_SIZE, machine, module_param, this_processor } from '../kernel/exports.ts';
import {
  EMULATION_FAILED, EMULATION_OK, EMULATION_RESTART, PF_VECTOR, TF, UD_VECTOR, X86EMUL_CMPXCHG_FAILED, X86EMUL_CONTINUE, X86EMUL_IO_NEEDED, X86EMUL_MODE_PROT16, X86EMUL_MODE_PROT32,
  X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86, X86EMUL_PROPAGATE_FAULT, X86EMUL_UNHANDLEABLE, emulator_task_switch, invalidate_registers, writeback_registers, x86_decode_insn, x86_emulate_ctxt, x86_emulate_insn,
  type x86_emulate_ops,
} from './emulate.ts';
import { kvm_inject_page_fault, kvm_queue_exception, kvm_queue_exception_e } from './events.ts';
import { kvm_cpuid, guest_cpuid_is_amd } from './cpuid.ts';
import { kvm_get_cr8, kvm_set_cr0, kvm_set_cr3, kvm_set_cr4, kvm_set_cr8 } from './cr.ts';
import { emulator_get_msr, emulator_set_msr } from './msr-exits.ts';
import { kvm_get_dr, kvm_get_rflags, kvm_set_dr, kvm_set_rflags, kvm_vcpu_do_singlestep } from './guest-debug.ts';
import { kvm_vcpu_read_guest, kvm_vcpu_write_guest, gfn_of } from './guest-memory.ts';
import {
  APIC_DEFAULT_PHYS_BASE, KVM_REQ_EVENT, KVM_REQ_TRIPLE_FAULT, type kvm_vcpu, kvm_get_linear_rip, is_long_mode, is_protmode, kvm_make_request, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_register_read, kvm_register_write, kvm_x86,
} from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot } from './memslots.ts';
import { PFERR_FETCH_MASK, PFERR_WRITE_MASK, UNMAPPED_GVA, access_of_cpl, gva_to_gpa } from './mmu/mmu.ts';
import { kvm_mmu_unprotect_gfn } from './mmu/shadow.ts';
import { kvm_mmu_invlpg, kvm_page_track_write } from './mmu/shadow-sync.ts';
import { kvm_emulate_insn, KVM_TRACE_MMIO_READ, KVM_TRACE_MMIO_READ_UNSATISFIED, KVM_TRACE_MMIO_WRITE, kvm_mmio, trace_kvm_emulate_insn } from './trace.ts';
import { emulator_leave_smm } from './smm.ts';
import { complete_emulated_pio, emulator_pio_in, emulator_pio_out } from './pio.ts';

export const EMULTYPE_NO_DECODE = 1;
export const EMULTYPE_TRAP_UD = 2;
export const EMULTYPE_SKIP = 4;
/** The instruction writes to a table of the guest's that is shadowed: if it cannot be emulated, it may run when the table is let go. */
export const EMULTYPE_ALLOW_RETRY_PF = 8;
export const EMULTYPE_PF = 64;
/** #UD on the prefix with which tests ask for the emulator: any instruction, and #UD again where it cannot. */
export const EMULTYPE_TRAP_UD_FORCED = 16;

// ---------------------------------------------------------------- memory

/** Reads at a guest-linear address with the rights of the code that runs, RAM only. */
function fetch_code(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, linear: bigint, bytes: number): number {
  const gpa = gva_to_gpa(vcpu, linear, access_of_cpl(vcpu) | PFERR_FETCH_MASK, ctxt.exception);
  if (gpa === UNMAPPED_GVA) return X86EMUL_PROPAGATE_FAULT;
  const part = ctxt.fetch_end === 0 && bytes === ctxt.longest.length ? ctxt.longest : ctxt.fetched.subarray(ctxt.fetch_end, ctxt.fetch_end + bytes);
  return kvm_vcpu_read_guest(vcpu, gpa, part) < 0 ? X86EMUL_IO_NEEDED : X86EMUL_CONTINUE;
}

const is_mmio_gpa = (gpa: number): boolean => gpa - (gpa % PAGE_SIZE) === APIC_DEFAULT_PHYS_BASE;

/** Which way the access in progress goes: set for the duration of emulator_read_write. */
function one_page(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array, at: number, bytes: number, write: boolean): number {
  const gpa = gva_to_gpa(vcpu, linear, access_of_cpl(vcpu) | (write ? PFERR_WRITE_MASK : 0), ctxt.exception);
  if (gpa === UNMAPPED_GVA) return X86EMUL_PROPAGATE_FAULT;
  if (!is_mmio_gpa(gpa) && kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(gpa)) !== undefined) {
    const part = data.subarray(at, at + bytes);
    if ((write ? kvm_vcpu_write_guest(vcpu, gpa, part) : kvm_vcpu_read_guest(vcpu, gpa, part)) === 0) {
      if (write) kvm_page_track_write(vcpu, gpa, bytes);
      return X86EMUL_CONTINUE;
    }
  }

  // No memory: devices inside KVM take what they can, the rest is user space's.
  let done = 0;
  if (!vcpu.kvm.mmio_bus.empty || vcpu.arch.apic !== undefined) {
    while (done < bytes) {
      const n = Math.min(8, bytes - done);
      const piece = data.subarray(at + done, at + done + n);
      if ((write ? mmio_write(vcpu, gpa + done, n, piece) : mmio_read(vcpu, gpa + done, n, piece)) < 0) break;
      done += n;
    }
  }
  if (done === bytes) return X86EMUL_CONTINUE;
  const fragment = (vcpu.mmio_fragments[vcpu.mmio_nr_fragments] ??= { gpa: 0, at: 0, len: 0 });
  fragment.gpa = gpa + done;
  fragment.at = at + done;
  fragment.len = bytes - done;
  if (write) for (let i = at + done; i < at + bytes; i++) vcpu.mmio_data[i] = data[i]!;
  vcpu.mmio_nr_fragments++;
  return X86EMUL_CONTINUE;
}
const mmio_write = (vcpu: kvm_vcpu, gpa: number, n: number, data: Uint8Array): number =>
  vcpu.arch.apic?.mmio_write(gpa, n, data) === true ? 0 : vcpu.kvm.mmio_bus.write(vcpu, gpa, n, data);
const mmio_read = (vcpu: kvm_vcpu, gpa: number, n: number, data: Uint8Array): number =>
  vcpu.arch.apic?.mmio_read(gpa, n, data) === true ? 0 : vcpu.kvm.mmio_bus.read(vcpu, gpa, n, data);

function emulator_read_write(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array, at: number, bytes: number, write: boolean): number {
  if (!write && vcpu.mmio_read_completed) {
    for (let i = 0; i < bytes; i++) data[at + i] = vcpu.mmio_data[i]!;
    vcpu.mmio_read_completed = false;
    return X86EMUL_CONTINUE;
  }
  vcpu.mmio_nr_fragments = 0;
  const buffer = write ? data : vcpu.mmio_data;
  const from = write ? at : 0;
  const first = Math.min(bytes, PAGE_SIZE - Number(linear & BigInt(PAGE_SIZE - 1)));
  let rc = one_page(vcpu, ctxt, linear, buffer, from, first, write);
  if (rc === X86EMUL_CONTINUE && first < bytes) {
    const next = ctxt.mode === X86EMUL_MODE_PROT64 ? linear + BigInt(first) : (linear + BigInt(first)) & 0xffff_ffffn;
    rc = one_page(vcpu, ctxt, next, buffer, from + first, bytes - first, write);
  }
  if (rc !== X86EMUL_CONTINUE) return rc;
  if (vcpu.mmio_nr_fragments === 0) {
    if (!write) for (let i = 0; i < bytes; i++) data[at + i] = buffer[i]!;
    return X86EMUL_CONTINUE;
  }
  vcpu.mmio_needed = true;
  vcpu.mmio_cur_fragment = 0;
  vcpu.mmio_is_write = write;
  exit_mmio(vcpu);
  return write ? X86EMUL_CONTINUE : X86EMUL_IO_NEEDED;
}

function trace_mmio(type: number, gpa: number, len: number, data: Uint8Array, at: number): void {
  let val = 0n;
  if (type !== KVM_TRACE_MMIO_READ_UNSATISFIED) for (let i = len - 1; i >= 0; i--) val = (val << 8n) | BigInt(data[at + i]!);
  kvm_mmio.trace({ type, len, gpa: BigInt(gpa), val });
}

/** kvm_run.mmio in words: the address, eight bytes of data, the length, and in a byte the direction. */
const MMIO = kvm_run.offset.mmio >>> 2, MMIO_DATA = MMIO + 2, MMIO_LEN = MMIO + 4, MMIO_IS_WRITE = MMIO + 5;

/** Describes the current fragment in kvm_run. A write's data beyond its length stay what they were. */
function exit_mmio(vcpu: kvm_vcpu): void {
  const { run_words: words, mmio_data: data } = vcpu;
  const fragment = vcpu.mmio_fragments[vcpu.mmio_cur_fragment]!;
  const n = Math.min(8, fragment.len);
  vcpu.run.exit_reason = KVM_EXIT_MMIO;
  words[MMIO] = fragment.gpa;
  words[MMIO + 1] = fragment.gpa / 0x1_0000_0000;
  if (vcpu.mmio_is_write) {
    for (let i = 0; i < n; i++) {
      const at = MMIO_DATA + (i >> 2), shift = (i & 3) * 8;
      words[at] = (words[at]! & ~(0xff << shift)) | (data[fragment.at + i]! << shift);
    }
  }
  words[MMIO_LEN] = n;
  words[MMIO_IS_WRITE] = (words[MMIO_IS_WRITE]! & ~0xff) | (vcpu.mmio_is_write ? 1 : 0);
  if (kvm_mmio.enabled) trace_mmio(vcpu.mmio_is_write ? KVM_TRACE_MMIO_WRITE : KVM_TRACE_MMIO_READ_UNSATISFIED, fragment.gpa, n, vcpu.mmio_data, fragment.at);
}

/** User space has performed one part of the access. */
function complete_emulated_mmio(vcpu: kvm_vcpu): number {
  const fragment = vcpu.mmio_fragments[vcpu.mmio_cur_fragment]!;
  const n = Math.min(8, fragment.len);
  if (!vcpu.mmio_is_write) for (let i = 0; i < n; i++) vcpu.mmio_data[fragment.at + i] = vcpu.run_words[MMIO_DATA + (i >> 2)]! >>> ((i & 3) * 8);
  if (kvm_mmio.enabled && !vcpu.mmio_is_write) trace_mmio(KVM_TRACE_MMIO_READ, fragment.gpa, n, vcpu.mmio_data, fragment.at);
  if (fragment.len <= 8) vcpu.mmio_cur_fragment++;
  else {
    fragment.gpa += 8;
    fragment.at += 8;
    fragment.len -= 8;
  }
  if (vcpu.mmio_cur_fragment >= vcpu.mmio_nr_fragments) {
    vcpu.mmio_needed = false;
    if (vcpu.mmio_is_write) return 1;
    vcpu.mmio_read_completed = true;
    return kvm_emulate_instruction(vcpu, EMULTYPE_NO_DECODE);
  }
  exit_mmio(vcpu);
  vcpu.arch.complete_userspace_io = complete_emulated_mmio;
  return 0;
}

/** Compare and exchange, one step as seen by the guest: the vCPU's step is atomic. An address without memory is written as it is. */
function cmpxchg_emulated(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, linear: bigint, old: Uint8Array, value: Uint8Array, bytes: number): number {
  const gpa = gva_to_gpa(vcpu, linear, access_of_cpl(vcpu) | PFERR_WRITE_MASK, undefined);
  const slot = gpa === UNMAPPED_GVA ? undefined : kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(gpa));
  if (slot !== undefined && (gpa % PAGE_SIZE) + bytes <= PAGE_SIZE && !is_mmio_gpa(gpa)) {
    const seen = new Uint8Array(bytes);
    if (kvm_vcpu_read_guest(vcpu, gpa, seen) === 0 && seen.some((byte, i) => byte !== old[i])) return X86EMUL_CMPXCHG_FAILED;
  }
  return emulator_read_write(vcpu, ctxt, linear, value, 0, bytes, true);
}

/** Memory at a linear address for the processor's own use: supervisor rights, RAM only. */
function access_std(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array, write: boolean): number {
  for (let done = 0; done < data.length; ) {
    const at = linear + BigInt(done);
    const n = Math.min(data.length - done, PAGE_SIZE - Number(at & BigInt(PAGE_SIZE - 1)));
    const gpa = gva_to_gpa(vcpu, at, write ? PFERR_WRITE_MASK : 0, ctxt.exception);
    if (gpa === UNMAPPED_GVA) return X86EMUL_PROPAGATE_FAULT;
    const part = data.subarray(done, done + n);
    if ((write ? kvm_vcpu_write_guest(vcpu, gpa, part) : kvm_vcpu_read_guest(vcpu, gpa, part)) < 0) return X86EMUL_UNHANDLEABLE;
    if (write) kvm_page_track_write(vcpu, gpa, n);
    done += n;
  }
  return X86EMUL_CONTINUE;
}

// ---------------------------------------------------------------- the emulator's view of a vCPU

function set_cr(vcpu: kvm_vcpu, cr: number, value: bigint): number {
  switch (cr) {
    case 0: return kvm_set_cr0(vcpu, (kvm_read_cr0(vcpu) & ~0xffff_ffffn) | (value & 0xffff_ffff_ffff_ffffn));
    case 2: vcpu.arch.cr2 = value; return 0;
    case 3: return kvm_set_cr3(vcpu, value);
    case 4: return kvm_set_cr4(vcpu, value);
    default: return kvm_set_cr8(vcpu, value);
  }
}

/** Ports of code that IOPL denies them: by the bitmap in the TSS. */
function emulator_io_permitted(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, port: number, size: number): boolean {
  const iopl = (ctxt.eflags >>> 12) & 3;
  if (ctxt.mode !== X86EMUL_MODE_VM86 && (ctxt.mode === X86EMUL_MODE_REAL || kvm_x86.get_cpl(vcpu) <= iopl)) return true;
  const tr = { ...kvm_x86.get_segment(vcpu, 6) };
  if (tr.unusable || tr.limit < 103) return false;
  const word = new Uint8Array(2);
  if (access_std(vcpu, ctxt, tr.base + 102n, word, false) !== X86EMUL_CONTINUE) return false;
  const at = (word[0]! | (word[1]! << 8)) + (port >>> 3);
  if (at > tr.limit || access_std(vcpu, ctxt, tr.base + BigInt(at), word, false) !== X86EMUL_CONTINUE) return false;
  return (((word[0]! | (word[1]! << 8)) >>> (port & 7)) & ((1 << size) - 1)) === 0;
}

const mm_offset = (reg: number): number => 32 + 16 * reg;
/** What every MMX instruction does to the x87: TOP 0, so that MM0 is ST(0), and all registers in use. */
function enter_mmx(fpu: DataView): void {
  const top = (fpu.getUint16(2, true) >> 11) & 7;
  const registers = Array.from({ length: 8 }, (_, i) => [fpu.getBigUint64(mm_offset((i - top) & 7), true), fpu.getUint16(mm_offset((i - top) & 7) + 8, true)] as const);
  registers.forEach(([low, high], i) => {
    fpu.setBigUint64(mm_offset(i), low, true);
    fpu.setUint16(mm_offset(i) + 8, high, true);
  });
  fpu.setUint16(2, fpu.getUint16(2, true) & ~0x3800, true);
  fpu.setUint8(4, 0xff);
}
const xmm_offset = (reg: number): number => 160 + 16 * reg;
/** FPU registers are in the processor while the vCPU's are loaded, which they are whenever an instruction is emulated. */
const fpu = (): DataView => {
  const { fpu: bytes } = this_processor().cpu;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};

export function alloc_emulate_ctxt(of: () => kvm_vcpu): x86_emulate_ctxt {
  const ops: x86_emulate_ops = {
    read_gpr: (reg) => kvm_register_read(of(), reg),
    write_gpr: (reg, value) => { kvm_register_write(of(), reg, value); },
    get_segment: (seg) => kvm_x86.get_segment(of(), seg),
    set_segment: (seg, value) => { kvm_x86.set_segment(of(), seg, value); },
    get_dt: (which) => kvm_x86.get_dt(of(), which),
    set_dt: (which, base, limit) => { kvm_x86.set_dt(of(), which, base, limit); },
    get_segment_base: (seg) => kvm_x86.get_segment_base(of(), seg),
    set_cr: (cr, value) => set_cr(of(), cr, value),
    get_dr: (dr) => kvm_get_dr(of(), dr),
    set_dr: (dr, value) => kvm_set_dr(of(), dr, value),
    get_msr: (index) => kvm_x86.get_msr(of(), index, false),
    rdmsr: (ctxt, index) => emulator_get_msr(of(), ctxt, index),
    wrmsr: (_ctxt, index, value) => emulator_set_msr(of(), index, value),
    get_cpuid: (leaf, index) => ((of().arch.msr_misc_features_enables & 1n) !== 0n && kvm_x86.get_cpl(of()) !== 0 ? undefined : kvm_cpuid(of(), leaf, index)),
    guest_is_amd: () => guest_cpuid_is_amd(of()),
    halt: () => { of().arch.halt_request = true; },
    invlpg: (address) => { kvm_mmu_invlpg(of(), address); },
    set_nmi_mask: (masked) => { kvm_x86.set_nmi_mask(of(), masked); },
    fninit: () => { fpu().setUint16(0, 0x37f, true); fpu().setUint16(2, 0, true); fpu().setUint8(4, 0); },
    read_std: (ctxt, linear, data) => access_std(of(), ctxt, linear, data, false),
    write_std: (ctxt, linear, data) => access_std(of(), ctxt, linear, data, true),
    get_cr: (cr) => (cr === 8 ? kvm_get_cr8(of()) : cr === 0 ? kvm_read_cr0(of()) : cr === 2 ? of().arch.cr2 : cr === 3 ? kvm_read_cr3(of()) : kvm_read_cr4(of())),
    cpl: () => kvm_x86.get_cpl(of()),
    fetch: (ctxt, linear, bytes) => fetch_code(of(), ctxt, linear, bytes),
    read_emulated: (ctxt, linear, data, at, bytes) => emulator_read_write(of(), ctxt, linear, data, at, bytes, false),
    write_emulated: (ctxt, linear, data, bytes) => emulator_read_write(of(), ctxt, linear, data, 0, bytes, true),
    cmpxchg_emulated: (ctxt, linear, old, value, bytes) => cmpxchg_emulated(of(), ctxt, linear, old, value, bytes),
    pio_in_emulated: (_ctxt, size, port, data, count) => emulator_pio_in(of(), size, port, data, count),
    pio_out_emulated: (_ctxt, size, port, data, count) => emulator_pio_out(of(), size, port, data, count),
    io_allowed: (ctxt, port, size) => emulator_io_permitted(of(), ctxt, port, size),
    x87_pending: () => (fpu().getUint16(2, true) & 0x80) !== 0,
    read_mm: (reg) => {
      enter_mmx(fpu());
      return fpu().getBigUint64(mm_offset(reg), true);
    },
    write_mm: (reg, value) => {
      fpu().setBigUint64(mm_offset(reg), value, true);
      fpu().setUint16(mm_offset(reg) + 8, 0xffff, true);
    },
    read_xmm: (reg) => [fpu().getBigUint64(xmm_offset(reg), true), fpu().getBigUint64(xmm_offset(reg) + 8, true)],
    write_xmm: (reg, low, high) => { fpu().setBigUint64(xmm_offset(reg), low, true); fpu().setBigUint64(xmm_offset(reg) + 8, high, true); },
    fpu_image: () => this_processor().cpu.fpu,
    fpu_control: () => ({ fcw: fpu().getUint16(0, true), fsw: fpu().getUint16(2, true) }),
    fix_hypercall: (ctxt) => fix_hypercall(of(), ctxt),
    is_smm: () => of().arch.smm,
    leave_smm: (ctxt) => emulator_leave_smm(of(), ctxt),
    triple_fault: () => { kvm_make_request(KVM_REQ_TRIPLE_FAULT, of()); },
  };
  return new x86_emulate_ctxt(ops);
}

/** The guest's hypercall instruction is the other vendor's: ours takes its place, unless user space turned that quirk off. */
function fix_hypercall(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt): number {
  const QUIRK_FIX_HYPERCALL_INSN = 1n << 5n;
  if ((vcpu.kvm.arch.disabled_quirks & QUIRK_FIX_HYPERCALL_INSN) !== 0n) {
    ctxt.exception.vector = UD_VECTOR;
    ctxt.exception.error_code_valid = false;
    return X86EMUL_PROPAGATE_FAULT;
  }
  const code = new Uint8Array(3);
  kvm_x86.patch_hypercall(code);
  const linear = ctxt.mode === X86EMUL_MODE_PROT64 ? ctxt.eip : (ctxt.eip + kvm_x86.get_segment_base(vcpu, 1)) & 0xffff_ffffn;
  const gpa = gva_to_gpa(vcpu, linear, 0, undefined, false);
  return gpa !== UNMAPPED_GVA && kvm_vcpu_write_guest(vcpu, gpa, code) === 0 ? X86EMUL_CONTINUE : X86EMUL_UNHANDLEABLE;
}

function init_emulate_ctxt(vcpu: kvm_vcpu): void {
  const ctxt = vcpu.arch.emulate_ctxt;
  ctxt.eflags = kvm_get_rflags(vcpu);
  ctxt.tf = (ctxt.eflags & TF) !== 0;
  ctxt.eip = kvm_x86.get_rip(vcpu);
  const { db, l } = kvm_x86.get_cs_db_l_bits(vcpu);
  ctxt.mode = !is_protmode(vcpu) ? X86EMUL_MODE_REAL : (ctxt.eflags & 0x20000) !== 0 ? X86EMUL_MODE_VM86
    : l !== 0 && is_long_mode(vcpu) ? X86EMUL_MODE_PROT64 : db !== 0 ? X86EMUL_MODE_PROT32 : X86EMUL_MODE_PROT16;
  ctxt.interruptibility = 0;
  ctxt.have_exception = false;
  ctxt.exception.vector = -1;
  invalidate_registers(ctxt);
  vcpu.arch.emulate_regs_need_sync_from_vcpu = false;
}

// ---------------------------------------------------------------- emulating one instruction

/** KVM_EXIT_INTERNAL_ERROR with the bytes the instruction was read as. */
function prepare_emulation_failure_exit(vcpu: kvm_vcpu, bytes: Uint8Array): void {
  const { run } = vcpu;
  const info = kvm_x86.get_exit_info(vcpu);
  run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
  run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
  const failure = run.emulation_failure;
  failure.flags = 0n;
  let at = 1;
  if (bytes.length > 0) {
    at = 3;
    failure.flags = BigInt(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
    failure.insn_size = bytes.length;
    for (let i = 0; i < 15; i++) failure.insn_bytes.set(i, bytes[i] ?? 0x90);
  }
  [BigInt(info.reason >>> 0), info.info1, info.info2, BigInt(info.intr_info >>> 0), BigInt(info.error_code >>> 0)].forEach((value, i) => { run.internal.data.set(at + i, value); });
  run.internal.ndata = at + 5;
}

/** 0: user space is told. 1: the guest gets #UD, which at CPL 3 is all there is to it. */
function handle_emulation_failure(vcpu: kvm_vcpu, type: number): number {
  const ctxt = vcpu.arch.emulate_ctxt;
  if ((type & EMULTYPE_ALLOW_RETRY_PF) !== 0 && kvm_mmu_unprotect_gfn(vcpu, vcpu.arch.mmu.tracked_gfn)) return 1;
  vcpu.stat.insn_emulation_fail++;
  if (kvm_emulate_insn.enabled) trace_kvm_emulate_insn(vcpu, true);
  const tell = (): number => {
    prepare_emulation_failure_exit(vcpu, ctxt.fetched.subarray(0, ctxt.fetch_end));
    return 0;
  };
  if (vcpu.kvm.arch.exit_on_emulation_error || (type & EMULTYPE_SKIP) !== 0) return tell();
  kvm_queue_exception(vcpu, UD_VECTOR);
  return kvm_x86.get_cpl(vcpu) === 0 ? tell() : 1;
}

function inject_emulated_exception(vcpu: kvm_vcpu): void {
  const { exception: e } = vcpu.arch.emulate_ctxt;
  if (e.vector === PF_VECTOR) kvm_inject_page_fault(vcpu, e);
  else if (e.error_code_valid) kvm_queue_exception_e(vcpu, e.vector, e.error_code);
  else kvm_queue_exception(vcpu, e.vector);
}

/** kvm.force_emulation_prefix: UD2 and "kvm" before an instruction give it to the emulator. */
const EMULATE_PREFIX = [0x0f, 0x0b, 0x6b, 0x76, 0x6d];
const FEP_CLEAR_RFLAGS_RF = 2;
export function handle_ud(vcpu: kvm_vcpu): number {
  const forced = Number(module_param('kvm', 'force_emulation_prefix'));
  if (forced === 0) return kvm_emulate_instruction(vcpu, EMULTYPE_TRAP_UD);
  const bytes = new Uint8Array(EMULATE_PREFIX.length);
  const ctxt = vcpu.arch.emulate_ctxt;
  const read = access_std(vcpu, ctxt, kvm_get_linear_rip(vcpu), bytes, false) === X86EMUL_CONTINUE;
  if (!read || bytes.some((byte, i) => byte !== EMULATE_PREFIX[i])) return kvm_emulate_instruction(vcpu, EMULTYPE_TRAP_UD);
  if ((forced & FEP_CLEAR_RFLAGS_RF) !== 0) kvm_set_rflags(vcpu, kvm_get_rflags(vcpu) & ~0x10000);
  kvm_x86.set_rip(vcpu, kvm_x86.get_rip(vcpu) + BigInt(EMULATE_PREFIX.length));
  return kvm_emulate_instruction(vcpu, EMULTYPE_TRAP_UD_FORCED);
}

/** A hardware task switch. 1, or 0 where the new task cannot be reached. */
export function kvm_task_switch(vcpu: kvm_vcpu, selector: number, vector: number, reason: number, error: number | undefined): number {
  const ctxt = vcpu.arch.emulate_ctxt;
  init_emulate_ctxt(vcpu);
  ctxt._eip = ctxt.eip;
  ctxt.row = undefined;
  ctxt.mem_read.pos = ctxt.mem_read.end = 0;
  const rc = emulator_task_switch(ctxt, selector, vector, reason, error);
  if (vcpu.mmio_needed || (rc !== X86EMUL_CONTINUE && rc !== X86EMUL_PROPAGATE_FAULT)) {
    vcpu.mmio_needed = false;
    vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    vcpu.run.internal.ndata = 0;
    return 0;
  }
  writeback_registers(ctxt);
  kvm_x86.set_rip(vcpu, ctxt._eip);
  kvm_set_rflags(vcpu, ctxt.eflags);
  if (rc === X86EMUL_PROPAGATE_FAULT) inject_emulated_exception(vcpu);
  return 1;
}

export const kvm_emulate_instruction = (vcpu: kvm_vcpu, type: number): number => x86_emulate_instruction(vcpu, type);

/** Emulates the instruction at the guest's RIP. 1: on with the guest; 0: to user space. */
export function x86_emulate_instruction(vcpu: kvm_vcpu, type: number): number {
  const { arch } = vcpu;
  const ctxt = arch.emulate_ctxt;
  if ((type & EMULTYPE_NO_DECODE) === 0) {
    init_emulate_ctxt(vcpu);
    this_processor().charge(machine().costs.kvmEmulate);
    vcpu.stat.insn_emulation++;
    if (x86_decode_insn(ctxt, (type & EMULTYPE_TRAP_UD) !== 0) !== EMULATION_OK) {
      if ((type & (EMULTYPE_TRAP_UD | EMULTYPE_TRAP_UD_FORCED)) !== 0) {
        kvm_queue_exception(vcpu, UD_VECTOR);
        return 1;
      }
      if (ctxt.have_exception) {
        inject_emulated_exception(vcpu);
        return 1;
      }
      return handle_emulation_failure(vcpu, type);
    }
    if (kvm_emulate_insn.enabled) trace_kvm_emulate_insn(vcpu, false);
  }
  if ((type & EMULTYPE_SKIP) !== 0) {
    kvm_x86.set_rip(vcpu, ctxt._eip);
    kvm_set_rflags(vcpu, ctxt.eflags & ~0x10000);
    kvm_x86.set_interrupt_shadow(vcpu, 0);
    return 1;
  }
  if (arch.emulate_regs_need_sync_from_vcpu) {
    arch.emulate_regs_need_sync_from_vcpu = false;
    invalidate_registers(ctxt);
  }
  let r: number;
  do r = x86_emulate_insn(ctxt);
  while (r === EMULATION_RESTART && !ctxt.have_exception && arch.pio.count === 0 && !vcpu.mmio_needed && arch.complete_userspace_io === undefined);
  if (r === EMULATION_FAILED) return handle_emulation_failure(vcpu, type);

  let writeback = true;
  if (ctxt.have_exception) {
    vcpu.mmio_needed = false;
    r = 1;
    inject_emulated_exception(vcpu);
  } else if (arch.pio.count !== 0) {
    if (arch.pio.in) {
      writeback = false;
      arch.complete_userspace_io = complete_emulated_pio;
    } else arch.pio.count = 0;
    r = 0;
  } else if (vcpu.mmio_needed) {
    vcpu.stat.mmio_exits++;
    if (!vcpu.mmio_is_write) writeback = false;
    r = 0;
    arch.complete_userspace_io = complete_emulated_mmio;
  } else if (arch.complete_userspace_io !== undefined) {
    writeback = false;
    r = 0;
  } else r = 1;

  if (!writeback) {
    arch.emulate_regs_need_sync_to_vcpu = true;
    return r;
  }
  const before = kvm_get_rflags(vcpu);
  if (ctxt.interruptibility !== 0) {
    // STI or MOV SS after one of its kind blocks nothing.
    const before = kvm_x86.get_interrupt_shadow(vcpu);
    kvm_x86.set_interrupt_shadow(vcpu, (before & ctxt.interruptibility) !== 0 ? 0 : ctxt.interruptibility);
  }
  else if (kvm_x86.get_interrupt_shadow(vcpu) !== 0) kvm_x86.set_interrupt_shadow(vcpu, 0);
  arch.emulate_regs_need_sync_to_vcpu = false;
  if (!ctxt.have_exception) {
    kvm_x86.set_rip(vcpu, ctxt.eip);
    if (r !== 0 && (ctxt.tf || vcpu.guest_debug & 2)) r = kvm_vcpu_do_singlestep(vcpu);
    kvm_set_rflags(vcpu, ctxt.eflags | 2);
  }
  if ((ctxt.eflags & ~before & 0x200) !== 0) kvm_make_request(KVM_REQ_EVENT, vcpu);
  return r;
}

