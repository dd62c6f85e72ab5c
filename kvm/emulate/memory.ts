/**
 * Memory operands: segmentation, and reads and writes that may have to wait for user space.
 *
 * Linux: arch/x86/kvm/emulate.c (__linearize, segmented_read, segmented_write, writeback)
 */
import { address_mask, fetch_register_operand, mask, reg_read, rsp_increment, stack_bytes, write_register_operand } from './registers.ts';
import {
  DE_VECTOR, GP_VECTOR, OP_MEM, OP_MEM_STR, OP_MM, OP_REG, OP_XMM, SS_VECTOR, UD_VECTOR, VCPU_REGS_RSP, VCPU_SREG_CS, VCPU_SREG_FS, VCPU_SREG_SS,
  X86EMUL_CMPXCHG_FAILED, X86EMUL_CONTINUE, X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_PROPAGATE_FAULT, X86EMUL_RETRY_INSTR,
  type operand, type x86_emulate_ctxt,
} from './types.ts';
import { Aligned } from './opcode.ts';

export function emulate_exception(ctxt: x86_emulate_ctxt, vector: number, error?: number): number {
  ctxt.exception.vector = vector;
  ctxt.exception.error_code = error ?? 0;
  ctxt.exception.error_code_valid = error !== undefined;
  return X86EMUL_PROPAGATE_FAULT;
}
export const emulate_gp = (ctxt: x86_emulate_ctxt, error: number): number => emulate_exception(ctxt, GP_VECTOR, error);
export const emulate_ud = (ctxt: x86_emulate_ctxt): number => emulate_exception(ctxt, UD_VECTOR);
export const emulate_de = (ctxt: x86_emulate_ctxt): number => emulate_exception(ctxt, DE_VECTOR);

/** 48-bit canonical: the processor has four-level paging only. */
export const is_canonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;

/** What linearize found; valid until the next call. */
export let linear = 0n;
/** Bytes from `linear` to the end of the segment. */
export let max_size = 0;

const segment_fault = (ctxt: x86_emulate_ctxt, seg: number): number => emulate_exception(ctxt, seg === VCPU_SREG_SS ? SS_VECTOR : GP_VECTOR, 0);

/** Turns segment and offset into `linear` with the checks of the mode. */
export function linearize(ctxt: x86_emulate_ctxt, seg: number, ea: bigint, size: number, write: boolean, fetch: boolean): number {
  if (ctxt.mode === X86EMUL_MODE_PROT64) {
    linear = BigInt.asUintN(64, ea + (seg >= VCPU_SREG_FS ? ctxt.ops.get_segment_base(seg) : 0n));
    if (!is_canonical(linear)) return segment_fault(ctxt, seg);
    max_size = Number.POSITIVE_INFINITY;
  } else {
    const desc = ctxt.ops.get_segment(seg);
    if (desc.unusable) return segment_fault(ctxt, seg);
    const isCode = (desc.type & 8) !== 0;
    if (write && ((ctxt.mode !== X86EMUL_MODE_REAL && isCode) || (desc.type & 2) === 0)) return segment_fault(ctxt, seg);
    if (!fetch && isCode && (desc.type & 2) === 0) return segment_fault(ctxt, seg);
    let limit = desc.limit;
    const offset = Number(ea & 0xffff_ffffn);
    if (!isCode && desc.type & 4) {
      if (offset <= limit) return segment_fault(ctxt, seg);
      limit = desc.db ? 0xffff_ffff : 0xffff;
    }
    if (offset > limit) return segment_fault(ctxt, seg);
    max_size = limit === 0xffff_ffff ? Number.POSITIVE_INFINITY : limit + 1 - offset;
    if (size > max_size) return segment_fault(ctxt, seg);
    linear = (ea + desc.base) & 0xffff_ffffn;
  }
  if (size === 16 && ctxt.row !== undefined && ctxt.row.flags & Aligned && linear & 15n) return emulate_gp(ctxt, 0);
  return X86EMUL_CONTINUE;
}

/** Reads through the cache of answers: a second execution of the instruction finds what the first one read. */
function read_emulated(ctxt: x86_emulate_ctxt, at: bigint, size: number): number {
  const mc = ctxt.mem_read;
  if (mc.pos >= mc.end) {
    const rc = ctxt.ops.read_emulated(ctxt, at, mc.data, mc.end, size);
    if (rc !== X86EMUL_CONTINUE) return rc;
    mc.end += size;
  }
  mc.pos += size;
  return X86EMUL_CONTINUE;
}

export const loadLittle = (data: Uint8Array, at: number, size: number): bigint => {
  if (size <= 4) {
    let small = 0;
    for (let i = size - 1; i >= 0; i--) small = small * 256 + data[at + i]!;
    return BigInt(small);
  }
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[at + i]!);
  return value;
};
export const storeLittle = (data: Uint8Array, at: number, size: number, value: bigint): void => {
  let low = Number(value & 0xffff_ffffn);
  for (let i = 0; i < size && i < 4; i++, low = Math.floor(low / 256)) data[at + i] = low & 0xff;
  if (size <= 4) return;
  let high = Number((value >> 32n) & 0xffff_ffffn);
  for (let i = 4; i < size; i++, high = Math.floor(high / 256)) data[at + i] = high & 0xff;
};

