/**
 * String instructions. A REP iteration is an instruction of its own to the cycle counter: the handler does one, and
 * returns to itself as long as there is more to do; so an interrupt, a deadline or a fault finds rSI, rDI and rCX as silicon
 * would leave them. MOVS and STOS that run upwards do many at once, as many as fit their pages and the budget.
 */
import type { Translation } from '../../engine/translation.ts';
import type { L64 } from '../../engine/wasm-emitter.ts';
import { RAX, RCX, RDI, RSI, STATE, X86_EFLAGS_DF, X86_EFLAGS_TF } from '../state.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

/** +size or -size by RFLAGS.DF. */
const stride = (t: Translation, size: number): L64 => {
  const { c } = t;
  return c.keep64(c.select(c.const(-size), c.const(size), c.and32(t.state32(STATE.rflags), c.const32(X86_EFLAGS_DF))));
};
const advance = (t: Translation, reg: number, by: L64): void =>
  t.setGpr(reg, t.shape.addrSize, () => t.c.add(t.gpr(reg, 8), t.c.get(by)));

/**
 * With REP and 32-bit addresses in 64-bit mode rCX loses its upper half whatever happens then, and so do the index registers
 * of MOVS and STOS.
 */
function narrow(t: Translation, registers: readonly number[]): void {
  if (t.shape.rep !== 0 && t.shape.codeSize === 8 && t.shape.addrSize === 4) for (const reg of registers) t.setGpr(reg, 4, () => t.gpr(reg, 4));
}

/**
 * One iteration under a REP prefix, if there is one. With rCX = 0 nothing happens and the instruction retires: a cycle
 * of its own after those of the iterations, unless `compared` has ended it. What a comparison found goes to the flags
 * only when it ends the instruction: a fault on the way leaves the flags there were before it.
 */
function repeated(t: Translation, iteration: () => Compared | undefined): void {
  const { c } = t;
  const size = t.shape.addrSize;
  const setFlags = ({ size: width, a, b }: Compared) => t.flags.sub(width, a, b, c.keep64(c.sub(c.get(a), c.get(b))));
  if (t.shape.rep === 0) {
    const compared = iteration();
    if (compared) setFlags(compared);
    return;
  }
  c.if(c.ne(t.gpr(RCX, size), c.const(0)), () => {
    const compared = iteration();
    const left = c.keep64(t.truncate(size, c.sub(t.gpr(RCX, size), c.const(1))));
    t.setGpr(RCX, size, () => c.get(left));
    // Single-stepped, the last iteration does not leave RIP on the instruction.
    const again = c.keep32(c.or32(c.ne(c.get(left), c.const(0)), c.eqz32(c.and32(t.state32(STATE.rflags), c.const32(X86_EFLAGS_TF)))));
    if (compared) {
      const { a, b } = compared;
      // REPE goes on while the two are equal, REPNE while not.
      const go = c.keep32(t.shape.rep === 0xf3 ? c.eq(c.get(a), c.get(b)) : c.ne(c.get(a), c.get(b)));
      c.if(c.or32(c.eqz(c.get(left)), c.eqz32(c.get(go))), () => setFlags(compared));
      c.set(again, c.and32(c.get(again), c.get(go)));
    }
    c.if(c.get(again), () => t.repeat());
  });
}
interface Compared { readonly size: number; readonly a: L64; readonly b: L64 }

/** How many elements lie between a linear address and the end of its page, going up. */
const toPageEnd = (t: Translation, linear: L64, size: number) =>
  t.c.shru(t.c.sub(t.c.const(4096), t.c.and(t.c.get(linear), t.c.const(4095))), t.c.const(Math.log2(size)));

/**
 * Of a REP iteration's elements, how many may be done now: rCX, the budget (this iteration is paid for), the pages.
 * The rest of the budget is charged.
 */
function batch(t: Translation, size: number, addresses: readonly L64[]): L64 {
  const { c } = t;
  const n = c.keep64(t.gpr(RCX, t.shape.addrSize));
  const least = (v: L64) => c.set(n, c.select(c.get(v), c.get(n), c.ltu(c.get(v), c.get(n))));
  for (const a of addresses) least(c.keep64(toPageEnd(t, a, size)));
  least(c.keep64(c.add(c.extendu(t.state32(STATE.budget)), c.const(1))));
  return n;
}
function pay(t: Translation, n: L64): void {
  const { c } = t;
  c.store32(c.get(t.cpu), c.sub32(t.state32(STATE.budget), c.wrap(c.sub(c.get(n), c.const(1)))), STATE.budget);
}
/** rSI, rDI up and rCX down by what a batch has done; goes on with the instruction. */
function finishBatch(t: Translation, n: L64, size: number, registers: readonly number[]): void {
  const { c } = t;
  const address = t.shape.addrSize;
  const bytes = c.keep64(c.shl(c.get(n), c.const(Math.log2(size))));
  for (const reg of registers) advance(t, reg, bytes);
  const left = c.keep64(t.truncate(address, c.sub(t.gpr(RCX, address), c.get(n))));
  t.setGpr(RCX, address, () => c.get(left));
  pay(t, n);
  t.repeat();
}

