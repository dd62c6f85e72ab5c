/**
 * What an opcode row's `emit` is given: its operands, the flags, memory, the stack and control flow of one
 * instruction, in terms that mean the same in every tier. A tier supplies the primitives: where registers live and
 * whether an instruction's parts are known (hot) or come from a record (cold).
 *
 * Values travel in 64-bit locals. What read() gives is zero-extended from the operand's size; write() takes a local
 * whose upper bits do not matter. A method that can fault returns from the emitted function when it does, so state may be
 * written only after the last of them.
 */
import { XM_VECTOR } from '../cpu/exceptions.ts';
import { CS, ES, RSP, SEGMENT_SIZE, SS, STATE } from '../cpu/state.ts';
import { FlagsEmitter } from './flags-emitter.ts';
import { ENGINE } from './layout.ts';
import { type Operand, operandSize, parseOperand } from './operand.ts';
import { ACCESS_MODIFY, ACCESS_WRITE, accessSegment } from './record.ts';
import type { Runtime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { TLB_MASK } from './tlb.ts';
import { type Code, type I32, type I64, type L32, type L64, type LV, type Operation, i32 } from './wasm-emitter.ts';

/** A register operand by the field of the instruction that names it. */
export type RegisterField = 'reg' | 'rm' | 'vvvv';

const FIXED: Readonly<Record<string, number>> = { AL: 0, AX: 0, eAX: 0, rAX: 0, CL: 1, rCX: 1, DX: 2, rDX: 2, eDX: 2 };

export abstract class Translation {
  readonly c: Code;
  readonly cpu: L32;
  readonly shape: Shape;
  readonly flags: FlagsEmitter;
  readonly runtime: Runtime;
  /** Operand size of `v` operands in bytes. */
  readonly size: number;
  private readonly operands: readonly Operand[];
  /** Host address of a memory operand that was read in order to be written. */
  private modified: L32 | undefined;
  /** 1 when a write took the slow path: its bytes may lie in the window. */
  private slowWrite: L32 | undefined;

  constructor(c: Code, cpu: L32, shape: Shape, runtime: Runtime, flags = new FlagsEmitter(c, cpu)) {
    this.c = c;
    this.cpu = cpu;
    this.shape = shape;
    this.runtime = runtime;
    this.size = shape.opSize;
    this.flags = flags;
    this.operands = shape.row.operands.map(parseOperand);
  }

  // ---------------------------------------------------------------- primitives of a tier
  protected abstract readRegister(field: RegisterField, size: number): I64;
  protected abstract writeRegister(field: RegisterField, size: number, v: () => I64): void;
  /** The immediate, extended as the form says. */
  abstract immediate(): I64;
  /** Offset of the memory operand in its segment, truncated to the address size; or of that the lower `size` bytes. */
  abstract effectiveAddress(size?: number): I64;
  /** Base of the memory operand's segment. */
  protected abstract segmentBase(): I64;
  /** Byte offset in cpu_state of the memory operand's segment register. */
  protected abstract segmentOffset(): I32;
  /** Host address of an XMM register. */
  abstract xmm(field: RegisterField): I32;
  /** RIP of this instruction plus what follows it. */
  abstract nextRip(): I64;
  /** Leaves because a fault was raised; nothing has been changed. */
  abstract leave(): void;
  /** Goes to the target of the instruction's direct jump. */
  abstract jump(): void;
  /** Goes to `rip`, which has been checked. */
  abstract jumpTo(rip: L64): void;
  /** Returns to `rip`, with rSP then `sp`. */
  returnTo(rip: L64, sp: L64): void {
    this.checkTarget(rip);
    this.setStackPointer(sp);
    this.jumpTo(rip);
  }
  /** Runs the instruction again: REP's next iteration. */
  abstract repeat(): void;
  /** The value of an immediate operand, where the tier knows it. */
  constant(_i: number): number | undefined { return undefined; }
  /** Second immediate (ENTER). */
  abstract immediate2(): I64;
  /** RIP of this instruction. */
  abstract currentRip(): I64;
  /** Number of the register of the x87 stack that the r/m field names. */
  abstract stackRegister(): I32;
  /** That of the segment register that the reg field names. */
  abstract selectorRegister(): I32;
  /** Leaves the instruction to the row's exec function; it has changed nothing. */
  abstract execute(): void;
  /** Does so unless the condition holds. */
  unless(condition: I32): void { this.c.if(this.c.eqz32(condition), () => this.execute()); }
  /** Cycles the run has left behind this instruction. */
  abstract remaining(): I32;
  /** Cycles it has used, this instruction's included. */
  elapsed(): I64 { return this.c.extends(this.c.sub32(this.state32(ENGINE.granted), this.remaining())); }
  /** Charges cycles beyond that: the last of what can make an instruction execute(). */
  abstract charge(cycles: L32): void;
  /** What the emitted function returns to go on after this instruction. */
  abstract next(): I32;
  /** The record, for calls into the runtime. */
  abstract get rec(): I32;

  // ---------------------------------------------------------------- registers by number
  gpr(n: number, size: number): I64 { return this.c.loadSized(size, this.c.get(this.cpu), STATE.gpr + 8 * n); }
  setGpr(n: number, size: number, v: () => I64): void {
    const { c } = this;
    c.get(this.cpu);
    const at = undefined as unknown as I32;
    if (size === 4) c.store64(at, c.and(v(), c.const(0xffff_ffff)), STATE.gpr + 8 * n);
    else c.storeSized(size, at, v(), STATE.gpr + 8 * n);
  }
  state64(offset: number): I64 { return this.c.load64(this.c.get(this.cpu), offset); }
  state32(offset: number): I32 { return this.c.load32(this.c.get(this.cpu), offset); }

  // ---------------------------------------------------------------- operands
  operandSize(i: number): number { return operandSize(this.operands[i]!, this.size); }
  isMemory(i: number): boolean {
    const { kind } = this.operands[i]!;
    return this.shape.memory && (kind === 'E' || kind === 'M' || kind === 'W' || kind === 'O');
  }
  protected field(i: number): RegisterField {
    const { kind } = this.operands[i]!;
    return kind === 'G' || kind === 'V' || kind === 'P' ? 'reg' : kind === 'B' || kind === 'H' ? 'vvvv' : 'rm';
  }

  /** Operand i, zero-extended. */
  read(i: number): L64 { return this.c.keep64(this.value(i)); }
  /** The same, left on the stack. */
  value(i: number): I64 {
    const { c } = this;
    const o = this.operands[i]!;
    const size = this.operandSize(i);
    if (this.isMemory(i)) return this.load(this.operandAddress(size, false), size);
    if (o.kind === 'I') return this.immediateOf(o.type === 'b' || o.type === 'w' ? size : this.size);
    if (o.kind === 'fixed') {
      if (o.text === '1') return c.const(1);
      return this.gpr(FIXED[o.text]!, size);
    }
    return this.readRegister(this.field(i), size);
  }
  protected immediateOf(size: number): I64 { return this.truncate(size, this.immediate()); }
  /** Operand i, which will be written: memory is checked for the write now. */
  modify(i: number): L64 {
    const { c } = this;
    if (!this.isMemory(i)) return this.read(i);
    const size = this.operandSize(i);
    this.modified = this.hostWrite(this.operandAddress(size, true), size, true);
    return c.keep64(c.loadSized(size, c.get(this.modified)));
  }
  /** Makes sure that a later write(i) cannot fault. */
  prepare(i: number): void {
    if (this.isMemory(i)) this.modified = this.hostWrite(this.operandAddress(this.operandSize(i), true), this.operandSize(i), false);
  }
  write(i: number, v: L64): void {
    const { c } = this;
    const o = this.operands[i]!;
    const size = this.operandSize(i);
    if (this.isMemory(i)) {
      if (!this.modified) this.prepare(i);
      c.storeSized(size, c.get(this.modified!), c.get(v));
      this.commit();
    } else if (o.kind === 'fixed') this.setGpr(FIXED[o.text]!, size, () => c.get(v));
    else this.writeRegister(this.field(i), size, () => c.get(v));
  }
  truncate(size: number, v: I64): I64 {
    if (size === 8) return v;
    if (size === 4) return this.c.extendu(this.c.wrap(v));
    return this.c.and(v, this.c.const(size === 2 ? 0xffff : 0xff));
  }
  /** Whether arithmetic on operands of `size` bytes is done in 32 bits. Of results of 4 bytes there is then nothing above bit 31. */
  narrow(_size: number): boolean { return false; }
  /** a op b of operands of `size` bytes, in as many bits as hold them at least; those above are the tier's affair. */
  calc(op: Operation, size: number, a: L64, b: L64): I64 {
    const { c } = this;
    return this.narrow(size) ? c.extendu(c.calc32(op, c.wrap(c.get(a)), c.wrap(c.get(b)))) : c.calc(op, c.get(a), c.get(b));
  }

  // ---------------------------------------------------------------- memory
  /** Linear address of the memory operand, checked against its segment for an access of `size` bytes. */
  operandAddress(size: number, write: boolean): L64 {
    return this.operandAddressAt(this.c.keep64(this.effectiveAddress()), size, write);
  }
  /** The same for another offset in its segment. */
  operandAddressAt(offset: L64, size: number, write: boolean): L64 {
    const { c, shape } = this;
    if (shape.segment === 'none') return offset;
    if (shape.segment === 'base') return c.keep64(c.add(c.get(offset), this.segmentBase()));
    return this.checked(offset, undefined, size, write);
  }
  /** Linear address of an offset in a segment register known by number. */
  segmentAddress(seg: number, offset: L64, size: number, write: boolean): L64 {
    if (this.shape.codeSize === 8 || this.shape.flat) return offset;
    return this.checked(offset, seg, size, write);
  }
  /** Of a segment register by its number, or the memory operand's. */
  protected checked(offset: L64, seg: number | undefined, size: number, write: boolean): L64 {
    const { c } = this;
    const at = () => seg === undefined ? this.segmentOffset() : c.const32(STATE.seg + seg * SEGMENT_SIZE);
    const linear = c.keep64(c.call64(this.runtime.segment, c.get(this.cpu), c.get(offset), at(), c.const32(size | (write ? ACCESS_WRITE : 0))));
    c.if(c.eq(c.get(linear), c.const(-1)), () => this.leave());
    return linear;
  }

  /** Host address for reading `size` bytes at a linear address; `seg` when it is not the memory operand's segment. */
  hostRead(linear: L64, size: number, seg?: number): L32 {
    return this.host(ENGINE.tlb_read, linear, size, seg === undefined ? size : size | accessSegment(seg));
  }
  /** For writing. `old`: the bytes there now are read first. After the store: commit(). */
  hostWrite(linear: L64, size: number, old: boolean, seg?: number): L32 {
    this.slowWrite ??= this.c.local(i32);
    this.c.set(this.slowWrite, this.c.const32(0));
    return this.host(ENGINE.tlb_write, linear, size, size | ACCESS_WRITE | (old ? ACCESS_MODIFY : 0) | (seg === undefined ? 0 : accessSegment(seg)));
  }
  private tlbEntry(array: number, linear: L64): L32 {
    const { c } = this;
    return c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), this.state32(array)));
  }
  private host(array: number, linear: L64, size: number, access: number): L32 {
    const { c } = this;
    const at = c.local(i32);
    const entry = this.tlbEntry(array, linear);
    const last = () => size === 1 ? c.get(linear) : c.add(c.get(linear), c.const(size - 1));
    c.if(c.eq(c.or(c.and(last(), c.const(-4096)), this.state64(ENGINE.tlb_tag)), c.load64(c.get(entry))), () => {
      c.set(at, c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
    }, () => {
      c.set(at, c.call32(this.runtime.access, c.get(this.cpu), this.rec, c.get(linear), c.const32(access)));
      c.if(c.eqz32(c.get(at)), () => this.leave());
      if (access & ACCESS_WRITE) c.set(this.slowWrite!, c.const32(1));
    });
    c.release(entry);
    return at;
  }
  /** Host address if the TLB has it for plain memory, else 0: neither faults nor changes anything. For batches inside a page. */
  probe(linear: L64, write: boolean): L32 {
    const { c } = this;
    const entry = this.tlbEntry(write ? ENGINE.tlb_write : ENGINE.tlb_read, linear);
    return c.keep32(c.select(c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)), c.const32(0),
      c.eq(c.or(c.and(c.get(linear), c.const(-4096)), this.state64(ENGINE.tlb_tag)), c.load64(c.get(entry)))));
  }
  /** Host address of the memory operand if the TLB has it for plain memory inside a page; all else is the exec function's. */
  plain(size: number, write: boolean): L32 {
    const { c } = this;
    const linear = this.operandAddress(size, write);
    const entry = this.tlbEntry(write ? ENGINE.tlb_write : ENGINE.tlb_read, linear);
    c.if(c.ne(c.or(c.and(c.add(c.get(linear), c.const(size - 1)), c.const(-4096)), this.state64(ENGINE.tlb_tag)), c.load64(c.get(entry))), () => this.execute());
    return c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
  }
  /** Carries out what was stored through hostWrite, if its target was not ordinary memory. */
  commit(): void {
    const { c } = this;
    c.if(c.get(this.slowWrite!), () => c.call(this.runtime.commit, c.get(this.cpu)));
  }
  load(linear: L64, size: number, seg?: number): I64 {
    return this.c.loadSized(size, this.c.get(this.hostRead(linear, size, seg)));
  }
  store(linear: L64, size: number, v: L64, seg?: number): void {
    const at = this.hostWrite(linear, size, false, seg);
    this.c.storeSized(size, this.c.get(at), this.c.get(v));
    this.commit();
  }

  // ---------------------------------------------------------------- XMM operands
  /**
   * Operand i as a vector. A narrower memory operand is zero-extended; one of 16 bytes must be aligned unless
   * `unaligned` is said.
   */
  readV(i: number, unaligned = false): LV {
    const { c } = this;
    if (!this.isMemory(i)) return c.keepV(c.loadV(this.xmm(this.field(i))));
    const size = this.operandSize(i);
    const address = this.vectorAddress(size, false, unaligned);
    const at = this.hostRead(address, size);
    if (size === 16) return c.keepV(c.loadV(c.get(at)));
    if (size < 4) return c.keepV(c.replace64(0, c.constV(0n, 0n), c.loadSized(size, c.get(at))));
    return c.keepV(c.opLoadV(size === 8 ? 0x5d : 0x5c, c.get(at)));
  }
  /** Stores a vector, or its low part, as wide as the operand; a register always gets all of it. */
  writeV(i: number, v: LV, unaligned = false): void {
    const { c } = this;
    if (!this.isMemory(i)) {
      c.storeV(this.xmm(this.field(i)), c.get(v));
      return;
    }
    const size = this.operandSize(i);
    const address = this.vectorAddress(size, true, unaligned);
    const at = this.hostWrite(address, size, false);
    if (size === 16) c.storeV(c.get(at), c.get(v));
    else c.storeSized(size, c.get(at), c.lane64(0, c.get(v)));
    this.commit();
  }
  /** An XMM register that the instruction does not name. */
  implicitV(n: number): LV { return this.c.keepV(this.c.loadV(this.c.get(this.cpu), STATE['fpu.xmm']! + 16 * n)); }
  writeImplicitV(n: number, v: LV): void { this.c.storeV(this.c.get(this.cpu), this.c.get(v), STATE['fpu.xmm']! + 16 * n); }
  /** Stores a parameter of a SIMD function, `at` bytes into its area. */
  simdParameter(at: number, v: LV): void { this.c.storeV(this.c.get(this.cpu), this.c.get(v), ENGINE.simd + at); }
  /** Calls a SIMD function (cpu/simd-call.ts) whose parameters were stored; what it cannot do without an exception is raised. */
  callSimd(n: number): void {
    const { c } = this;
    c.if(c.eqz32(c.call32(this.runtime.simd, c.get(this.cpu), c.const32(n))), () => this.raise(XM_VECTOR));
  }
  /**
   * The rare way to do the instruction, calls included. Nothing may have been written before. A region leaves it to the cold tier:
   * a call that it may make costs all its registers.
   */
  rarely(body: () => void): void { body(); }
  /** Whether MXCSR keeps what WebAssembly computes from standing: not to nearest, an exception unmasked, or PE not yet set. */
  unusualMxcsr(): I32 { return this.c.ne32(this.c.and32(this.state32(STATE['fpu.mxcsr']!), this.c.const32(0x7fa0)), this.c.const32(0x1fa0)); }
  /**
   * Whether the XMM operand is known to hold no denormal as a number of its kind (ps pd ss sd): true; or a local that says whether
   * it does, tested before the loop.
   */
  isOrdinary(_i: number, _kind: string): boolean | L32 { return false; }
  /** Says so, of what the XMM operand holds from now on. */
  noteOrdinary(_i: number, _kind: string): void {}
  /** What it left, `at` bytes into its area. */
  simdResult(at: number): LV { return this.c.keepV(this.c.loadV(this.c.get(this.cpu), ENGINE.simd + at)); }
  /** #GP for an address that is not aligned comes before the segment's own faults. */
  private vectorAddress(size: number, write: boolean, unaligned: boolean): L64 {
    const { c } = this;
    if (size < 16 || unaligned) return this.operandAddress(size, write);
    const checked = this.shape.segment === 'checked';
    if (checked) this.checkAligned(c.keep64(c.add(this.effectiveAddress(), c.load64(c.add32(c.get(this.cpu), this.segmentOffset()), 0))));
    const address = this.operandAddress(size, write);
    if (!checked) this.checkAligned(address);
    return address;
  }
  private checkAligned(address: L64): void {
    const { c } = this;
    c.if(c.ne(c.and(c.get(address), c.const(15)), c.const(0)), () => this.raise(13));
  }

  // ---------------------------------------------------------------- strings
  /** Truncates an offset to the address size. */
  address(v: I64): I64 { return this.truncate(this.shape.addrSize, v); }
  /** DS:rSI or its override. */
  sourceAddress(size: number): L64 { return this.operandAddress(size, false); }
  /** ES:rDI. */
  destinationAddress(size: number, write: boolean): L64 {
    const { c } = this;
    return this.segmentAddress(ES, c.keep64(this.gpr(7, this.shape.addrSize)), size, write);
  }

  // ---------------------------------------------------------------- stack
  private stackTruncate(v: I64): I64 { return this.truncate(this.shape.stackSize, v); }
  /** rSP + delta, as an offset in SS. */
  stackOffset(delta: number): L64 {
    const { c } = this;
    const { stackSize } = this.shape;
    return c.keep64(this.narrow(stackSize)
      ? this.truncate(stackSize, c.extendu(c.calc32('add', c.wrap(this.gpr(RSP, 8)), c.const32(delta))))
      : this.stackTruncate(c.add(this.gpr(RSP, 8), c.const(delta))));
  }
  setStackPointer(v: L64): void { this.setGpr(RSP, this.shape.stackSize, () => this.c.get(v)); }
  push(v: L64, size = this.size): void {
    const top = this.stackOffset(-size);
    this.store(this.segmentAddress(SS, top, size, true), size, v, SS);
    this.setStackPointer(top);
  }
  /** The value on top of the stack; rSP is not moved. */
  top(size = this.size): L64 {
    return this.c.keep64(this.load(this.segmentAddress(SS, this.stackOffset(0), size, false), size, SS));
  }
  /** rSP += bytes. */
  drop(bytes: number): void { this.setStackPointer(this.stackOffset(bytes)); }

  /** DIV and IDIV of 128 bits by 64 that one WebAssembly instruction cannot do. */
  divideWide(divisor: L64, signed: boolean): void {
    const { c } = this;
    c.store64(c.get(this.cpu), c.get(divisor), ENGINE.access_address);
    c.if(c.eqz32(c.call32(this.runtime.divide, c.get(this.cpu), c.const32(signed ? 1 : 0))), () => this.leave());
  }

  // ---------------------------------------------------------------- control
  /** Raises an exception without an error code, or with 0. */
  raise(vector: number): void {
    const { c } = this;
    c.call(this.runtime.raise, c.get(this.cpu), c.const32(vector));
    this.leave();
  }
  /** Raises #GP(0) unless control may go to `rip` in the current code segment. */
  checkTarget(rip: L64): void {
    const { c } = this;
    if (this.shape.codeSize === 8) {
      c.if(c.ne(c.shrs(c.shl(c.get(rip), c.const(16)), c.const(16)), c.get(rip)), () => this.raise(13));
    } else if (!this.shape.flat) {
      c.if(c.gtu32(c.wrap(c.get(rip)), this.state32(STATE.seg + CS * SEGMENT_SIZE + 8)), () => this.raise(13));
    }
  }
  /** Target of the instruction's relative jump. */
  target(): L64 {
    const { c } = this;
    return c.keep64(this.truncate(this.size, c.add(this.nextRip(), this.immediate())));
  }
  /** A direct jump: checked, then taken. */
  jumpRelative(): void {
    if (!this.shape.near) {
      const rip = this.target();
      this.checkTarget(rip);
      this.jumpTo(rip);
    } else this.jump();
  }
}
