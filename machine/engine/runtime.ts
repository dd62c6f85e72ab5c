/**
 * The functions emitted code can call, and the module that holds those of them that are WebAssembly themselves: the
 * inner loop, jumps through the jump cache, segment checks, wide multiplication.
 */
import { CS, MODE_64, MODE_LONG, MODE_PROTECTED, MODE_SIZE, SEGMENT_SIZE, SEG_UNUSABLE, STATE, TYPE_CODE, TYPE_EXPAND_DOWN, TYPE_WRITABLE } from '../cpu/state.ts';
import { LAZY_DEFERRED, LAZY_SIZE_SHIFT, LAZY_SUB } from './hot-flags.ts';
import { ENGINE } from './layout.ts';
import { emitInterrupt, emitReturn } from './transfers-emitter.ts';
import { ACCESS_WRITE, REC_HANDLER, REC_START } from './record.ts';
import { JUMP_ENTRIES, JUMP_ENTRY_SHIFT } from './tlb.ts';
import { FILL, LOOK, LOOK_SPAN, type MemoryLayout, fillFunctions } from './walker.ts';
import { type Code, type Func, type I32, type I64, type L32, type L64, type ValueType, WasmModule, i32, i64 } from './wasm-emitter.ts';
import { X87_FUNCTIONS } from './x87-emitter.ts';

/** What TypeScript provides. Host addresses and records are i32; 0 means that the instruction must leave. */
const HOST_IMPORTS = {
  /** (cpu, record, access) The slow path of an access to access_address: host address to use. */
  hostAccess: [[i32, i32, i32], [i32]],
  /** (cpu) Carries out the write that lies in the window. */
  commit: [[i32], []],
  /** (cpu, vector) */
  raise: [[i32, i32], []],
  /** (cpu, segment offset, access) A segment check of the offset in access_address failed, or did it: 1 when it is fine after all. */
  segmentSlow: [[i32, i32, i32], [i32]],
  /** (cpu) Record of the code at RIP access_address. */
  lookup: [[i32], [i32]],
  /** (cpu, record) Links a direct jump inside its page: record of the target. */
  link: [[i32, i32], [i32]],
  /** (cpu, record) Runs an exec row; 0 when it faulted. */
  execute: [[i32, i32], [i32]],
  /** (cpu, record) The same of a row whose transfers are remembered. */
  transfer: [[i32, i32], [i32]],
  /** (cpu, record) A block has been entered often enough to be worth a region. */
  heat: [[i32, i32], []],
  /** (cpu, signed) DIV and IDIV of RDX:RAX by access_address; 0 when it raised #DE. */
  divide: [[i32, i32], [i32]],
  /** (cpu, function) Computes a SIMD instruction whose operands lie in the state; 0 when it must raise an exception. */
  simd: [[i32, i32], [i32]],
} as const satisfies Record<string, readonly [readonly ValueType[], readonly ValueType[]]>;
export type HostImports = { [K in keyof typeof HOST_IMPORTS]: (...args: number[]) => number | void };

const WASM_IMPORTS = {
  /** (cpu, record, linear, access) */
  access: [[i32, i32, i64, i32], [i32]],
  /** (cpu, offset, segment offset, access) Linear address, or -1. */
  segment: [[i32, i64, i32, i32], [i64]],
  /** (cpu, segment offset, write) The last offset of a segment that may be accessed, -1 for none. */
  reach: [[i32, i32, i32], [i64]],
  /** (cpu, rip) Record of the code there. */
  jumpTo: [[i32, i64], [i32]],
  /** (cpu, record, handler) Calls a handler. Modules do not import the table themselves: V8 keeps a copy of it for each that does. */
  handle: [[i32, i32, i32], [i32]],
  /** (cpu, record) INT n and IRET as they were made before: 1, or 0 when the exec row must run. */
  interrupt: [[i32, i32], [i32]],
  return32: [[i32, i32], [i32]],
  return64: [[i32, i32], [i32]],
  /** (cpu, linear, access, spare) A TLB miss: host address, or 0 (walker.ts). */
  fill: FILL,
  /** The same for a region, which has not found the page in its slot. */
  look: LOOK,
  /** For one that has not found it in the TLB. */
  miss: LOOK,
  lookSpan: LOOK_SPAN,
  /** (cpu, lazy, a, b, r) Makes the three words of the flags a region left lazy. */
  materialize: [[i32, i32, i64, i64, i64], []],
  /** (a, b) High half of the unsigned product. */
  mulHigh: [[i64, i64], [i64]],
} as const satisfies Record<string, readonly [readonly ValueType[], readonly ValueType[]]>;

export type Runtime = { readonly [K in keyof typeof HOST_IMPORTS | keyof typeof WASM_IMPORTS]: Func } & {
  /** One of X87_FUNCTIONS, which have a module of their own. */
  x87(name: string): Func;
};