/** Reads a memory operand into its val. */
export function segmented_read(ctxt: x86_emulate_ctxt, op: operand): number {
  let rc = linearize(ctxt, op.seg, op.ea, op.bytes, false, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = read_emulated(ctxt, linear, op.bytes);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const at = ctxt.mem_read.pos - op.bytes;
  op.val = loadLittle(ctxt.mem_read.data, at, Math.min(op.bytes, 8));
  if (op.bytes === 16) op.high = loadLittle(ctxt.mem_read.data, at + 8, 8);
  return X86EMUL_CONTINUE;
}

/** Another read of the instruction beside its operands: a selector behind an offset. The value is in `value_read`. */
export let value_read = 0n;
export function read_at(ctxt: x86_emulate_ctxt, seg: number, ea: bigint, bytes: number): number {
  let rc = linearize(ctxt, seg, address_mask(ctxt, ea), bytes, false, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = read_emulated(ctxt, linear, bytes);
  if (rc === X86EMUL_CONTINUE) value_read = loadLittle(ctxt.mem_read.data, ctxt.mem_read.pos - bytes, bytes);
  return rc;
}

function image(data: Uint8Array, bytes: number, low: bigint, high: bigint): void {
  storeLittle(data, 0, Math.min(bytes, 8), low);
  if (bytes === 16) storeLittle(data, 8, 8, high);
}

export function segmented_write(ctxt: x86_emulate_ctxt, op: operand): number {
  const rc = linearize(ctxt, op.seg, op.ea, op.bytes, true, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  image(ctxt.data, op.bytes, op.val, op.high);
  return ctxt.ops.write_emulated(ctxt, linear, ctxt.data, op.bytes);
}

function segmented_cmpxchg(ctxt: x86_emulate_ctxt, op: operand): number {
  let rc = linearize(ctxt, op.seg, op.ea, op.bytes, true, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  image(ctxt.old, op.bytes, op.orig_val, op.orig_high);
  image(ctxt.data, op.bytes, op.val, op.high);
  rc = ctxt.ops.cmpxchg_emulated(ctxt, linear, ctxt.old, ctxt.data, op.bytes);
  return rc === X86EMUL_CMPXCHG_FAILED ? X86EMUL_RETRY_INSTR : rc;
}

/** Stores an operand where it belongs. */
export function writeback(ctxt: x86_emulate_ctxt, op: operand): number {
  switch (op.type) {
    case OP_REG: write_register_operand(ctxt, op); return X86EMUL_CONTINUE;
    case OP_MEM: return ctxt.lock_prefix ? segmented_cmpxchg(ctxt, op) : segmented_write(ctxt, op);
    case OP_MEM_STR: return write_string(ctxt, op);
    case OP_MM: ctxt.ops.write_mm(op.reg, op.val); return X86EMUL_CONTINUE;
    case OP_XMM: ctxt.ops.write_xmm(op.reg, op.val, op.high); return X86EMUL_CONTINUE;
    default: return X86EMUL_CONTINUE;
  }
}

/** REP INS: all elements user space gave at once; they do not cross a page. */
function write_string(ctxt: x86_emulate_ctxt, op: operand): number {
  const size = op.bytes * op.count;
  const rc = linearize(ctxt, op.seg, op.ea, size, true, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const from = ctxt.io_read.end - size;
  return ctxt.ops.write_emulated(ctxt, linear, ctxt.io_read.data.subarray(from, from + size), size);
}

const slot: operand = { type: OP_MEM, bytes: 0, reg: 0, highByte: false, seg: VCPU_SREG_SS, ea: 0n, val: 0n, high: 0n, orig_val: 0n, orig_high: 0n, count: 1 };

export function push(ctxt: x86_emulate_ctxt, value: bigint, bytes = ctxt.op_bytes): number {
  rsp_increment(ctxt, -bytes);
  slot.ea = reg_read(ctxt, VCPU_REGS_RSP) & mask(stack_bytes(ctxt));
  slot.bytes = bytes;
  slot.val = value & mask(bytes);
  return segmented_write(ctxt, slot);
}

/** The popped value is in `popped`. */
export let popped = 0n;
export function pop(ctxt: x86_emulate_ctxt, bytes = ctxt.op_bytes): number {
  slot.ea = reg_read(ctxt, VCPU_REGS_RSP) & mask(stack_bytes(ctxt));
  slot.bytes = bytes;
  const rc = segmented_read(ctxt, slot);
  if (rc !== X86EMUL_CONTINUE) return rc;
  popped = slot.val;
  rsp_increment(ctxt, bytes);
  return X86EMUL_CONTINUE;
}

/** Sets the next instruction's address; #GP when it lies outside the code segment or is not canonical. */
export function assign_eip(ctxt: x86_emulate_ctxt, target: bigint): number {
  const value = target & mask(ctxt.mode === X86EMUL_MODE_PROT64 ? 8 : ctxt.op_bytes);
  const rc = linearize(ctxt, VCPU_SREG_CS, value, 1, false, true);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt._eip = value;
  return X86EMUL_CONTINUE;
}

export { fetch_register_operand };
