/**
 * Decoding: prefixes, opcode, ModRM and SIB, immediates; then what each operand is.
 *
 * Linux: arch/x86/kvm/emulate.c (x86_decode_insn, decode_modrm)
 */
import { type entry, movbe_load, movbe_store, opcode_table, twobyte_table } from './opcode-table.ts';
import {
  Acc, BitOp, ByteOp, CL, DI, DX, EmulateOnUD, FarImm, Imm, Imm16, Imm64, ImmByte, ImmUByte, MOffs, Mem, Mem16, Mem32, Mem8, MemDouble, Mmx, ModRM, NaturalOp, NearBranch, No64, One, Op3264, OpReg, Reg, SI, Sse, Stack,
} from './opcode.ts';
import { emulate_gp, linear, linearize, max_size } from './memory.ts';
import { address_mask, fetch_register_operand, mask, reg_read } from './registers.ts';
import {
  EMULATION_FAILED, EMULATION_OK, OP_IMM, OP_MEM, OP_MM, OP_NONE, OP_REG, OP_XMM, VCPU_REGS_RAX, VCPU_REGS_RBP, VCPU_REGS_RCX, VCPU_REGS_RDI, VCPU_REGS_RDX, VCPU_REGS_RSI,
  VCPU_SREG_CS, VCPU_SREG_DS, VCPU_SREG_ES, VCPU_SREG_SS, X86EMUL_CONTINUE, X86EMUL_MODE_PROT16, X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86,
  X86EMUL_PROPAGATE_FAULT, X86EMUL_UNHANDLEABLE, type opcode, type operand, type x86_emulate_ctxt,
} from './types.ts';

/** Why the fetch failed; set when `next` returned -1. */
let trouble = X86EMUL_CONTINUE;

/** Brings `need` more bytes into ctxt.fetched: to the page's end or the fifteenth byte. */
function fetch_bytes(ctxt: x86_emulate_ctxt, need: number): number {
  const have = ctxt.fetch_end;
  let rc = linearize(ctxt, VCPU_SREG_CS, ctxt.eip + BigInt(have), 0, false, true);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const size = Math.min(15 - have, max_size, 4096 - Number(linear & 0xfffn));
  if (size < need) return emulate_gp(ctxt, 0);
  rc = ctxt.ops.fetch(ctxt, linear, size);
  if (rc === X86EMUL_CONTINUE) ctxt.fetch_end += size;
  return rc;
}

function next(ctxt: x86_emulate_ctxt, bytes = 1): number {
  const have = ctxt.fetch_end - ctxt.fetch_ptr;
  if (have < bytes) {
    trouble = fetch_bytes(ctxt, bytes - have);
    if (trouble !== X86EMUL_CONTINUE) return -1;
  }
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + ctxt.fetched[ctxt.fetch_ptr + i]!;
  ctxt.fetch_ptr += bytes;
  ctxt._eip = BigInt.asUintN(64, ctxt._eip + BigInt(bytes));
  return value;
}
/** A sign-extended immediate or displacement; look at `trouble` after. */
function signed(ctxt: x86_emulate_ctxt, bytes: number): bigint {
  const value = next(ctxt, bytes);
  return value < 0 ? 0n : BigInt.asIntN(bytes * 8, BigInt(value));
}

const prefixChoice = (ctxt: x86_emulate_ctxt): number => (ctxt.rep_prefix === 0xf2 ? 2 : ctxt.rep_prefix === 0xf3 ? 3 : ctxt.op_prefix ? 1 : 0);

