/**
 * KVM's own instruction emulator, for what the processor will not run by itself: accesses to addresses without memory,
 * and string port I/O.
 *
 * Linux: arch/x86/kvm/emulate.c (x86_emulate_insn)
 *
 * The hard part is being interrupted by user space. Nothing of the guest may change before all reads are answered;
 * a write is handed to user space after the instruction is otherwise done. A repeated string instruction is one
 * execution an element, and stays on itself with RF set until the count is used up.
 */
import { Mov, NoAccess, NoWrite, Lock, DI, Priv, Prot, SI, Mmx, Sse, SrcWrite, String } from './emulate/opcode.ts';
import { emulate_exception, emulate_gp, emulate_ud, segmented_read, writeback } from './emulate/memory.ts';
import { address_mask, reg_read, register_address_increment, writeback_registers } from './emulate/registers.ts';
import {
  DF, EMULATION_FAILED, MF_VECTOR, NM_VECTOR, X86EMUL_MODE_PROT16, EMULATION_OK, EMULATION_RESTART, OP_MEM, PF_VECTOR, RF, VCPU_REGS_RCX, VCPU_REGS_RDI, VCPU_REGS_RSI, X86EMUL_CONTINUE, X86EMUL_PROPAGATE_FAULT,
  X86EMUL_UNHANDLEABLE, ZF, type operand, type x86_emulate_ctxt,
} from './emulate/types.ts';

export { x86_decode_insn } from './emulate/decode.ts';
export { emulate_int_real } from './emulate/far.ts';
export { emulator_task_switch } from './emulate/task-switch.ts';
export { invalidate_registers, reg_read, reg_write, writeback_registers } from './emulate/registers.ts';
export * from './emulate/types.ts';

function string_addr_inc(ctxt: x86_emulate_ctxt, reg: number, op: operand): void {
  const step = (ctxt.eflags & DF ? -op.count : op.count) * op.bytes;
  register_address_increment(ctxt, reg, step);
  op.ea = address_mask(ctxt, reg_read(ctxt, reg));
}

/** REPE and REPNE of CMPS and SCAS end by ZF. */
function string_insn_completed(ctxt: x86_emulate_ctxt): boolean {
  if (ctxt.b !== 0xa6 && ctxt.b !== 0xa7 && ctxt.b !== 0xae && ctxt.b !== 0xaf) return false;
  return (ctxt.eflags & ZF) === (ctxt.rep_prefix === 0xf3 ? 0 : ZF);
}

function read_operands(ctxt: x86_emulate_ctxt, flags: number): number {
  let rc: number;
  if (ctxt.src.type === OP_MEM && !(flags & NoAccess)) {
    rc = segmented_read(ctxt, ctxt.src);
    if (rc !== X86EMUL_CONTINUE) return rc;
    ctxt.src.orig_val = ctxt.src.val;
  }
  if (ctxt.src2.type === OP_MEM) {
    rc = segmented_read(ctxt, ctxt.src2);
    if (rc !== X86EMUL_CONTINUE) return rc;
  }
  if (ctxt.dst.type === OP_MEM && !(flags & Mov)) {
    rc = segmented_read(ctxt, ctxt.dst);
    if (rc !== X86EMUL_CONTINUE) {
      // The read of a read-modify-write faults as the write it is part of.
      if (!(flags & NoWrite) && rc === X86EMUL_PROPAGATE_FAULT && ctxt.exception.vector === PF_VECTOR) ctxt.exception.error_code |= 2;
      return rc;
    }
    ctxt.dst.orig_val = ctxt.dst.val;
    ctxt.dst.orig_high = ctxt.dst.high;
  }
  return X86EMUL_CONTINUE;
}

