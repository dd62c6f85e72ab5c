/**
 * What each instruction does once its operands are read: it computes dst, and src where that is written too.
 *
 * Linux: arch/x86/kvm/emulate.c (the em_ functions)
 */
import { KVM_X86_SHADOW_INT_STI } from '../../abi/kvm/index.ts';
import { type Alu, add, condition, dec, doubleShift, inc, logic, shift, sub } from './arithmetic.ts';
import { assign_eip, emulate_de, emulate_gp, emulate_ud, pop, popped, push } from './memory.ts';
import { address_mask, assign_register, mask, reg_read, reg_write, register_address_increment, rsp_increment, stack_bytes } from './registers.ts';
import {
  AC, CF, DF, IF, IOPL, NT, OF, OP_IMM, OP_MEM, OP_MEM_STR, OP_NONE, OP_REG, RF, TF, VCPU_REGS_RAX, VCPU_REGS_RBP, VCPU_REGS_RBX, VCPU_REGS_RCX, VCPU_REGS_RDI,
  VCPU_REGS_RDX, VCPU_REGS_RSP, VM, X86EMUL_CONTINUE, X86EMUL_IO_NEEDED, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86, X86EMUL_UNHANDLEABLE, ZF,
  type x86_emulate_ctxt,
} from './types.ts';

type Execute = (ctxt: x86_emulate_ctxt) => number;
const alu: Alu = { flags: 0 };

/** An operation of dst and src with flags, as the eight of opcodes 00..3F are. */
const binary = (compute: (a: bigint, b: bigint, bytes: number, flags: number) => bigint): Execute => (ctxt) => {
  alu.flags = ctxt.eflags;
  ctxt.dst.val = compute(ctxt.dst.val, ctxt.src.val & mask(ctxt.dst.bytes), ctxt.dst.bytes, ctxt.eflags);
  ctxt.eflags = alu.flags;
  return X86EMUL_CONTINUE;
};
const carryOf = (flags: number): bigint => (flags & CF ? 1n : 0n);

export const em_add = binary((a, b, n) => add(alu, a, b, n));
export const em_or = binary((a, b, n) => logic(alu, a | b, n));
export const em_adc = binary((a, b, n, flags) => add(alu, a, b, n, carryOf(flags)));
export const em_sbb = binary((a, b, n, flags) => sub(alu, a, b, n, carryOf(flags)));
export const em_and = binary((a, b, n) => logic(alu, a & b, n));
export const em_sub = binary((a, b, n) => sub(alu, a, b, n));
export const em_xor = binary((a, b, n) => logic(alu, a ^ b, n));
export const em_cmp = binary((a, b, n) => { sub(alu, a, b, n); return a; });
export const em_test = binary((a, b, n) => { logic(alu, a & b, n); return a; });
export const em_inc = binary((a, _, n) => inc(alu, a, n));
export const em_dec = binary((a, _, n) => dec(alu, a, n));
export const em_not: Execute = (ctxt) => { ctxt.dst.val = ~ctxt.dst.val & mask(ctxt.dst.bytes); return X86EMUL_CONTINUE; };
export const em_neg = binary((a, _, n) => sub(alu, 0n, a, n));

/** Group 2 by ModRM.reg. */
export const em_shift: Execute = (ctxt) => {
  alu.flags = ctxt.eflags;
  ctxt.dst.val = shift(alu, (ctxt.modrm >> 3) & 7, ctxt.dst.val, Number(ctxt.src.val & 0xffn), ctxt.dst.bytes);
  ctxt.eflags = alu.flags;
  return X86EMUL_CONTINUE;
};
const em_shld = (left: boolean): Execute => (ctxt) => {
  alu.flags = ctxt.eflags;
  ctxt.dst.val = doubleShift(alu, left, ctxt.dst.val, ctxt.src.val, Number(ctxt.src2.val & 0xffn), ctxt.dst.bytes);
  ctxt.eflags = alu.flags;
  return X86EMUL_CONTINUE;
};
export const em_shld_left = em_shld(true);
export const em_shrd = em_shld(false);

