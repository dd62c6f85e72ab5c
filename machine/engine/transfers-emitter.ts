/**
 * The WebAssembly half of transfers.ts: INT n and IRET by what an entry remembers of them. Each function returns 1 when
 * it has made the transfer, STATE.rip included, and 0 when it has changed nothing and the exec row must run.
 */
import {
  CS, DS, ES, EVENT_SHADOW, FS, GS, MODE_64, MODE_LONG, MODE_SIZE, MODE_USER, RSP, SEGMENT_SIZE, SEG_S, SEG_UNUSABLE, SS, STATE, TR,
  X86_EFLAGS_AC, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_DF, X86_EFLAGS_FIXED, X86_EFLAGS_ID, X86_EFLAGS_IF, X86_EFLAGS_IOPL, X86_EFLAGS_NT, X86_EFLAGS_RF,
  X86_EFLAGS_TF, X86_EFLAGS_VIF, X86_EFLAGS_VIP, X86_EFLAGS_VM,
} from '../cpu/state.ts';
import { FlagsEmitter } from './flags-emitter.ts';
import { ENGINE } from './layout.ts';
import { REC_AUX } from './record.ts';
import { ARRAY_BYTES, TLB_MASK } from './tlb.ts';
import {
  RETURNS, RETURN_ENTRIES, TRANSFER_SIZE, TRANSFER_VALID, T_CODE, T_CODE_AT, T_CS, T_FLAGS, T_GATE, T_GATE_TOP, T_MODE, T_NEW_MODE, T_RIP, T_SELECTORS, T_SS, T_SS_ACCESS, T_STACK,
  T_STACK_AT, T_TR_ACCESS, T_TSS_AT,
} from './transfers.ts';
import { type Code, type I32, type I64, type L32, type L64, i32, i64 } from './wasm-emitter.ts';
import { emitForget } from './walker.ts';

/** With one of these in RFLAGS, or in an image to load, the exec row runs. */
const UNUSUAL = X86_EFLAGS_TF | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM | X86_EFLAGS_AC | X86_EFLAGS_VIF | X86_EFLAGS_VIP;
const LOADED = X86_EFLAGS_IF | X86_EFLAGS_DF | X86_EFLAGS_IOPL | X86_EFLAGS_ID;
const RSP_AT = STATE.gpr + 8 * RSP;
const segment = (seg: number): number => STATE.seg + seg * SEGMENT_SIZE;
const FOUR_GIB_MASK = 0xffff_ffff;

class TransferEmitter {
  private readonly c: Code;
  private readonly cpu: L32;
  private readonly entry: L32;
  /** Label to branch to when the exec row must run. */
  private slow = 0;

  constructor(c: Code) {
    this.c = c;
    this.cpu = c.param(0, i32);
    this.entry = c.local(i32);
  }

  // ---------------------------------------------------------------- parts of both
  private state32(offset: number): I32 { return this.c.load32(this.c.get(this.cpu), offset); }
  private state64(offset: number): I64 { return this.c.load64(this.c.get(this.cpu), offset); }
  private field32(offset: number): I32 { return this.c.load32(this.c.get(this.entry), offset); }
  private field64(offset: number): I64 { return this.c.load64(this.c.get(this.entry), offset); }
  private set32(offset: number, v: () => I32): void { const { c } = this; c.store32(c.get(this.cpu), v(), offset); }
  private set64(offset: number, v: () => I64): void { const { c } = this; c.store64(c.get(this.cpu), v(), offset); }
  private unless(condition: I32): void { this.c.brIf(this.slow, this.c.eqz32(condition)); }
  private leaveIf(condition: I32): void { this.c.brIf(this.slow, condition); }