/** Decodes the instruction at ctxt.eip. EMULATION_OK, or EMULATION_FAILED with have_exception telling whether to inject. */
export function x86_decode_insn(ctxt: x86_emulate_ctxt, trapUd: boolean): number {
  ctxt.fetch_ptr = ctxt.fetch_end = 0;
  ctxt._eip = ctxt.eip;
  ctxt.row = undefined;
  ctxt.twobyte = false;
  ctxt.rex_prefix = 0;
  ctxt.lock_prefix = false;
  ctxt.rep_prefix = 0;
  ctxt.op_prefix = false;
  ctxt.seg_override = -1;
  ctxt.rip_relative = false;
  ctxt.io_read.pos = ctxt.io_read.end = 0;
  ctxt.mem_read.end = 0;
  ctxt.src.type = ctxt.src2.type = ctxt.dst.type = ctxt.memop.type = OP_NONE;
  trouble = X86EMUL_CONTINUE;
  const rc = decode(ctxt, trapUd);
  if (rc === X86EMUL_PROPAGATE_FAULT) ctxt.have_exception = true;
  return rc === X86EMUL_CONTINUE ? EMULATION_OK : EMULATION_FAILED;
}

function decode(ctxt: x86_emulate_ctxt, trapUd: boolean): number {
  const { mode } = ctxt;
  let defOp = 4;
  let defAd = 4;
  if (mode === X86EMUL_MODE_REAL || mode === X86EMUL_MODE_VM86 || mode === X86EMUL_MODE_PROT16) defOp = defAd = 2;
  else if (mode === X86EMUL_MODE_PROT64) defAd = 8;
  ctxt.op_bytes = defOp;
  ctxt.ad_bytes = defAd;
  trouble = fetch_bytes(ctxt, 1);
  if (trouble !== X86EMUL_CONTINUE) return trouble;

  for (;;) {
    const b = next(ctxt);
    if (b < 0) return trouble;
    ctxt.b = b;
    let prefix = true;
    switch (b) {
      case 0x66: ctxt.op_prefix = true; ctxt.op_bytes = defOp ^ 6; break;
      case 0x67: ctxt.ad_bytes = mode === X86EMUL_MODE_PROT64 ? defAd ^ 12 : defAd ^ 6; break;
      case 0x26: ctxt.seg_override = VCPU_SREG_ES; break;
      case 0x2e: ctxt.seg_override = VCPU_SREG_CS; break;
      case 0x36: ctxt.seg_override = VCPU_SREG_SS; break;
      case 0x3e: ctxt.seg_override = VCPU_SREG_DS; break;
      case 0x64: ctxt.seg_override = 4; break;
      case 0x65: ctxt.seg_override = 5; break;
      case 0xf0: ctxt.lock_prefix = true; break;
      case 0xf2: case 0xf3: ctxt.rep_prefix = b; break;
      default:
        if (mode === X86EMUL_MODE_PROT64 && b >= 0x40 && b <= 0x4f) { ctxt.rex_prefix = b; continue; }
        prefix = false;
    }
    if (!prefix) break;
    ctxt.rex_prefix = 0;                       // REX counts only right before the opcode
  }
  if (ctxt.rex_prefix & 8) ctxt.op_bytes = 8;

  let at: entry = opcode_table[ctxt.b];
  if (ctxt.b === 0x0f) {
    ctxt.twobyte = true;
    const b = next(ctxt);
    if (b < 0) return trouble;
    ctxt.b = b;
    at = twobyte_table[b];
    if (b === 0x38) {
      const third = next(ctxt);
      if (third < 0) return trouble;
      ctxt.b = third;
      at = ctxt.rep_prefix === 0xf2 ? undefined : third === 0xf0 ? movbe_load : third === 0xf1 ? movbe_store : undefined;
    }
  }
  if (at === undefined) return X86EMUL_UNHANDLEABLE;
  let modrmRead = false;
  if ('pick' in at) {
    if (at.pick === 'mode') at = at.rows[mode === X86EMUL_MODE_PROT64 ? 1 : 0];
    else if (at.pick === 'prefix') at = at.rows[prefixChoice(ctxt)];
    else {
      ctxt.modrm = next(ctxt);
      if (ctxt.modrm < 0) return trouble;
      modrmRead = true;
      // Group 7 and the like tell registers from memory, and then by the whole byte.
      at = at.pick === 'group7' && ctxt.modrm >= 0xc0 ? at.registers[ctxt.modrm - 0xc0] ?? at.rows[(ctxt.modrm >> 3) & 7] : at.rows[(ctxt.modrm >> 3) & 7];
    }
    if (at === undefined) return X86EMUL_UNHANDLEABLE;
  }
  const row = at as opcode;
  ctxt.row = row;
  const { flags } = row;
  if (flags & ModRM && !modrmRead) {
    ctxt.modrm = next(ctxt);
    if (ctxt.modrm < 0) return trouble;
  }
  if (trapUd && !(flags & EmulateOnUD)) return X86EMUL_UNHANDLEABLE;
  if (mode === X86EMUL_MODE_PROT64) {
    if (flags & No64) return X86EMUL_UNHANDLEABLE;
    if (ctxt.op_bytes === 4 && flags & Stack) ctxt.op_bytes = 8;
    else if (flags & NearBranch) ctxt.op_bytes = 8;
  }
  if (flags & Op3264) ctxt.op_bytes = ctxt.rex_prefix & 8 && mode === X86EMUL_MODE_PROT64 ? 8 : 4;
  if (flags & NaturalOp) ctxt.op_bytes = mode === X86EMUL_MODE_PROT64 ? 8 : 4;
  if (flags & Sse) ctxt.op_bytes = 16;
  if (flags & Mmx) ctxt.op_bytes = 8;
  if (flags & ModRM) {
    const rc = decode_modrm(ctxt);
    if (rc !== X86EMUL_CONTINUE) return rc;
  }
  let rc = decode_operand(ctxt, ctxt.src, row.src);
  if (rc === X86EMUL_CONTINUE) rc = decode_operand(ctxt, ctxt.src2, row.src2);
  if (rc === X86EMUL_CONTINUE) rc = decode_operand(ctxt, ctxt.dst, row.dst);
  if (rc !== X86EMUL_CONTINUE) return rc;
  if (flags & BitOp && ctxt.dst.type === OP_MEM && ctxt.src.type === OP_REG) {
    const words = BigInt.asIntN(ctxt.src.bytes * 8, ctxt.src.val) & ~BigInt(ctxt.dst.bytes * 8 - 1);
    ctxt.dst.ea = address_mask(ctxt, ctxt.dst.ea + (words >> 3n));
  }
  if (ctxt.rip_relative && ctxt.memop.type === OP_MEM) {
    for (const operand of [ctxt.src, ctxt.src2, ctxt.dst]) if (operand.type === OP_MEM && operand.ea === ctxt.memop.ea) operand.ea = address_mask(ctxt, operand.ea + ctxt._eip);
  }
  return X86EMUL_CONTINUE;
}

