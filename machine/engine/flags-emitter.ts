/**
 * Emits what arithmetic does to the flags and how they are tested, in the form of engine-state.ts. SDM Vol. 1 app. A.
 *
 * The trick: for c = a + b (or a - b, with or without carry in) computed in more bits than the operands have,
 * a ^ b ^ c is the vector of carries into each bit. Bit `size` of it is CF, its difference from bit size-1 is OF, bit 4
 * is AF. For 64 bits the carry out is not in c, so the vector of carries out of each bit is computed instead.
 */
import { ENGINE } from './layout.ts';
import type { Code, I32, I64, L32, L64 } from './wasm-emitter.ts';

/** Condition codes in the order of Jcc, SETcc and CMOVcc: O B Z BE S P L LE, odd ones negated. */
export type Condition = number;

export class FlagsEmitter {
  protected readonly c: Code;
  protected readonly cpu: L32;
  constructor(c: Code, cpu: L32) {
    this.c = c;
    this.cpu = cpu;
  }

  // ---- the three words
  res(): I64 { return this.c.load64(this.c.get(this.cpu), ENGINE.flags_res); }
  carry(): I64 { return this.c.load64(this.c.get(this.cpu), ENGINE.flags_carry); }
  adjust(): I32 { return this.c.load32(this.c.get(this.cpu), ENGINE.flags_adjust); }
  setRes(v: () => I64): void { this.c.store64(this.c.get(this.cpu), v(), ENGINE.flags_res); }
  setCarry(v: () => I64): void { this.c.store64(this.c.get(this.cpu), v(), ENGINE.flags_carry); }
  setAdjust(v: () => I32): void { this.c.store32(this.c.get(this.cpu), v(), ENGINE.flags_adjust); }

  // ---- arithmetic. Operands are zero-extended, results are not truncated.
  /** a + b (+ carry) = r. */
  add(size: number, a: L64, b: L64, r: L64): void {
    const { c } = this;
    if (size === 8) this.setCarry(() => c.or(c.and(c.get(a), c.get(b)), c.and(c.or(c.get(a), c.get(b)), c.xor(c.get(r), c.const(-1)))));
    this.rest(size, a, b, r);
  }
  /** a - b (- borrow) = r. */
  sub(size: number, a: L64, b: L64, r: L64): void {
    const { c } = this;
    if (size === 8) {
      // Borrow out: (~a & b) | ((~a | b) & r), where ~a & b is b & ~a and ~a | b is ~(a & ~b).
      this.setCarry(() => c.or(c.and(c.xor(c.get(a), c.const(-1)), c.get(b)), c.and(c.or(c.xor(c.get(a), c.const(-1)), c.get(b)), c.get(r))));
    }
    this.rest(size, a, b, r);
  }
  private rest(size: number, a: L64, b: L64, r: L64): void {
    const { c } = this;
    const carries = c.keep64(c.xor(c.xor(c.get(a), c.get(b)), c.get(r)));
    if (size < 8) this.setCarry(() => c.shl(c.get(carries), c.const(63 - 8 * size)));
    this.setAdjust(() => c.and32(c.wrap(c.get(carries)), c.const32(0x10)));
    this.result(size, r);
    c.release(carries);
  }
  /** ZF, SF and PF of a result; the caller has stored CF, OF and AF. */
  result(size: number, r: L64): void {
    this.setRes(() => this.c.extend(size, this.c.get(r)));
  }
  /** AND, OR, XOR, TEST: CF = OF = 0; AF, undefined, is 0 as silicon leaves it. */
  logic(size: number, r: L64): void {
    this.setCarry(() => this.c.const(0));
    this.setAdjust(() => this.c.const32(0));
    this.result(size, r);
  }
  /** CF and OF (each 0 or 1) as given, ZF, SF and PF of a result, AF = 0. What the two give depends on nothing but a, b, r and constants: it may be asked later. */
  defer(size: number, _a: L64, _b: L64, r: L64, cf: () => I64, of: () => I64): void {
    this.setCfOf(cf, of);
    this.setAdjust(() => this.c.const32(0));
    this.result(size, r);
  }
  /** CF and OF (each 0 or 1), all others stay; by r and constants alone. */
  deferCfOf(_r: L64, cf: () => I64, of: () => I64): void { this.setCfOf(cf, of); }
  /** False when nobody will look at what the instruction sets. */
  get wanted(): boolean { return true; }