  /** Host address of `size` bytes in one page, by the TLB array that `array` gives. */
  private host(array: () => I32, linear: L64, size: number): L32 {
    const { c } = this;
    const at = c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), array()));
    this.unless(c.eq(c.or(c.and(c.add(c.get(linear), c.const(size - 1)), c.const(-4096)), this.state64(ENGINE.tlb_tag)), c.load64(c.get(at))));
    c.set(at, c.add32(c.wrap(c.get(linear)), c.load32(c.get(at), 8)));
    return at;
  }
  private system(): I32 { return this.state32(ENGINE.tlb_system); }

  /** Bytes of a table that the processor reads for itself, within its limit. */
  private table(base: number, limit: () => I32, offset: () => I32, size: number): L32 {
    const { c } = this;
    this.leaveIf(c.gtu32(c.add32(offset(), c.const32(size - 1)), limit()));
    const linear = c.keep64(c.add(this.state64(base), c.extendu(offset())));
    c.if(c.eqz32(c.and32(this.state32(STATE.mode), c.const32(MODE_LONG))), () => c.set(linear, c.and(c.get(linear), c.const(FOUR_GIB_MASK))));
    const at = this.host(() => this.system(), linear, size);
    c.release(linear);
    return at;
  }
  /** The descriptor at an offset of the GDT must read as it did. */
  private sameDescriptor(at: number, words: number): void {
    const { c } = this;
    const host = this.table(STATE.gdtr_base, () => this.state32(STATE.gdtr_limit), () => this.field32(at), 8);
    this.unless(c.eq(c.load64(c.get(host)), this.field64(words)));
    c.release(host);
  }
  private sameState(): void {
    const { c } = this;
    this.unless(c.eq32(c.or32(this.state32(STATE.mode), c.const32(TRANSFER_VALID)), this.field32(T_MODE)));
    this.unless(c.eq32(this.state32(segment(SS) + 12), this.field32(T_SS_ACCESS)));
    this.leaveIf(c.or32(c.and32(this.state32(STATE.pending), c.const32(~EVENT_SHADOW)), c.or32(this.state32(STATE.shadow), c.and32(this.state32(STATE.rflags), c.const32(UNUSUAL)))));
    // A TLB that is switched off means that accesses are watched.
    this.unless(c.eq32(this.state32(ENGINE.tlb_read), this.array(() => this.state32(STATE.mode))));
  }
  /** The TLB array for reads in a mode. */
  private array(mode: () => I32): I32 {
    const { c } = this;
    return c.add32(this.system(), c.select(c.const32(2 * ARRAY_BYTES), c.const32(0), c.and32(mode(), c.const32(MODE_USER))));
  }

  private copySegment(seg: number, from: number): void {
    for (let i = 0; i < SEGMENT_SIZE; i += 8) this.set64(segment(seg) + i, () => this.field64(from + i));
  }
  /** What updateMode() would do. */
  private changeMode(): void {
    const { c } = this;
    c.if(c.ne32(this.state32(STATE.mode), this.field32(T_NEW_MODE)), () => {
      this.set32(STATE.mode, () => this.field32(T_NEW_MODE));
      this.set32(ENGINE.jump_tag, () => c.or32(c.wrap(this.state64(ENGINE.tlb_tag)), c.shl32(this.field32(T_NEW_MODE), c.const32(12))));
      this.c.if(this.c.ne32(this.state32(ENGINE.tlb_read), this.array(() => this.field32(T_NEW_MODE))), () => emitForget(this.c, this.cpu));
      this.set32(ENGINE.tlb_read, () => this.array(() => this.field32(T_NEW_MODE)));
      this.set32(ENGINE.tlb_write, () => c.add32(this.state32(ENGINE.tlb_read), c.const32(ARRAY_BYTES)));
    });
  }

  /** Tries `body`, which branches to `slow` before it changes anything. */
  attempt(body: () => void): void {
    const { c } = this;
    c.block((slow) => {
      this.slow = slow;
      body();
      c.return(c.const32(1));
    });
    c.const32(0);
  }

  // ---------------------------------------------------------------- INT n
  interrupt(long: boolean): void {
    const { c, entry } = this;
    const vector = c.keep32(c.load32_8u(c.get(c.param(1, i32)), REC_AUX));
    c.set(entry, c.add32(this.state32(ENGINE.transfers), c.mul32(c.get(vector), c.const32(TRANSFER_SIZE))));
    this.sameState();
    this.unless(this.state32(ENGINE.delivers));
    const gate = this.table(STATE.idtr_base, () => this.state32(STATE.idtr_limit), () => c.shl32(c.get(vector), c.const32(long ? 4 : 3)), long ? 16 : 8);
    this.unless(c.eq(c.load64(c.get(gate)), this.field64(T_GATE)));
    if (long) this.unless(c.eq32(c.load32(c.get(gate), 8), this.field32(T_GATE_TOP)));
    this.sameDescriptor(T_CODE_AT, T_CODE);

    const sp = c.keep64(this.stackPointer(long));
    c.if(this.field32(T_TSS_AT), () => this.stackFromTss(long, sp));
    const inner = c.keep32(this.field32(T_SELECTORS));
    if (long) c.set(sp, c.sub(c.and(c.get(sp), c.const(-16)), c.const(40)));
    else c.set(sp, c.sub(c.get(sp), c.select(c.const(20), c.const(12), c.get(inner))));
    const forWriting = () => c.add32(this.system(), c.const32(ARRAY_BYTES));
    const frame = this.host(forWriting, sp, long ? 40 : 12);
    if (!long) this.leaveIf(c.and32(c.get(inner), c.gtu(c.and(c.get(sp), c.const(0xfff)), c.const(4096 - 20))));

    const push = (i: number, v: () => I64): void => c.storeSized(long ? 8 : 4, c.get(frame), v(), i * (long ? 8 : 4));
    push(0, () => this.state64(STATE.rip));
    push(1, () => c.extendu(this.state32(segment(CS) + 16)));
    push(2, () => c.extendu(c.or32(c.and32(this.state32(STATE.rflags), c.const32(~X86_EFLAGS_ARITHMETIC)), c.or32(c.const32(X86_EFLAGS_FIXED), new FlagsEmitter(c, this.cpu).pack()))));
    const pushStack = (): void => {
      push(3, () => this.state64(RSP_AT));
      push(4, () => c.extendu(this.state32(segment(SS) + 16)));
    };
    if (long) pushStack();
    else c.if(c.get(inner), pushStack);
    c.if(c.get(inner), () => this.copySegment(SS, T_SS));
    this.set64(RSP_AT, () => c.get(sp));
    this.copySegment(CS, T_CS);
    this.set64(STATE.rip, () => this.field64(T_RIP));
    this.set32(STATE.rflags, () => c.and32(this.state32(STATE.rflags), this.field32(T_FLAGS)));
    this.changeMode();
  }
  private stackPointer(wide: boolean): I64 {
    const { c } = this;
    return wide ? this.state64(RSP_AT) : c.and(this.state64(RSP_AT), c.const(FOUR_GIB_MASK));
  }
  /** The stack that the TSS has for the level or the gate. */
  private stackFromTss(long: boolean, sp: L64): void {
    const { c } = this;
    this.unless(c.eq32(this.state32(segment(TR) + 12), this.field32(T_TR_ACCESS)));
    const pointer = this.table(segment(TR), () => this.state32(segment(TR) + 8), () => this.field32(T_TSS_AT), long ? 8 : 6);
    c.set(sp, long ? c.load64(c.get(pointer)) : c.loadSized(4, c.get(pointer)));
    if (long) return;
    this.unless(c.eq32(c.load32_16u(c.get(pointer), 4), this.field32(T_SS + 16)));
    this.sameDescriptor(T_STACK_AT, T_STACK);
  }

  // ---------------------------------------------------------------- IRET
  return(wide: boolean): void {
    const { c, entry } = this;
    const slot = wide ? 8 : 4;
    // IRETD in 64-bit code pops what no entry is about.
    if (!wide) this.leaveIf(c.eq32(c.and32(this.state32(STATE.mode), c.const32(MODE_SIZE)), c.const32(MODE_64)));
    const sp = c.keep64(this.stackPointer(wide));
    const frame = this.host(() => this.state32(ENGINE.tlb_read), sp, (wide ? 5 : 3) * slot);
    const cs = c.keep32(c.load32_16u(c.get(frame), slot));
    const ss = c.local(i32), newSp = c.local(i64);
    const readStack = (): void => {
      c.set(newSp, c.loadSized(slot, c.get(frame), 3 * slot));
      c.set(ss, c.load32_16u(c.get(frame), 4 * slot));
    };
    if (wide) readStack();
    else {
      c.set(newSp, c.and(c.add(c.get(sp), c.const(12)), c.const(FOUR_GIB_MASK)));
      c.if(c.and32(c.get(cs), c.const32(3)), () => {
        this.leaveIf(c.gtu(c.and(c.get(sp), c.const(0xfff)), c.const(4096 - 20)));
        readStack();
      });
    }
    const index = c.keep32(c.xor32(c.xor32(c.shru32(c.get(cs), c.const32(3)), c.shl32(c.get(cs), c.const32(2))), c.shru32(c.get(ss), c.const32(3))));
    c.set(entry, c.add32(c.add32(this.state32(ENGINE.transfers), c.const32(RETURNS)), c.mul32(c.and32(c.get(index), c.const32(RETURN_ENTRIES - 1)), c.const32(TRANSFER_SIZE))));
    this.unless(c.eq32(c.or32(c.get(cs), c.shl32(c.get(ss), c.const32(16))), this.field32(T_SELECTORS)));
    this.sameState();
    this.leaveIf(this.state32(STATE.nmi_blocked));
    const image = c.keep32(c.load32(c.get(frame), 2 * slot));
    this.leaveIf(c.and32(c.get(image), c.const32(UNUSUAL)));
    this.sameDescriptor(T_CODE_AT, T_CODE);
    c.if(this.field32(T_STACK_AT), () => this.sameDescriptor(T_STACK_AT, T_STACK));
    const rip = c.keep64(c.loadSized(slot, c.get(frame)));
    c.if(c.eq32(c.and32(this.field32(T_NEW_MODE), c.const32(MODE_SIZE)), c.const32(MODE_64)),
      () => this.unless(c.eq(c.shrs(c.shl(c.get(rip), c.const(16)), c.const(16)), c.get(rip))),
      () => this.leaveIf(c.gtu(c.get(rip), c.extendu(this.field32(T_CS + 8)))));
    c.if(c.and32(this.field32(T_NEW_MODE), c.const32(MODE_USER)), () => {
      for (const seg of [ES, DS, FS, GS]) this.staysLoaded(seg);
    });

    this.copySegment(CS, T_CS);
    if (wide) this.copySegment(SS, T_SS);
    else c.if(c.and32(c.get(cs), c.const32(3)), () => this.copySegment(SS, T_SS));
    this.set64(RSP_AT, () => c.get(newSp));
    this.set64(STATE.rip, () => c.get(rip));
    this.loadFlags(image);
    this.changeMode();
  }
  /** A data segment that CPL 3 may keep: unusable, or of its level. */
  private staysLoaded(seg: number): void {
    const { c } = this;
    const rights = SEG_S | 0x60;
    this.unless(c.or32(c.and32(this.state32(segment(seg) + 12), c.const32(SEG_UNUSABLE)),
      c.eq32(c.and32(this.state32(segment(seg) + 12), c.const32(rights)), c.const32(rights))));
  }
  private loadFlags(image: L32): void {
    const { c } = this;
    const flags = new FlagsEmitter(c, this.cpu);
    const bit = (n: number): I64 => c.and(c.shru(c.extendu(c.get(image)), c.const(n)), c.const(1));
    flags.setCfOf(() => bit(0), () => bit(11));
    flags.unpack(image);
    this.set32(STATE.rflags, () => c.or32(c.and32(c.get(image), c.const32(LOADED)), c.const32(X86_EFLAGS_FIXED)));
  }
}

/** (cpu, record) INT n, and IRET of 32 and 64 bits. */
export const emitInterrupt = (c: Code, long: boolean): void => {
  const t = new TransferEmitter(c);
  t.attempt(() => t.interrupt(long));
};
export const emitReturn = (c: Code, wide: boolean): void => {
  const t = new TransferEmitter(c);
  t.attempt(() => t.return(wide));
};