/** BT BTS BTR BTC: how the bit becomes. */
const bit = (change: (value: bigint, one: bigint) => bigint): Execute => (ctxt) => {
  const one = 1n << (ctxt.src.val & BigInt(ctxt.dst.bytes * 8 - 1));
  ctxt.eflags = (ctxt.eflags & ~CF) | (ctxt.dst.val & one ? CF : 0);
  ctxt.dst.val = change(ctxt.dst.val, one) & mask(ctxt.dst.bytes);
  return X86EMUL_CONTINUE;
};
export const em_bt = bit((v) => v);
export const em_bts = bit((v, one) => v | one);
export const em_btr = bit((v, one) => v & ~one);
export const em_btc = bit((v, one) => v ^ one);

const scan = (forward: boolean): Execute => (ctxt) => {
  if (ctxt.src.val === 0n) {
    ctxt.eflags |= ZF;
    ctxt.dst.type = OP_NONE;
    return X86EMUL_CONTINUE;
  }
  const digits = ctxt.src.val.toString(2);
  ctxt.eflags &= ~ZF;
  ctxt.dst.val = BigInt(forward ? digits.length - 1 - digits.lastIndexOf('1') : digits.length - 1);
  return X86EMUL_CONTINUE;
};
export const em_bsf = scan(true);
export const em_bsr = scan(false);

export const em_mov: Execute = (ctxt) => { ctxt.dst.val = ctxt.src.val; ctxt.dst.high = ctxt.src.high; return X86EMUL_CONTINUE; };
export const em_movsx: Execute = (ctxt) => {
  ctxt.dst.val = BigInt.asIntN(ctxt.src.bytes * 8, ctxt.src.val) & mask(ctxt.dst.bytes);
  return X86EMUL_CONTINUE;
};
export const em_movbe: Execute = (ctxt) => {
  let value = ctxt.src.val;
  let turned = 0n;
  for (let i = 0; i < ctxt.op_bytes; i++, value >>= 8n) turned = (turned << 8n) | (value & 0xffn);
  ctxt.dst.val = turned;
  return X86EMUL_CONTINUE;
};
/** Registers alone are BSWAP's. */
export const em_movbe_mem: Execute = (ctxt) => (ctxt.memop.type === OP_MEM ? em_movbe(ctxt) : emulate_ud(ctxt));
export const em_bswap: Execute = (ctxt) => {
  ctxt.src.val = ctxt.dst.val;
  return em_movbe(ctxt);
};
export const em_lea: Execute = (ctxt) => { ctxt.dst.val = ctxt.src.ea & mask(ctxt.dst.bytes); return X86EMUL_CONTINUE; };
export const em_mov_from_sreg: Execute = (ctxt) => {
  if (ctxt.modrm_reg > 5) return emulate_ud(ctxt);
  ctxt.dst.val = BigInt(ctxt.ops.get_segment(ctxt.modrm_reg).selector);
  if (ctxt.dst.type === OP_MEM) ctxt.dst.bytes = 2;
  return X86EMUL_CONTINUE;
};
export const em_xchg: Execute = (ctxt) => {
  ctxt.src.val = ctxt.dst.val;
  ctxt.dst.val = ctxt.src.orig_val;
  ctxt.lock_prefix = true;
  return X86EMUL_CONTINUE;
};
export const em_xadd: Execute = (ctxt) => {
  const seen = ctxt.dst.val;
  em_add(ctxt);
  ctxt.src.val = seen;
  return X86EMUL_CONTINUE;
};
export const em_cmpxchg: Execute = (ctxt) => {
  const { dst, src } = ctxt;
  alu.flags = ctxt.eflags;
  sub(alu, reg_read(ctxt, VCPU_REGS_RAX) & mask(dst.bytes), dst.val, dst.bytes);
  ctxt.eflags = alu.flags;
  if (alu.flags & ZF) {
    dst.val = src.val;
    src.type = OP_NONE;
    return X86EMUL_CONTINUE;
  }
  // A miss still writes: the value seen goes back to memory, and to the accumulator.
  src.type = OP_REG;
  src.reg = VCPU_REGS_RAX;
  src.highByte = false;
  src.val = dst.val;
  return X86EMUL_CONTINUE;
};
/** CMPXCHG8B, CMPXCHG16B: dst is twice the operand size, kept as low and high halves. */
export const em_cmpxchg8b: Execute = (ctxt) => {
  if (ctxt.dst.type !== OP_MEM) return emulate_ud(ctxt);
  const half = ctxt.dst.bytes / 2;
  const m = mask(half);
  const wide = half === 8;
  const low = wide ? ctxt.dst.val : ctxt.dst.val & m;
  const high = wide ? ctxt.dst.high : ctxt.dst.val >> 32n;
  if (low !== (reg_read(ctxt, VCPU_REGS_RAX) & m) || high !== (reg_read(ctxt, VCPU_REGS_RDX) & m)) {
    assign_register(ctxt, VCPU_REGS_RAX, low, half);
    assign_register(ctxt, VCPU_REGS_RDX, high, half);
    ctxt.eflags &= ~ZF;
    return X86EMUL_CONTINUE;
  }
  const newLow = reg_read(ctxt, VCPU_REGS_RBX) & m;
  const newHigh = reg_read(ctxt, VCPU_REGS_RCX) & m;
  ctxt.dst.val = wide ? newLow : newLow | (newHigh << 32n);
  ctxt.dst.high = wide ? newHigh : 0n;
  ctxt.eflags |= ZF;
  return X86EMUL_CONTINUE;
};