/** A module's imports of the runtime: a function is imported when it is first asked for. `needsX87` is told when one of the x87's is. */
class ImportedRuntime {
  private readonly module: WasmModule;
  private readonly imported = new Map<string, Func>();
  private readonly needsX87: () => void;
  constructor(module: WasmModule, needsX87: () => void) {
    this.module = module;
    this.needsX87 = needsX87;
  }
  import(name: string, params: readonly ValueType[], results: readonly ValueType[]): Func {
    let f = this.imported.get(name);
    if (!f) this.imported.set(name, f = this.module.importFunction(name, params, results));
    return f;
  }
  x87(name: string): Func {
    this.needsX87();
    return this.import(name, ...X87_FUNCTIONS[name]!);
  }
}
for (const [name, [params, results]] of Object.entries({ ...HOST_IMPORTS, ...WASM_IMPORTS })) {
  Object.defineProperty(ImportedRuntime.prototype, name, { get(this: ImportedRuntime) { return this.import(name, params, results); } });
}

/** Lets a module call the runtime. */
export const importRuntime = (module: WasmModule, needsX87: () => void): Runtime => new ImportedRuntime(module, needsX87) as unknown as Runtime;

export const HANDLER_PARAMS: readonly ValueType[] = [i32, i32];
export const HANDLER_RESULTS: readonly ValueType[] = [i32];

/** The module behind WASM_IMPORTS, and `run`. */
export function runtimeModule(layout: MemoryLayout): Uint8Array<ArrayBuffer> {
  const module = new WasmModule(layout.pages, true);
  const host = Object.fromEntries(Object.entries(HOST_IMPORTS).map(([name, [params, results]]) => [name, module.importFunction(name, params, results)])) as Record<keyof typeof HOST_IMPORTS, Func>;
  const handler = module.type(HANDLER_PARAMS, HANDLER_RESULTS);
  // Exported again, so that only this module has a way out to TypeScript: a WebAssembly import costs the handlers' modules less.
  for (const [name, [params, results]] of Object.entries(HOST_IMPORTS)) {
    module.function(name, params, results, (c) => c.call(host[name as keyof typeof HOST_IMPORTS], ...params.map((type, i) => c.get(c.param(i, type)))));
  }

  const fill = fillFunctions(module, layout);
  const jumpTo = module.function('jumpTo', WASM_IMPORTS.jumpTo[0], WASM_IMPORTS.jumpTo[1], (c) => jumpThroughCache(c, host.lookup));
  // (cpu) Runs from RIP until the budget is used up or a handler leaves, and stores RIP.
  module.function('run', [i32], [], (c) => {
    const cpu = c.param(0, i32);
    const record = c.local(i32), t = c.local(i32);
    c.store32(c.get(cpu), c.const32(0), ENGINE.boundary);
    c.block((left) => {
      c.brIf(left, c.eqz32(c.tee(record, c.call32(jumpTo, c.get(cpu), c.load64(c.get(cpu), STATE.rip)))));
      c.loop((again) => {
        c.brIf(left, c.les32(c.tee(t, c.load32(c.get(cpu), STATE.budget)), c.const32(0)));
        c.store32(c.get(cpu), c.sub32(c.get(t), c.const32(1)), STATE.budget);
        c.if(c.tee(t, c.callIndirect32(handler, c.get(cpu), c.get(record), c.load32(c.get(record), REC_HANDLER))), () => {
          c.set(record, c.get(t));
          c.br(again);
        });
      });
    });
    c.if(c.eqz32(c.load32(c.get(cpu), ENGINE.boundary)), () => {
      const rip = c.keep64(c.add(c.load64(c.get(cpu), ENGINE.rip_page), pageOffset(c, record)));
      c.store64(c.get(cpu), c.select(c.get(rip), c.and(c.get(rip), c.const(0xffff_ffff)), isMode64(c, cpu)), STATE.rip);
    });
  });

  module.function('access', WASM_IMPORTS.access[0], WASM_IMPORTS.access[1], (c) => {
    const cpu = c.param(0, i32);
    const linear = c.param(2, i64), access = c.param(3, i32), at = c.local(i32);
    c.if(c.tee(at, c.call32(fill, c.get(cpu), c.get(linear), c.get(access), c.const32(0x7fff_ffff))), () => c.return(c.get(at)));
    c.store64(c.get(cpu), c.get(linear), ENGINE.access_address);
    c.call32(host.hostAccess, c.get(cpu), c.get(c.param(1, i32)), c.get(access));
  });

  module.function('handle', WASM_IMPORTS.handle[0], WASM_IMPORTS.handle[1], (c) => {
    c.callIndirect32(handler, c.get(c.param(0, i32)), c.get(c.param(1, i32)), c.get(c.param(2, i32)));
  });
  module.function('reach', WASM_IMPORTS.reach[0], WASM_IMPORTS.reach[1], (c) => segmentReach(c));
  module.function('segment', WASM_IMPORTS.segment[0], WASM_IMPORTS.segment[1], (c) => segmentCheck(c, host.segmentSlow));
  const inLongMode = module.function(undefined, [i32, i32], [i32], (c) => emitInterrupt(c, true));
  const inProtectedMode = module.function(undefined, [i32, i32], [i32], (c) => emitInterrupt(c, false));
  module.function('interrupt', WASM_IMPORTS.interrupt[0], WASM_IMPORTS.interrupt[1], (c) => {
    const cpu = c.param(0, i32), record = c.param(1, i32);
    c.choose(i32, c.and32(c.load32(c.get(cpu), STATE.mode), c.const32(MODE_LONG)),
      () => c.call32(inLongMode, c.get(cpu), c.get(record)), () => c.call32(inProtectedMode, c.get(cpu), c.get(record)));
  });
  module.function('return32', WASM_IMPORTS.return32[0], WASM_IMPORTS.return32[1], (c) => emitReturn(c, false));
  module.function('return64', WASM_IMPORTS.return64[0], WASM_IMPORTS.return64[1], (c) => emitReturn(c, true));
  module.function('materialize', WASM_IMPORTS.materialize[0], WASM_IMPORTS.materialize[1], (c) => materializeFlags(c));
  module.function('mulHigh', WASM_IMPORTS.mulHigh[0], WASM_IMPORTS.mulHigh[1], (c) => mulHigh(c));
  return module.finish();
}