const gpr = (ctxt: x86_emulate_ctxt, reg: number): bigint => reg_read(ctxt, reg);

/** Registers and base + index + displacement of 16-bit addressing by ModRM.rm. */
const PAIRS = [[3, 6], [3, 7], [5, 6], [5, 7], [6, -1], [7, -1], [5, -1], [3, -1]] as const;

function decode_modrm(ctxt: x86_emulate_ctxt): number {
  const { modrm, rex_prefix: rex, memop } = ctxt;
  ctxt.modrm_mod = ctxt.row!.flags & NaturalOp ? 3 : modrm >> 6;
  ctxt.modrm_reg = ((modrm >> 3) & 7) | (rex & 4 ? 8 : 0);
  ctxt.modrm_rm = (modrm & 7) | (rex & 1 ? 8 : 0);
  ctxt.modrm_seg = VCPU_SREG_DS;
  const { flags } = ctxt.row!;
  if (ctxt.modrm_mod === 3) {
    memop.bytes = flags & ByteOp ? 1 : ctxt.op_bytes;
    if (flags & Sse) {
      memop.type = OP_XMM;
      memop.reg = ctxt.modrm_rm;
      [memop.val, memop.high] = ctxt.ops.read_xmm(memop.reg);
      return X86EMUL_CONTINUE;
    }
    if (flags & Mmx) {
      setMmx(ctxt, memop, ctxt.modrm_rm);
      return X86EMUL_CONTINUE;
    }
    setRegister(ctxt, memop, ctxt.modrm_rm, memop.bytes);
    return X86EMUL_CONTINUE;
  }
  memop.type = OP_MEM;
  const { modrm_mod: mod } = ctxt;
  let ea = 0n;
  if (ctxt.ad_bytes === 2) {
    const [base, index] = PAIRS[modrm & 7]!;
    const direct = mod === 0 && (modrm & 7) === 6;
    if (!direct) {
      ea = gpr(ctxt, base) + (index < 0 ? 0n : gpr(ctxt, index));
      if (base === VCPU_REGS_RBP) ctxt.modrm_seg = VCPU_SREG_SS;
    }
    if (direct || mod === 2) ea += signed(ctxt, 2);
    else if (mod === 1) ea += signed(ctxt, 1);
    memop.ea = ea & 0xffffn;
  } else {
    if ((modrm & 7) === 4) {
      const sib = next(ctxt);
      if (sib < 0) return trouble;
      const index = ((sib >> 3) & 7) | (rex & 2 ? 8 : 0);
      const base = (sib & 7) | (rex & 1 ? 8 : 0);
      if ((base & 7) === 5 && mod === 0) ea += signed(ctxt, 4);
      else {
        ea += gpr(ctxt, base);
        if (base === 4 || base === 5) ctxt.modrm_seg = VCPU_SREG_SS;
        // POP to memory addresses with RSP as it is after the pop.
        if (base === 4 && ctxt.row!.name === 'pop') ea += BigInt(ctxt.op_bytes);
      }
      if (index !== 4) ea += gpr(ctxt, index) << BigInt(sib >> 6);
    } else if ((modrm & 7) === 5 && mod === 0) {
      ea += signed(ctxt, 4);
      if (ctxt.mode === X86EMUL_MODE_PROT64) ctxt.rip_relative = true;
    } else {
      ea += gpr(ctxt, ctxt.modrm_rm);
      if (ctxt.modrm_rm === 5) ctxt.modrm_seg = VCPU_SREG_SS;
    }
    if (mod === 1) ea += signed(ctxt, 1);
    else if (mod === 2) ea += signed(ctxt, 4);
    memop.ea = address_mask(ctxt, ea);
  }
  if (ctxt.seg_override >= 0) ctxt.modrm_seg = ctxt.seg_override;
  memop.seg = ctxt.modrm_seg;
  return trouble;
}