const product = (ctxt: x86_emulate_ctxt, signed: boolean): number => {
  const { bytes } = ctxt.src;
  const bits = bytes * 8;
  const take = (v: bigint) => (signed ? BigInt.asIntN(bits, v) : v & mask(bytes));
  const result = BigInt.asUintN(bits * 2, take(reg_read(ctxt, VCPU_REGS_RAX)) * take(ctxt.src.val));
  const low = result & mask(bytes);
  const high = result >> BigInt(bits);
  if (bytes === 1) assign_register(ctxt, VCPU_REGS_RAX, result, 2);
  else {
    assign_register(ctxt, VCPU_REGS_RAX, low, bytes);
    assign_register(ctxt, VCPU_REGS_RDX, high, bytes);
  }
  const fits = signed ? BigInt.asUintN(bits * 2, BigInt.asIntN(bits, low)) === result : high === 0n;
  ctxt.eflags = (ctxt.eflags & ~(CF | OF)) | (fits ? 0 : CF | OF);
  return X86EMUL_CONTINUE;
};
export const em_mul: Execute = (ctxt) => product(ctxt, false);
export const em_imul_acc: Execute = (ctxt) => product(ctxt, true);
/** IMUL of two and three operands: src by src2. */
const em_imul = (ctxt: x86_emulate_ctxt, a: bigint, b: bigint): number => {
  const bits = ctxt.dst.bytes * 8;
  const exact = BigInt.asIntN(bits, a) * BigInt.asIntN(bits, b);
  ctxt.dst.val = BigInt.asUintN(bits, exact);
  ctxt.eflags = (ctxt.eflags & ~(CF | OF)) | (BigInt.asIntN(bits, exact) === exact ? 0 : CF | OF);
  return X86EMUL_CONTINUE;
};
export const em_imul_reg: Execute = (ctxt) => em_imul(ctxt, ctxt.dst.val, ctxt.src.val);
export const em_imul_3op: Execute = (ctxt) => em_imul(ctxt, ctxt.src.val, ctxt.src2.val);
const quotient = (ctxt: x86_emulate_ctxt, signed: boolean): number => {
  const { bytes } = ctxt.src;
  const bits = bytes * 8;
  const raw = bytes === 1 ? reg_read(ctxt, VCPU_REGS_RAX) & 0xffffn
    : ((reg_read(ctxt, VCPU_REGS_RDX) & mask(bytes)) << BigInt(bits)) | (reg_read(ctxt, VCPU_REGS_RAX) & mask(bytes));
  const dividend = signed ? BigInt.asIntN(bits * 2, raw) : raw;
  const divisor = signed ? BigInt.asIntN(bits, ctxt.src.val) : ctxt.src.val & mask(bytes);
  if (divisor === 0n) return emulate_de(ctxt);
  const q = dividend / divisor;
  if (signed ? BigInt.asIntN(bits, q) !== q : q > mask(bytes)) return emulate_de(ctxt);
  const r = dividend % divisor;
  if (bytes === 1) assign_register(ctxt, VCPU_REGS_RAX, (q & 0xffn) | ((r & 0xffn) << 8n), 2);
  else {
    assign_register(ctxt, VCPU_REGS_RAX, q & mask(bytes), bytes);
    assign_register(ctxt, VCPU_REGS_RDX, r & mask(bytes), bytes);
  }
  return X86EMUL_CONTINUE;
};
export const em_div: Execute = (ctxt) => quotient(ctxt, false);
export const em_idiv: Execute = (ctxt) => quotient(ctxt, true);