/** Whether a batch is worth trying: two or more to do, going up, with segments that need no check, paid for from a positive budget. */
const mayBatch = (t: Translation) => {
  const { c } = t;
  return c.and32(
    c.and32(c.gtu(t.gpr(RCX, t.shape.addrSize), c.const(1)), c.eqz32(c.and32(t.state32(STATE.rflags), c.const32(X86_EFLAGS_DF)))),
    c.lts32(c.const32(0), t.state32(STATE.budget)));
};
const batches = (t: Translation): boolean =>
  t.shape.rep !== 0 && t.shape.segment !== 'checked' && (t.shape.codeSize === 8 || t.shape.flat) && t.shape.addrSize !== 2;

const movs: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  narrow(t, [RCX, RSI, RDI]);
  if (batches(t)) {
    c.if(mayBatch(t), () => {
      const from = t.sourceAddress(size), to = t.destinationAddress(size, true);
      const n = batch(t, size, [from, to]);
      c.if(c.gtu(c.get(n), c.const(1)), () => {
        const source = t.probe(from, false), target = t.probe(to, true);
        const bytes = c.keep32(c.shl32(c.wrap(c.get(n)), c.const32(Math.log2(size))));
        const known = c.keep32(c.and32(c.ne32(c.get(source), c.const32(0)), c.ne32(c.get(target), c.const32(0))));
        // Copying upwards onto itself repeats a pattern: not what memory.copy does.
        c.if(c.and32(c.get(known), c.geu32(c.sub32(c.get(target), c.get(source)), c.get(bytes))), () => {
          c.memoryCopy(c.get(target), c.get(source), c.get(bytes));
          finishBatch(t, n, size, [RSI, RDI]);
        });
      });
    });
  }
  repeated(t, () => {
    const by = stride(t, size);
    const v = c.keep64(t.load(t.sourceAddress(size), size));
    t.store(t.destinationAddress(size, true), size, v, 0);
    advance(t, RSI, by);
    advance(t, RDI, by);
    return undefined;
  });
};

const stos: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  narrow(t, [RCX, RDI]);
  if (batches(t)) {
    c.if(mayBatch(t), () => {
      const to = t.destinationAddress(size, true);
      const n = batch(t, size, [to]);
      c.if(c.gtu(c.get(n), c.const(1)), () => {
        const target = t.probe(to, true);
        c.if(c.ne32(c.get(target), c.const32(0)), () => {
          const at = c.keep32(c.get(target));
          if (size === 1) c.memoryFill(c.get(at), c.wrap(t.gpr(RAX, 1)), c.wrap(c.get(n)));
          else {
            const v = c.keep64(t.gpr(RAX, size));
            const end = c.keep32(c.add32(c.get(at), c.shl32(c.wrap(c.get(n)), c.const32(Math.log2(size)))));
            c.loop((again) => {
              c.storeSized(size, c.get(at), c.get(v));
              c.set(at, c.add32(c.get(at), c.const32(size)));
              c.brIf(again, c.ne32(c.get(at), c.get(end)));
            });
          }
          finishBatch(t, n, size, [RDI]);
        });
      });
    });
  }
  repeated(t, () => {
    const by = stride(t, size);
    t.store(t.destinationAddress(size, true), size, c.keep64(t.gpr(RAX, size)), 0);
    advance(t, RDI, by);
    return undefined;
  });
};

const lods: Emit = (t) => {
  const size = t.operandSize(1);
  narrow(t, [RCX]);
  repeated(t, () => {
    const by = stride(t, size);
    const v = t.c.keep64(t.load(t.sourceAddress(size), size));
    t.setGpr(RAX, size, () => t.c.get(v));
    advance(t, RSI, by);
    return undefined;
  });
};

const cmps: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  narrow(t, [RCX]);
  repeated(t, () => {
    const by = stride(t, size);
    // Of two operands that fault it is the one at ES:rDI that is told of.
    const b = c.keep64(t.load(t.destinationAddress(size, false), size, 0));
    const a = c.keep64(t.load(t.sourceAddress(size), size));
    advance(t, RSI, by);
    advance(t, RDI, by);
    return { size, a, b };
  });
};
const scas: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  narrow(t, [RCX]);
  repeated(t, () => {
    const by = stride(t, size);
    const a = c.keep64(t.gpr(RAX, size));
    const b = c.keep64(t.load(t.destinationAddress(size, false), size, 0));
    advance(t, RDI, by);
    return { size, a, b };
  });
};

export const stringRows: readonly Row[] = [
  row('A4', 'MOVS', 'Yb Xb', 'rep r:d',          emit(movs)),
  row('A5', 'MOVS', 'Yv Xv', 'rep r:d',          emit(movs)),
  row('A6', 'CMPS', 'Xb Yb', 'rep r:d w:oszapc', emit(cmps)),
  row('A7', 'CMPS', 'Xv Yv', 'rep r:d w:oszapc', emit(cmps)),
  row('AA', 'STOS', 'Yb AL', 'rep r:d',          emit(stos)),
  row('AB', 'STOS', 'Yv rAX', 'rep r:d',         emit(stos)),
  row('AC', 'LODS', 'AL Xb', 'rep r:d',          emit(lods)),
  row('AD', 'LODS', 'rAX Xv', 'rep r:d',         emit(lods)),
  row('AE', 'SCAS', 'AL Yb', 'rep r:d w:oszapc', emit(scas)),
  row('AF', 'SCAS', 'rAX Yv', 'rep r:d w:oszapc', emit(scas)),
];
