/**
 * The x87 register stack, status and control word as instructions use them. SDM Vol. 1 ch. 8.1.
 *
 * The register file holds the FXSAVE image, in which st[i] is ST(i): a push or pop rotates the eight slots, and the tag
 * bits, which go by physical register, stay where they are.
 */
import { MF_VECTOR, raise } from '../exceptions.ts';
import { type CpuState, STATE, X86_CR0_NE, fpu_state } from '../state.ts';
import { type Float80, type Rounded, type Rounding, DE, IE, INDEFINITE, OE, UE, ZE, make } from './float80.ts';

const OFF = fpu_state.offset;
const SLOT = 16, SLOTS = 8 * SLOT;
export const C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000;
const CONDITION = C0 | C1 | C2 | C3;
export const ES = 0x80;
const SF = 0x40, BUSY = 0x8000;
const EXCEPTIONS = 0x3f;

export class X87 {
  readonly cpu: CpuState;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(cpu: CpuState) {
    this.cpu = cpu;
    this.bytes = cpu.fpu;
    this.view = new DataView(cpu.fpu.buffer, cpu.fpu.byteOffset, cpu.fpu.byteLength);
  }

  get control(): number { return this.view.getUint16(OFF.fcw, true); }
  set control(value: number) {
    this.view.setUint16(OFF.fcw, value | 0x40, true);
    this.summarize();
  }
  get status(): number { return this.view.getUint16(OFF.fsw, true); }
  set status(value: number) { this.view.setUint16(OFF.fsw, value, true); }
  get tags(): number { return this.bytes[OFF.ftw]!; }
  set tags(value: number) { this.bytes[OFF.ftw] = value; }
  get top(): number { return this.status >> 11 & 7; }
  set top(value: number) { this.status = this.status & ~0x3800 | (value & 7) << 11; }

  get rounding(): Rounding {
    const { control } = this;
    const precision = ([24, 64, 53, 64] as const)[control >> 8 & 3]!;
    return { precision, direction: control >> 10 & 3, overflowTraps: (control & OE) === 0, underflowTraps: (control & UE) === 0 };
  }
  get direction(): number { return this.control >> 10 & 3; }

  // -------------------------------------------------------------- exceptions

  /** ES and B say whether an unmasked exception waits. */
  summarize(): void {
    const waits = (this.status & EXCEPTIONS & ~this.control) !== 0;
    this.status = waits ? this.status | ES | BUSY : this.status & ~(ES | BUSY);
  }
  /** Sets exception bits; true if one of them is unmasked. */
  flag(bits: number): boolean {
    if (bits === 0) return false;
    this.status |= bits;
    this.summarize();
    return (bits & ~this.control & EXCEPTIONS) !== 0;
  }
  /** An invalid operation on the stack itself. C1: overflow (1) or underflow (0). */
  stackFault(overflow: boolean): boolean {
    this.status = (overflow ? this.status | C1 : this.status & ~C1) | SF;
    return this.flag(IE);
  }
  /** What every waiting instruction does first. */
  wait(): void {
    if (this.status & ES && this.cpu.u64[STATE.cr0 >>> 3]! & X86_CR0_NE) raise(this.cpu, MF_VECTOR);
  }
  condition(bits: number): void { this.status = this.status & ~CONDITION | bits; }
  setC1(on: boolean): void { this.status = on ? this.status | C1 : this.status & ~C1; }

  // -------------------------------------------------------------- registers

  private tagBit(i: number): number { return 1 << (this.top + i & 7); }
  isEmpty(i: number): boolean { return (this.tags & this.tagBit(i)) === 0; }
  free(i: number): void { this.tags &= ~this.tagBit(i); }

  get(i: number): Float80 {
    const at = OFF.st + i * SLOT;
    const head = this.view.getUint16(at + 8, true);
    return make(head >> 15, head & 0x7fff, this.view.getBigUint64(at, true));
  }
  set(i: number, value: Float80): void {
    const at = OFF.st + i * SLOT;
    this.view.setBigUint64(at, value.mantissa, true);
    this.view.setUint16(at + 8, value.sign << 15 | value.exponent, true);
    this.tags |= this.tagBit(i);
  }
  private rotate(by: 1 | -1): void {
    const { bytes } = this;
    const at = OFF.st;
    if (by === 1) {
      const last = bytes.slice(at + SLOTS - SLOT, at + SLOTS);
      bytes.copyWithin(at + SLOT, at, at + SLOTS - SLOT);
      bytes.set(last, at);
    } else {
      const first = bytes.slice(at, at + SLOT);
      bytes.copyWithin(at, at + SLOT, at + SLOTS);
      bytes.set(first, at + SLOTS - SLOT);
    }
    this.top -= by;
  }
  /** FNINIT; registers keep their contents. */
  reset(): void {
    this.moveTop(0);
    this.bytes.fill(0, 0, OFF.mxcsr);
    this.control = 0x37f;
  }
  /** Gives the stack another top; the physical registers stay where they are. */
  moveTop(top: number): void { while (this.top !== top) this.rotate(-1); }
  /** FDECSTP and FINCSTP. */
  decrementTop(): void { this.rotate(1); }
  incrementTop(): void { this.rotate(-1); }

  /** A push would overflow. */
  get full(): boolean { return (this.tags & this.tagBit(-1)) !== 0; }
  push(value: Float80): void {
    this.setC1(false);
    if (this.full) {
      if (this.stackFault(true)) return;
      value = INDEFINITE;
    }
    this.pushUnchecked(value);
  }
  /** Whatever lies there. */
  pushUnchecked(value: Float80): void {
    this.rotate(1);
    this.set(0, value);
  }
  pop(): void {
    this.free(0);
    this.rotate(-1);
  }
  /**
   * Stores a rounded result with its exceptions; false if an unmasked one keeps the destination as it was. Those found before
   * the operation do; overflow, underflow and inexact ones write their result even when unmasked.
   */
  store(i: number, r: Rounded): boolean {
    const before = r.flags & (IE | DE | ZE);
    if (before & ~this.control) {
      this.flag(before);
      return false;
    }
    this.flag(r.flags);
    this.set(i, r.value);
    this.setC1(r.up);
    return true;
  }
}

const cached = new WeakMap<CpuState, X87>();
/** The x87 of a processor. */
export function x87(cpu: CpuState): X87 {
  let it = cached.get(cpu);
  if (!it) cached.set(cpu, it = new X87(cpu));
  return it;
}