// ---------------------------------------------------------------- stack and branches

export const em_push: Execute = (ctxt) => { ctxt.dst.type = OP_NONE; return push(ctxt, ctxt.src.val); };
/** Of a 32-bit slot only the lower half is written. */
export const em_push_sreg = (seg: number): Execute => (ctxt) => {
  if (ctxt.op_bytes === 4) {
    rsp_increment(ctxt, -2);
    ctxt.op_bytes = 2;
  }
  return push(ctxt, BigInt(ctxt.ops.get_segment(seg).selector));
};
export const em_pop: Execute = (ctxt) => {
  const rc = pop(ctxt);
  if (rc === X86EMUL_CONTINUE) ctxt.dst.val = popped;
  return rc;
};
const VISIBLE_FLAGS = 0x3f7fd7;
export const em_pushf: Execute = (ctxt) => push(ctxt, BigInt(ctxt.eflags & ~(VM | RF) & VISIBLE_FLAGS));
export const em_popf: Execute = (ctxt) => {
  const iopl = (ctxt.eflags & IOPL) >> 12;
  const cpl = ctxt.ops.cpl();
  let change = 0x8d5 | TF | DF | NT | AC | 0x200000;
  if (ctxt.mode === X86EMUL_MODE_REAL) change |= IOPL | IF;
  else if (ctxt.mode === X86EMUL_MODE_VM86) {
    if (iopl < 3) return emulate_gp(ctxt, 0);
    change |= IF;
  } else {
    if (cpl === 0) change |= IOPL;
    if (cpl <= iopl) change |= IF;
  }
  const rc = pop(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  if (ctxt.op_bytes === 2) change &= 0xffff;
  ctxt.eflags = (ctxt.eflags & ~change) | (Number(popped & 0xffff_ffffn) & change);
  return X86EMUL_CONTINUE;
};
export const em_pusha: Execute = (ctxt) => {
  const sp = reg_read(ctxt, VCPU_REGS_RSP);
  for (let reg = 0; reg < 8; reg++) {
    const rc = push(ctxt, reg === VCPU_REGS_RSP ? sp : reg_read(ctxt, reg));
    if (rc !== X86EMUL_CONTINUE) return rc;
  }
  return X86EMUL_CONTINUE;
};
export const em_popa: Execute = (ctxt) => {
  for (let reg = 7; reg >= 0; reg--) {
    const rc = pop(ctxt);
    if (rc !== X86EMUL_CONTINUE) return rc;
    if (reg !== VCPU_REGS_RSP) assign_register(ctxt, reg, popped, ctxt.op_bytes);
  }
  return X86EMUL_CONTINUE;
};
export const em_leave: Execute = (ctxt) => {
  const m = mask(stack_bytes(ctxt));
  const sp = reg_read(ctxt, VCPU_REGS_RSP);
  reg_write(ctxt, VCPU_REGS_RSP, (sp & ~m) | (reg_read(ctxt, VCPU_REGS_RBP) & m));
  const rc = pop(ctxt);
  if (rc === X86EMUL_CONTINUE) assign_register(ctxt, VCPU_REGS_RBP, popped, ctxt.op_bytes);
  return rc;
};

const jump_rel = (ctxt: x86_emulate_ctxt): number => assign_eip(ctxt, ctxt._eip + BigInt.asIntN(64, ctxt.src.val));
export const em_jmp_rel: Execute = jump_rel;
export const em_jcc: Execute = (ctxt) => (condition(ctxt.b, ctxt.eflags) ? jump_rel(ctxt) : X86EMUL_CONTINUE);
export const em_call_rel: Execute = (ctxt) => {
  const back = ctxt._eip;
  const rc = jump_rel(ctxt);
  return rc === X86EMUL_CONTINUE ? push(ctxt, back) : rc;
};
export const em_jmp_abs: Execute = (ctxt) => assign_eip(ctxt, ctxt.src.val);
export const em_call_near_abs: Execute = (ctxt) => {
  const back = ctxt._eip;
  const rc = assign_eip(ctxt, ctxt.src.val);
  return rc === X86EMUL_CONTINUE ? push(ctxt, back) : rc;
};
export const em_ret: Execute = (ctxt) => {
  const release = ctxt.src.type === OP_IMM ? ctxt.src.val : 0n;
  let rc = pop(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = assign_eip(ctxt, popped);
  if (rc === X86EMUL_CONTINUE && release !== 0n) reg_write(ctxt, VCPU_REGS_RSP, BigInt.asUintN(64, reg_read(ctxt, VCPU_REGS_RSP) + release));
  return rc;
};
export const em_loop: Execute = (ctxt) => {
  register_address_increment(ctxt, VCPU_REGS_RCX, -1);
  if (address_mask(ctxt, reg_read(ctxt, VCPU_REGS_RCX)) === 0n) return X86EMUL_CONTINUE;
  if (ctxt.b === 0xe2 || ((ctxt.eflags & ZF) !== 0) === (ctxt.b === 0xe1)) return jump_rel(ctxt);
  return X86EMUL_CONTINUE;
};
export const em_jcxz: Execute = (ctxt) => (address_mask(ctxt, reg_read(ctxt, VCPU_REGS_RCX)) === 0n ? jump_rel(ctxt) : X86EMUL_CONTINUE);

// ---------------------------------------------------------------- conditions, conversions, flags

export const em_setcc: Execute = (ctxt) => { ctxt.dst.val = condition(ctxt.b, ctxt.eflags) ? 1n : 0n; return X86EMUL_CONTINUE; };
export const em_cmov: Execute = (ctxt) => {
  if (condition(ctxt.b, ctxt.eflags)) ctxt.dst.val = ctxt.src.val;
  else if (ctxt.op_bytes !== 4) ctxt.dst.type = OP_NONE;
  return X86EMUL_CONTINUE;
};
export const em_cbw: Execute = (ctxt) => {
  const half = ctxt.op_bytes / 2;
  ctxt.dst.val = BigInt.asIntN(half * 8, ctxt.dst.val) & mask(ctxt.op_bytes);
  return X86EMUL_CONTINUE;
};
export const em_cwd: Execute = (ctxt) => {
  const negative = BigInt.asIntN(ctxt.op_bytes * 8, reg_read(ctxt, VCPU_REGS_RAX)) < 0n;
  assign_register(ctxt, VCPU_REGS_RDX, negative ? mask(ctxt.op_bytes) : 0n, ctxt.op_bytes);
  return X86EMUL_CONTINUE;
};
export const em_nop: Execute = () => X86EMUL_CONTINUE;
export const em_cmc: Execute = (ctxt) => { ctxt.eflags ^= CF; return X86EMUL_CONTINUE; };
export const em_clc: Execute = (ctxt) => { ctxt.eflags &= ~CF; return X86EMUL_CONTINUE; };
export const em_stc: Execute = (ctxt) => { ctxt.eflags |= CF; return X86EMUL_CONTINUE; };
export const em_cld: Execute = (ctxt) => { ctxt.eflags &= ~DF; return X86EMUL_CONTINUE; };
export const em_std: Execute = (ctxt) => { ctxt.eflags |= DF; return X86EMUL_CONTINUE; };
const may_touch_if = (ctxt: x86_emulate_ctxt): boolean => ctxt.mode === X86EMUL_MODE_REAL || ctxt.ops.cpl() <= (ctxt.eflags & IOPL) >> 12;
export const em_cli: Execute = (ctxt) => {
  if (!may_touch_if(ctxt)) return emulate_gp(ctxt, 0);
  ctxt.eflags &= ~IF;
  return X86EMUL_CONTINUE;
};
export const em_sti: Execute = (ctxt) => {
  if (!may_touch_if(ctxt)) return emulate_gp(ctxt, 0);
  ctxt.interruptibility = KVM_X86_SHADOW_INT_STI;
  ctxt.eflags |= IF;
  return X86EMUL_CONTINUE;
};
export const em_lahf: Execute = (ctxt) => {
  reg_write(ctxt, VCPU_REGS_RAX, (reg_read(ctxt, VCPU_REGS_RAX) & ~0xff00n) | BigInt(((ctxt.eflags & 0xff) | 2) << 8));
  return X86EMUL_CONTINUE;
};
export const em_sahf: Execute = (ctxt) => {
  ctxt.eflags = (ctxt.eflags & ~0xd5) | (Number((reg_read(ctxt, VCPU_REGS_RAX) >> 8n) & 0xd5n));
  return X86EMUL_CONTINUE;
};

// ---------------------------------------------------------------- ports

/** IN and INS. REP INS asks for at most as many elements as bytes are left in the page, up to the cache; going down they are stored one by one. */
export const em_in: Execute = (ctxt) => {
  const { dst, io_read: rc } = ctxt;
  const size = dst.bytes = Math.min(dst.bytes, 4);
  const port = Number(ctxt.src.val & 0xffffn);
  if (!ctxt.ops.io_allowed(ctxt, port, size)) return emulate_gp(ctxt, 0);
  const down = (ctxt.eflags & DF) !== 0;
  if (rc.pos === rc.end) {
    let n = 1;
    if (ctxt.rep_prefix !== 0) {
      const offset = Number(reg_read(ctxt, VCPU_REGS_RDI) & 0xfffn);
      const inPage = down ? offset : 4096 - offset;
      const left = address_mask(ctxt, reg_read(ctxt, VCPU_REGS_RCX));
      n = Math.max(1, Math.min(inPage, rc.data.length / size, left > 4096n ? 4096 : Number(left)));
    }
    rc.pos = rc.end = 0;
    if (!ctxt.ops.pio_in_emulated(ctxt, size, port, rc.data, n)) return X86EMUL_IO_NEEDED;
    rc.end = n * size;
  }
  if (ctxt.rep_prefix !== 0 && dst.type === OP_MEM && !down) {
    dst.type = OP_MEM_STR;
    dst.count = (rc.end - rc.pos) / size;
    rc.pos = rc.end;
  } else {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(rc.data[rc.pos + i]!);
    dst.val = value;
    rc.pos += size;
  }
  return X86EMUL_CONTINUE;
};
export const em_out: Execute = (ctxt) => {
  const size = ctxt.src.bytes = Math.min(ctxt.src.bytes, 4);
  const port = Number(ctxt.dst.val & 0xffffn);
  ctxt.dst.type = OP_NONE;
  if (!ctxt.ops.io_allowed(ctxt, port, size)) return emulate_gp(ctxt, 0);
  let value = Number(ctxt.src.val & 0xffff_ffffn);
  for (let i = 0; i < size; i++, value = Math.floor(value / 256)) ctxt.data[i] = value & 0xff;
  // The answer does not matter: an element that user space must see leaves after this iteration anyway.
  ctxt.ops.pio_out_emulated(ctxt, size, port, ctxt.data, 1);
  return X86EMUL_CONTINUE;
};

/** x87 control and status words, the two forms that store to memory. */
export const em_fnstcw: Execute = (ctxt) => { ctxt.dst.bytes = 2; ctxt.dst.val = BigInt(ctxt.ops.fpu_control().fcw); return X86EMUL_CONTINUE; };
export const em_fnstsw: Execute = (ctxt) => { ctxt.dst.bytes = 2; ctxt.dst.val = BigInt(ctxt.ops.fpu_control().fsw); return X86EMUL_CONTINUE; };

/** VMCALL or VMMCALL of the other vendor: the guest's instruction is replaced by ours and runs again. */
export const em_hypercall: Execute = (ctxt) => {
  const rc = ctxt.ops.fix_hypercall(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt._eip = ctxt.eip;
  ctxt.dst.type = OP_NONE;
  return X86EMUL_CONTINUE;
};
/** RSM: the whole state changes, the mode with it. */
export const em_rsm: Execute = (ctxt) => {
  if (!ctxt.ops.is_smm()) return emulate_ud(ctxt);
  const rc = ctxt.ops.leave_smm(ctxt);
  if (rc !== -1) return rc;
  ctxt.ops.triple_fault();
  return X86EMUL_CONTINUE;
};
export const em_unhandled: Execute = () => X86EMUL_UNHANDLEABLE;