/** A general register operand; 4..7 as bytes without REX are AH CH DH BH. */
function setRegister(ctxt: x86_emulate_ctxt, operand: operand, reg: number, bytes: number): void {
  operand.type = OP_REG;
  operand.bytes = bytes;
  operand.highByte = bytes === 1 && ctxt.rex_prefix === 0 && reg >= 4 && reg < 8;
  operand.reg = operand.highByte ? reg - 4 : reg;
  fetch_register_operand(ctxt, operand);
}

function setImmediateOperand(operand: operand, value: bigint, bytes: number): number {
  operand.type = OP_IMM;
  operand.bytes = bytes;
  operand.val = operand.orig_val = BigInt.asUintN(64, value);
  return trouble;
}

function setMemory(operand: operand, seg: number, ea: bigint, bytes: number): number {
  operand.type = OP_MEM;
  operand.bytes = bytes;
  operand.seg = seg;
  operand.ea = ea;
  operand.count = 1;
  return X86EMUL_CONTINUE;
}

/** ModRM.rm with a size of its own. */
function setMemop(ctxt: x86_emulate_ctxt, operand: operand, bytes: number): number {
  const { memop } = ctxt;
  if (memop.type === OP_MEM) return setMemory(operand, memop.seg, memop.ea, bytes);
  if (memop.type === OP_XMM) {
    operand.type = OP_XMM;
    operand.bytes = 16;
    operand.reg = memop.reg;
    operand.val = memop.val;
    operand.high = memop.high;
  } else if (memop.type === OP_MM) setMmx(ctxt, operand, memop.reg);
  else setRegister(ctxt, operand, ctxt.modrm_rm, bytes);
  return X86EMUL_CONTINUE;
}