/** Usable, present, expand-up and within the limit, writable data or readable: all else is for the slow path. */
function segmentCheck(c: Code, slow: Func): void {
  const cpu = c.param(0, i32), offset = c.param(1, i64), seg = c.param(2, i32), access = c.param(3, i32);
  const s = c.keep32(c.add32(c.get(cpu), c.get(seg)));
  const rights = c.keep32(c.load32(c.get(s), 12));
  // Expand-up data: type bits 3 (code) and 2 (expand-down) clear; writable if bit 1. Present: bit 7. Unusable: bit 16.
  const want = c.keep32(c.select(c.const32(0x82), c.const32(0x80), c.and32(c.get(access), c.const32(ACCESS_WRITE))));
  const last = c.sub(c.add(c.get(offset), c.extendu(c.and32(c.get(access), c.const32(0xff)))), c.const(1));
  c.if(c.or32(
    c.gtu(last, c.extendu(c.load32(c.get(s), 8))),
    c.ne32(c.and32(c.get(rights), c.or32(c.const32(0x1008c), c.get(want))), c.get(want)),
  ), () => {
    c.store64(c.get(cpu), c.get(offset), ENGINE.access_address);
    c.if(c.eqz32(c.call32(slow, c.get(cpu), c.get(seg), c.get(access))), () => c.return(c.const(-1)));
  });
  c.and(c.add(c.get(offset), c.load64(c.get(s), 0)), c.const(0xffff_ffff));
}

/** What cpu/memory.ts checks, for regions; of an expand-down segment it gives nothing. A segment of 4 GiB has no end. */
function segmentReach(c: Code): void {
  const cpu = c.param(0, i32), seg = c.param(1, i32), write = c.param(2, i32);
  const s = c.keep32(c.add32(c.get(cpu), c.get(seg)));
  const rights = c.keep32(c.load32(c.get(s), 12)), limit = c.keep32(c.load32(c.get(s), 8));
  const has = (bits: number) => c.ne32(c.and32(c.get(rights), c.const32(bits)), c.const32(0));
  const none = (condition: I32) => c.if(condition, () => c.return(c.const(-1)));
  none(c.or32(has(SEG_UNUSABLE), c.eq32(c.and32(c.get(rights), c.const32(TYPE_CODE | TYPE_EXPAND_DOWN)), c.const32(TYPE_EXPAND_DOWN))));
  // Bit 1 of the type: data may be written, code may be read.
  c.if(c.and32(c.load32(c.get(cpu), STATE.mode), c.const32(MODE_PROTECTED)), () => {
    none(c.and32(c.eqz32(has(TYPE_WRITABLE)), c.or32(c.get(write), has(TYPE_CODE))));
    none(c.and32(has(TYPE_CODE), c.get(write)));
  });
  c.select(c.const(2 ** 33), c.extendu(c.get(limit)), c.eq32(c.get(limit), c.const32(-1)));
}

/**
 * The jump cache: per processor 4096 entries of 32 bytes by linear address: u64 linear address, u64 jump_tag, u32 record, u32
 * bytes of the block less one.
 */
export const JUMP_LINEAR = 0, JUMP_TAG = 8, JUMP_RECORD = 16, JUMP_LAST = 20;