const CR0_EM = 4n, CR0_TS = 8n, CR4_OSFXSR = 0x200n;
/** What mode and privilege level say before any operand is read. */
function permitted(ctxt: x86_emulate_ctxt, flags: number): number {
  if (flags & Sse) {
    const cr0 = ctxt.ops.get_cr(0);
    if ((cr0 & CR0_EM) !== 0n || (ctxt.ops.get_cr(4) & CR4_OSFXSR) === 0n) return emulate_ud(ctxt);
    if ((cr0 & CR0_TS) !== 0n) return emulate_exception(ctxt, NM_VECTOR);
  }
  if (flags & Mmx) {
    const cr0 = ctxt.ops.get_cr(0);
    if ((cr0 & CR0_EM) !== 0n) return emulate_ud(ctxt);
    if ((cr0 & CR0_TS) !== 0n) return emulate_exception(ctxt, NM_VECTOR);
    if (ctxt.ops.x87_pending()) return emulate_exception(ctxt, MF_VECTOR);
  }
  if (flags & Prot && ctxt.mode < X86EMUL_MODE_PROT16) return emulate_ud(ctxt);
  if (flags & Priv && ctxt.ops.cpl() > 0) return emulate_gp(ctxt, 0);
  return X86EMUL_CONTINUE;
}

/** Executes the decoded instruction once. EMULATION_RESTART asks to be called again at once for the next element. */
export function x86_emulate_insn(ctxt: x86_emulate_ctxt): number {
  const row = ctxt.row!;
  const { flags } = row;
  ctxt.mem_read.pos = 0;
  const repeated = ctxt.rep_prefix !== 0 && (flags & String) !== 0;
  const dstType = ctxt.dst.type;
  const lock = ctxt.lock_prefix;
  if (lock && (!(flags & Lock) || dstType !== OP_MEM)) return done(ctxt, emulate_ud(ctxt));
  if (repeated && address_mask(ctxt, reg_read(ctxt, VCPU_REGS_RCX)) === 0n) {
    ctxt.eip = ctxt._eip;
    ctxt.eflags &= ~RF;
    writeback_registers(ctxt);
    return EMULATION_OK;
  }
  let rc = permitted(ctxt, flags);
  if (rc !== X86EMUL_CONTINUE) return done(ctxt, rc);
  rc = read_operands(ctxt, flags);
  if (rc !== X86EMUL_CONTINUE) return done(ctxt, rc);

  ctxt.eflags = repeated ? ctxt.eflags | RF : ctxt.eflags & ~RF;
  rc = row.execute(ctxt);
  if (rc === X86EMUL_CONTINUE && flags & SrcWrite) rc = writeback(ctxt, ctxt.src);
  if (rc === X86EMUL_CONTINUE && !(flags & NoWrite)) rc = writeback(ctxt, ctxt.dst);
  ctxt.lock_prefix = lock;
  if (rc !== X86EMUL_CONTINUE) return done(ctxt, rc);
  ctxt.dst.type = dstType;

  let count = 1;
  if (row.src === SI) { count = ctxt.src.count; string_addr_inc(ctxt, VCPU_REGS_RSI, ctxt.src); }
  if (row.dst === SI) string_addr_inc(ctxt, VCPU_REGS_RSI, ctxt.dst);
  if (row.src === DI) string_addr_inc(ctxt, VCPU_REGS_RDI, ctxt.src);
  if (row.dst === DI) {
    if (row.src !== SI) count = ctxt.dst.count;
    string_addr_inc(ctxt, VCPU_REGS_RDI, ctxt.dst);
    ctxt.dst.count = 1;
  }
  if (repeated) {
    register_address_increment(ctxt, VCPU_REGS_RCX, -count);
    if (!string_insn_completed(ctxt)) {
      // Let the caller look at signals and interrupts every 1024 elements, and at the end of what user space gave.
      const r = ctxt.io_read;
      if ((r.end !== 0 || (reg_read(ctxt, VCPU_REGS_RCX) & 0x3ffn) !== 0n) && (r.end === 0 || r.end !== r.pos)) {
        ctxt.mem_read.end = 0;
        writeback_registers(ctxt);
        return EMULATION_RESTART;
      }
      writeback_registers(ctxt);
      return EMULATION_OK;
    }
    ctxt.eflags &= ~RF;
  }
  ctxt.eip = ctxt._eip;
  writeback_registers(ctxt);
  return EMULATION_OK;
}

function done(ctxt: x86_emulate_ctxt, rc: number): number {
  if (rc === X86EMUL_PROPAGATE_FAULT) ctxt.have_exception = true;
  if (rc === X86EMUL_UNHANDLEABLE) return EMULATION_FAILED;
  if (rc === X86EMUL_CONTINUE) writeback_registers(ctxt);
  return EMULATION_OK;
}