  // ---- single flags
  /** CF as 0 or 1. */
  cf(): I64 { return this.c.shru(this.carry(), this.c.const(63)); }
  /** CF and OF, each 0 or 1; the other four stay. */
  setCfOf(cf: () => I64, of: () => I64): void {
    const { c } = this;
    if (cf === of) {
      this.setCarry(() => c.shl(cf(), c.const(63)));
      return;
    }
    const f = c.keep64(cf());
    this.setCarry(() => c.or(c.shl(c.get(f), c.const(63)), c.shl(c.xor(c.get(f), of()), c.const(62))));
    c.release(f);
  }
  /** CF, 0 or 1; all others stay: bit 62, which is relative to CF, moves with it. */
  setCf(cf: () => I64): void {
    const { c } = this;
    const delta = c.keep64(c.xor(this.cf(), cf()));
    this.setCarry(() => c.xor(this.carry(), c.shl(c.or(c.shl(c.get(delta), c.const(1)), c.get(delta)), c.const(62))));
    c.release(delta);
  }
  /** ZF as 0 or 1, the others stay: SF and PF move from the result into the inversion bits. */
  setZf(zf: () => I32): void {
    const { c } = this;
    const want = c.keep32(zf());
    const sf = c.keep32(this.signed()), pf = c.keep32(this.parity());
    this.setAdjust(() => c.or32(c.and32(this.adjust(), c.const32(0x10)),
      c.or32(c.shl32(c.get(sf), c.const32(7)), c.shl32(c.xor32(c.get(pf), c.get(want)), c.const32(2)))));
    this.setRes(() => c.extendu(c.eqz32(c.get(want))));
    for (const l of [want, sf, pf]) c.release(l);
  }
  overflow(): I32 { return this.c.lts(this.c.xor(this.carry(), this.c.shl(this.carry(), this.c.const(1))), this.c.const(0)); }
  signed(): I32 {
    const { c } = this;
    return c.xor32(c.lts(this.res(), c.const(0)), c.and32(c.shru32(this.adjust(), c.const32(7)), c.const32(1)));
  }
  parity(): I32 {
    const { c } = this;
    const odd = c.and(c.popcnt(c.and(this.res(), c.const(0xff))), c.const(1));
    return c.xor32(c.eqz(odd), c.and32(c.shru32(this.adjust(), c.const32(2)), c.const32(1)));
  }

  /** Whether condition `cc` holds, 0 or 1. */
  condition(cc: Condition): I32 {
    const { c } = this;
    let holds: I32;
    switch (cc >> 1) {
      case 0: holds = this.overflow(); break;
      case 1: holds = c.lts(this.carry(), c.const(0)); break;
      case 2: holds = c.eqz(this.res()); break;
      case 3: holds = c.or32(c.lts(this.carry(), c.const(0)), c.eqz(this.res())); break;
      case 4: holds = this.signed(); break;
      case 5: holds = this.parity(); break;
      case 6: holds = c.xor32(this.signed(), this.overflow()); break;
      default: holds = c.or32(c.eqz(this.res()), c.xor32(this.signed(), this.overflow()));
    }
    return cc & 1 ? c.eqz32(holds) : holds;
  }

  /** The six flags at their places in RFLAGS. */
  pack(): I32 {
    const { c } = this;
    return c.or32(
      c.or32(c.or32(c.wrap(this.cf()), c.shl32(this.parity(), c.const32(2))), c.and32(this.adjust(), c.const32(0x10))),
      c.or32(c.or32(c.shl32(c.eqz(this.res()), c.const32(6)), c.shl32(this.signed(), c.const32(7))), c.shl32(this.overflow(), c.const32(11))));
  }
  /** Sets SF ZF AF PF CF from their places in RFLAGS; OF stays. */
  unpack(f: L32): void {
    const { c } = this;
    const of = c.keep64(c.extendu(this.overflow()));
    this.setCfOf(() => c.and(c.extendu(c.get(f)), c.const(1)), () => c.get(of));
    const zf = c.keep32(c.and32(c.shru32(c.get(f), c.const32(6)), c.const32(1)));
    this.setRes(() => c.extendu(c.eqz32(c.get(zf))));
    this.setAdjust(() => c.xor32(c.and32(c.get(f), c.const32(0x94)), c.shl32(c.get(zf), c.const32(2))));
    c.release(of);
    c.release(zf);
  }
}