function jumpThroughCache(c: Code, lookup: Func): void {
  const cpu = c.param(0, i32), rip = c.param(1, i64);
  const linear: L64 = c.local(i64);
  const entry: L32 = c.local(i32), record: L32 = c.local(i32);
  c.set(linear, c.choose(i64, isMode64(c, cpu),
    () => c.get(rip),
    () => c.and(c.add(c.get(rip), c.load64(c.get(cpu), STATE.seg + CS * SEGMENT_SIZE)), c.const(0xffff_ffff))));
  c.set(entry, c.add32(c.load32(c.get(cpu), ENGINE.jump_cache),
    c.shl32(c.and32(c.wrap(c.xor(c.get(linear), c.shru(c.get(linear), c.const(12)))), c.const32(JUMP_ENTRIES - 1)), c.const32(JUMP_ENTRY_SHIFT))));
  const inLimit = () => c.or32(isMode64(c, cpu), c.eqz32(c.gtu(
    c.add(c.get(rip), c.extendu(c.load32(c.get(entry), JUMP_LAST))), c.extendu(c.load32(c.get(cpu), STATE.seg + CS * SEGMENT_SIZE + 8)))));
  c.if(c.and32(c.and32(
    c.eq(c.load64(c.get(entry), JUMP_LINEAR), c.get(linear)),
    c.eq(c.load64(c.get(entry), JUMP_TAG), c.load64(c.get(cpu), ENGINE.jump_tag)),
  ), inLimit()), () => {
    c.set(record, c.load32(c.get(entry), JUMP_RECORD));
    c.store64(c.get(cpu), c.sub(c.get(rip), pageOffset(c, record)), ENGINE.rip_page);
    c.return(c.get(record));
  });
  c.store64(c.get(cpu), c.get(rip), ENGINE.access_address);
  c.call32(lookup, c.get(cpu));
}
const isMode64 = (c: Code, cpu: L32) => c.eq32(c.and32(c.load32(c.get(cpu), STATE.mode), c.const32(MODE_SIZE)), c.const32(MODE_64));
const pageOffset = (c: Code, record: L32): I64 => c.extendu(c.load32_16u(c.get(record), REC_START));

/** What FlagsEmitter's add, sub and logic store, for a kind and size known only now (hot-flags.ts). */
function materializeFlags(c: Code): void {
  const cpu = c.param(0, i32), lazy = c.param(1, i32), a = c.param(2, i64), b = c.param(3, i64), r = c.param(4, i64);
  const kind = c.keep32(c.and32(c.get(lazy), c.const32(7)));
  // 56, 48, 32 or 0: what is left of 64 bits beside the operands'.
  const rest = c.keep64(c.extendu(c.sub32(c.const32(64), c.shl32(c.const32(8), c.shru32(c.get(lazy), c.const32(LAZY_SIZE_SHIFT))))));
  c.store64(c.get(cpu), c.shrs(c.shl(c.get(r), c.get(rest)), c.get(rest)), ENGINE.flags_res);
  const arithmetic = () => c.les32(c.get(kind), c.const32(LAZY_SUB));
  const carries = c.keep64(c.xor(c.xor(c.get(a), c.get(b)), c.get(r)));
  c.store32(c.get(cpu), c.select(c.and32(c.wrap(c.get(carries)), c.const32(0x10)), c.const32(0), arithmetic()), ENGINE.flags_adjust);
  c.if(arithmetic(), () => {
    // For r = a - b the borrows are those of b + r = a.
    c.if(c.eq32(c.get(kind), c.const32(LAZY_SUB)), () => {
      c.set(carries, c.or(c.and(c.xor(c.get(a), c.const(-1)), c.get(b)), c.and(c.or(c.xor(c.get(a), c.const(-1)), c.get(b)), c.get(r))));
    }, () => c.set(carries, c.or(c.and(c.get(a), c.get(b)), c.and(c.or(c.get(a), c.get(b)), c.xor(c.get(r), c.const(-1))))));
    c.set(carries, c.shl(c.get(carries), c.get(rest)));
  }, () => c.set(carries, c.select(c.get(a), c.const(0), c.eq32(c.get(kind), c.const32(LAZY_DEFERRED)))));
  c.store64(c.get(cpu), c.get(carries), ENGINE.flags_carry);
}

function mulHigh(c: Code): void {
  const a = c.param(0, i64), b = c.param(1, i64);
  const low = (v: L64) => c.and(c.get(v), c.const(0xffff_ffff));
  const high = (v: L64) => c.shru(c.get(v), c.const(32));
  const middle = c.keep64(c.add(c.mul(high(a), low(b)), c.shru(c.mul(low(a), low(b)), c.const(32))));
  const cross = c.keep64(c.add(c.mul(low(a), high(b)), low(middle)));
  c.add(c.add(c.mul(high(a), high(b)), high(middle)), high(cross));
}