/** REX does not reach MMX registers. */
function setMmx(ctxt: x86_emulate_ctxt, operand: operand, reg: number): void {
  operand.type = OP_MM;
  operand.bytes = 8;
  operand.reg = reg & 7;
  operand.val = ctxt.ops.x87_pending() ? 0n : ctxt.ops.read_mm(operand.reg);
}

function decode_operand(ctxt: x86_emulate_ctxt, operand: operand, kind: number): number {
  const { flags } = ctxt.row!;
  const bytes = flags & ByteOp ? 1 : ctxt.op_bytes;
  switch (kind) {
    case Reg:
      if (flags & Sse) {
        operand.type = OP_XMM;
        operand.bytes = 16;
        operand.reg = ctxt.modrm_reg;
        [operand.val, operand.high] = ctxt.ops.read_xmm(operand.reg);
      } else if (flags & Mmx) setMmx(ctxt, operand, ctxt.modrm_reg);
      else setRegister(ctxt, operand, ctxt.modrm_reg, bytes);
      return X86EMUL_CONTINUE;
    case OpReg: setRegister(ctxt, operand, (ctxt.b & 7) | (ctxt.rex_prefix & 1 ? 8 : 0), bytes); return X86EMUL_CONTINUE;
    case Mem: return setMemop(ctxt, operand, bytes);
    case Mem8: return setMemop(ctxt, operand, 1);
    case Mem16: return setMemop(ctxt, operand, 2);
    case Mem32: return setMemop(ctxt, operand, 4);
    case MemDouble: return setMemop(ctxt, operand, ctxt.op_bytes * 2);
    case Acc:
      operand.type = OP_REG;
      operand.bytes = bytes;
      operand.reg = VCPU_REGS_RAX;
      operand.highByte = false;
      fetch_register_operand(ctxt, operand);
      return X86EMUL_CONTINUE;
    case DI: return setMemory(operand, VCPU_SREG_ES, address_mask(ctxt, gpr(ctxt, VCPU_REGS_RDI)), bytes);
    case SI: return setMemory(operand, ctxt.seg_override >= 0 ? ctxt.seg_override : VCPU_SREG_DS, address_mask(ctxt, gpr(ctxt, VCPU_REGS_RSI)), bytes);
    case MOffs: {
      const low = next(ctxt, Math.min(ctxt.ad_bytes, 4));
      if (low < 0) return trouble;
      const high = ctxt.ad_bytes === 8 ? next(ctxt, 4) : 0;
      if (high < 0) return trouble;
      return setMemory(operand, ctxt.seg_override >= 0 ? ctxt.seg_override : VCPU_SREG_DS, (BigInt(high) << 32n) | BigInt(low), bytes);
    }
    case Imm: return setImmediateOperand(operand, signed(ctxt, Math.min(bytes, 4)), bytes);
    case ImmByte: return setImmediateOperand(operand, signed(ctxt, 1), bytes);
    case ImmUByte: return setImmediateOperand(operand, BigInt(Math.max(next(ctxt), 0)), 1);
    case Imm16: return setImmediateOperand(operand, BigInt(Math.max(next(ctxt, 2), 0)), 2);
    case Imm64: {
      if (bytes < 8) return setImmediateOperand(operand, signed(ctxt, bytes) & mask(bytes), bytes);
      const low = next(ctxt, 4);
      const high = low < 0 ? -1 : next(ctxt, 4);
      return high < 0 ? trouble : setImmediateOperand(operand, (BigInt(high) << 32n) | BigInt(low), 8);
    }
    case FarImm: {
      const offset = next(ctxt, bytes);
      const selector = offset < 0 ? -1 : next(ctxt, 2);
      operand.high = BigInt(Math.max(selector, 0));
      return setImmediateOperand(operand, BigInt(Math.max(offset, 0)), bytes);
    }
    case One: return setImmediateOperand(operand, 1n, 1);
    case CL: return setImmediateOperand(operand, gpr(ctxt, VCPU_REGS_RCX) & 0xffn, 1);
    case DX: return setImmediateOperand(operand, gpr(ctxt, VCPU_REGS_RDX) & 0xffffn, 2);
    default: return X86EMUL_CONTINUE;
  }
}

