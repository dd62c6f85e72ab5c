/**
 * Writes WebAssembly modules as bytes. WebAssembly core specification, ch. 5 (binary format).
 *
 * An expression is written as nested calls: `c.add(c.get(a), c.get(b))`. JavaScript evaluates arguments before the
 * call and from left to right, which is exactly the order of a stack machine's code; so each method only appends its
 * own opcode. The values passed around are empty marks whose types let TypeScript check the code as a wasm validator
 * would. What must not be done is to keep such a mark and use it later: a value that is used twice is a local.
 */
declare const mark: unique symbol;
export type I32 = { readonly [mark]: 'i32' };
export type I64 = { readonly [mark]: 'i64' };
export type F32 = { readonly [mark]: 'f32' };
export type F64 = { readonly [mark]: 'f64' };
export type V128 = { readonly [mark]: 'v128' };
type Any = I32 | I64 | F32 | F64 | V128;
const I32 = 0 as unknown as I32, I64 = 0 as unknown as I64, F32 = 0 as unknown as F32, F64 = 0 as unknown as F64, V128 = 0 as unknown as V128;

export const i32 = 0x7f, i64 = 0x7e, f32 = 0x7d, f64 = 0x7c, v128 = 0x7b;
export type ValueType = 0x7f | 0x7e | 0x7d | 0x7c | 0x7b;
type MarkOf<T extends ValueType> = T extends 0x7f ? I32 : T extends 0x7e ? I64 : T extends 0x7d ? F32 : T extends 0x7c ? F64 : V128;

/** Arithmetic by the opcode of its 64-bit form; that of its 32-bit form is 0x12 less. */
export const OPERATIONS = { add: 0x7c, sub: 0x7d, mul: 0x7e, and: 0x83, or: 0x84, xor: 0x85, shl: 0x86, shrs: 0x87, shru: 0x88, rotl: 0x89, rotr: 0x8a } as const;
export type Operation = keyof typeof OPERATIONS;

/** A local variable of the function being written. */
export interface Local<V extends Any = Any> { readonly index: number; readonly type: ValueType; readonly '@holds'?: V }
export type L32 = Local<I32>;
export type L64 = Local<I64>;
export type LV = Local<V128>;

/** Bytes that grow. */
class Bytes {
  bytes = new Uint8Array(256);
  length = 0;
  byte(b: number): void {
    if (this.length === this.bytes.length) this.grow(1);
    this.bytes[this.length++] = b;
  }
  grow(n: number): void {
    const more = new Uint8Array(Math.max(this.bytes.length * 2, this.length + n));
    more.set(this.bytes);
    this.bytes = more;
  }
  append(other: Bytes): void {
    if (this.length + other.length > this.bytes.length) this.grow(other.length);
    this.bytes.set(other.bytes.subarray(0, other.length), this.length);
    this.length += other.length;
  }
  /** LEB128, unsigned. */
  u(n: number): void {
    for (n >>>= 0; n > 0x7f; n >>>= 7) this.byte((n & 0x7f) | 0x80);
    this.byte(n);
  }
  /** LEB128, signed 32 bits. */
  s(n: number): void {
    for (n |= 0; n > 63 || n < -64; n >>= 7) this.byte((n & 0x7f) | 0x80);
    this.byte(n & 0x7f);
  }
  /** LEB128, signed 64 bits. */
  s64(n: bigint): void {
    for (n = BigInt.asIntN(64, n); n > 63n || n < -64n; n >>= 7n) this.byte(Number(n & 0x7fn) | 0x80);
    this.byte(Number(n & 0x7fn));
  }
  name(text: string): void {
    this.u(text.length);
    for (let i = 0; i < text.length; i++) this.byte(text.charCodeAt(i));
  }
}

/** A function that can be called: imported, or defined in the same module. */
export interface Func { readonly index: number; readonly results: readonly ValueType[] }

/** The body of one function. */
export class Code extends Bytes {
  private readonly locals: ValueType[] = [];
  private readonly params: readonly ValueType[];
  private readonly free = new Map<ValueType, Local[]>();
  private lent: Set<Local> | undefined;
  /** Bytes of the declaration of locals, once finished. */
  private localsSize = 0;
  /** Nesting of blocks, for branches. */
  private depth = 0;

  constructor(params: readonly ValueType[]) {
    super();
    this.params = params;
  }

  // ---- locals
  param<T extends ValueType>(i: number, type: T): Local<MarkOf<T>> { return { index: i, type }; }
  local<T extends ValueType>(type: T): Local<MarkOf<T>> {
    const reused = this.free.get(type)?.pop();
    const l = (reused ?? { index: this.params.length + this.locals.push(type) - 1, type }) as Local<MarkOf<T>>;
    this.lent?.add(l);
    return l;
  }
  /** One that was nothing else before and will not be: it may be set in front of code that is there already. */
  ownLocal<T extends ValueType>(type: T): Local<MarkOf<T>> { return { index: this.params.length + this.locals.push(type) - 1, type }; }
  /** From now on locals that were not given back can be taken back. */
  trackLocals(): void { this.lent = new Set(); }
  /** Takes back all of them but those to keep. */
  reclaim(keep: (l: Local) => boolean): void { for (const l of this.lent ?? []) if (!keep(l)) this.release(l); }
  /** Never takes this one back. */
  keepForever(l: Local): void { this.lent?.delete(l); }
  /** Gives a local back for reuse. */
  release(l: Local): void {
    this.lent?.delete(l);
    const list = this.free.get(l.type);
    if (list) list.push(l); else this.free.set(l.type, [l]);
  }
  get<V extends Any>(l: Local<V>): V { this.byte(0x20); this.u(l.index); return I32 as V; }
  set<V extends Any>(l: Local<V>, _v: V): void { this.byte(0x21); this.u(l.index); }
  tee<V extends Any>(l: Local<V>, _v: V): V { this.byte(0x22); this.u(l.index); return I32 as V; }
  /** A new local that holds the value. */
  keep64(_v: I64): L64 { const l = this.local(i64); this.set(l, I64); return l; }
  keep32(_v: I32): L32 { const l = this.local(i32); this.set(l, I32); return l; }
  keepV(_v: V128): LV { const l = this.local(v128); this.set(l, V128); return l; }

  /** Puts what `emit` emits in front of everything emitted since the code was `at` bytes long. */
  insert(at: number, emit: () => void): void {
    const tail = this.bytes.slice(at, this.length);
    this.length = at;
    emit();
    const by = this.length - at;
    for (const h of this.hints) if (h.at >= at) h.at += by;
    for (const b of tail) this.byte(b);
  }

  // ---- control
  /** Runs `body` with branches to its end: `c.br(label)`. */
  block(body: (label: number) => void): void { this.byte(0x02); this.byte(0x40); body(++this.depth); this.depth--; this.byte(0x0b); }
  /** As block, but a branch to the label starts over. */
  loop(body: (label: number) => void): void { this.byte(0x03); this.byte(0x40); body(++this.depth); this.depth--; this.byte(0x0b); }
  get nesting(): number { return this.depth; }
  br(label: number): void { this.byte(0x0c); this.u(this.depth - label); }
  brIf(label: number, _condition: I32): void { this.byte(0x0d); this.u(this.depth - label); }
  /** The same, of a branch that is seldom taken. */
  brIfSeldom(label: number, condition: I32): void {
    this.hints.push({ at: this.length, likely: false });
    this.brIf(label, condition);
  }
  if(_condition: I32, then: () => void, otherwise?: () => void): void {
    const hint = { at: this.length, likely: false };
    const outside = this.isSeldom;
    this.byte(0x04); this.byte(0x40);
    this.depth++;
    this.isSeldom = false;
    then();
    let hinted = this.isSeldom;
    if (otherwise) {
      this.isSeldom = false;
      this.byte(0x05);
      otherwise();
      hint.likely = this.isSeldom;
      hinted ||= this.isSeldom;
    }
    if (hinted) this.hints.push(hint);
    this.isSeldom = outside;
    this.depth--;
    this.byte(0x0b);
  }
  /** Said inside an if: the way being emitted is seldom gone. */
  seldom(): void { this.isSeldom = true; }
  private isSeldom = false;
  /** Where ifs stand that are nearly always, or nearly never, true. */
  private readonly hints: { at: number; likely: boolean }[] = [];
  /** An if with a value. */
  choose<T extends ValueType>(type: T, _condition: I32, then: () => MarkOf<T>, otherwise: () => MarkOf<T>): MarkOf<T> {
    this.byte(0x04); this.byte(type);
    this.depth++;
    then();
    this.byte(0x05);
    const v = otherwise();
    this.depth--;
    this.byte(0x0b);
    return v;
  }
  /** condition ? a : b, both computed. */
  select<V extends Any>(_a: V, _b: V, _condition: I32): V { this.byte(0x1b); return I32 as V; }
  return(_v?: Any): void { this.byte(0x0f); }
  unreachable(): void { this.byte(0x00); }
  drop(_v: Any): void { this.byte(0x1a); }
  call(f: Func, ..._args: Any[]): void { this.byte(0x10); this.u(f.index); }
  call32(f: Func, ..._args: Any[]): I32 { this.byte(0x10); this.u(f.index); return I32; }
  call64(f: Func, ..._args: Any[]): I64 { this.byte(0x10); this.u(f.index); return I64; }
  /** Through table 0; arguments first, then the index. */
  callIndirect32(type: number, ..._args: Any[]): I32 { this.byte(0x11); this.u(type); this.u(0); return I32; }

  // ---- memory
  private memory(opcode: number, offset: number): void { this.byte(opcode); this.u(0); this.u(offset); }
  load32(_a: I32, offset = 0): I32 { this.memory(0x28, offset); return I32; }
  load64(_a: I32, offset = 0): I64 { this.memory(0x29, offset); return I64; }
  load32_8u(_a: I32, offset = 0): I32 { this.memory(0x2d, offset); return I32; }
  load32_16u(_a: I32, offset = 0): I32 { this.memory(0x2f, offset); return I32; }
  /** Zero-extended load of 1, 2, 4 or 8 bytes. */
  loadSized(size: number, _a: I32, offset = 0): I64 { this.memory(size === 1 ? 0x31 : size === 2 ? 0x33 : size === 4 ? 0x35 : 0x29, offset); return I64; }
  store32(_a: I32, _v: I32, offset = 0): void { this.memory(0x36, offset); }
  store32_8(_a: I32, _v: I32, offset = 0): void { this.memory(0x3a, offset); }
  store64(_a: I32, _v: I64, offset = 0): void { this.memory(0x37, offset); }
  storeSized(size: number, _a: I32, _v: I64, offset = 0): void { this.memory(size === 1 ? 0x3c : size === 2 ? 0x3d : size === 4 ? 0x3e : 0x37, offset); }
  memoryCopy(_to: I32, _from: I32, _n: I32): void { this.byte(0xfc); this.u(10); this.byte(0); this.byte(0); }
  memoryFill(_to: I32, _value: I32, _n: I32): void { this.byte(0xfc); this.u(11); this.byte(0); }
  loadV(_a: I32, offset = 0): V128 { this.v(0x00); this.u(0); this.u(offset); return V128; }
  /** The narrower loads of the 0xfd group, by opcode. */
  opLoadV(opcode: number, _a: I32, offset = 0): V128 { this.v(opcode); this.u(0); this.u(offset); return V128; }
  storeV(_a: I32, _v: V128, offset = 0): void { this.v(0x0b); this.u(0); this.u(offset); }

  // ---- i32
  const32(n: number): I32 { this.byte(0x41); this.s(n); return I32; }
  private op32(opcode: number): I32 { this.byte(opcode); return I32; }
  eqz32(_a: I32): I32 { return this.op32(0x45); }
  eq32(_a: I32, _b: I32): I32 { return this.op32(0x46); }
  ne32(_a: I32, _b: I32): I32 { return this.op32(0x47); }
  lts32(_a: I32, _b: I32): I32 { return this.op32(0x48); }
  ltu32(_a: I32, _b: I32): I32 { return this.op32(0x49); }
  gts32(_a: I32, _b: I32): I32 { return this.op32(0x4a); }
  gtu32(_a: I32, _b: I32): I32 { return this.op32(0x4b); }
  les32(_a: I32, _b: I32): I32 { return this.op32(0x4c); }
  geu32(_a: I32, _b: I32): I32 { return this.op32(0x4f); }
  add32(_a: I32, _b: I32): I32 { return this.op32(0x6a); }
  sub32(_a: I32, _b: I32): I32 { return this.op32(0x6b); }
  mul32(_a: I32, _b: I32): I32 { return this.op32(0x6c); }
  and32(_a: I32, _b: I32): I32 { return this.op32(0x71); }
  or32(_a: I32, _b: I32): I32 { return this.op32(0x72); }
  xor32(_a: I32, _b: I32): I32 { return this.op32(0x73); }
  shl32(_a: I32, _n: I32): I32 { return this.op32(0x74); }
  shru32(_a: I32, _n: I32): I32 { return this.op32(0x76); }
  wrap(_a: I64): I32 { return this.op32(0xa7); }
  /** Sign extension from 1, 2 or 4 bytes. */
  extend32(size: number, _a: I32): I32 {
    if (size < 4) this.byte(size === 1 ? 0xc0 : 0xc1);
    return I32;
  }

  // ---- i64
  const(n: bigint | number): I64 { this.byte(0x42); this.s64(BigInt(n)); return I64; }
  private op64(opcode: number): I64 { this.byte(opcode); return I64; }
  calc(op: Operation, _a: I64, _b: I64): I64 { return this.op64(OPERATIONS[op]); }
  calc32(op: Operation, _a: I32, _b: I32): I32 { return this.op32(OPERATIONS[op] - 0x12); }
  eqz(_a: I64): I32 { return this.op32(0x50); }
  eq(_a: I64, _b: I64): I32 { return this.op32(0x51); }
  ne(_a: I64, _b: I64): I32 { return this.op32(0x52); }
  lts(_a: I64, _b: I64): I32 { return this.op32(0x53); }
  ltu(_a: I64, _b: I64): I32 { return this.op32(0x54); }
  gts(_a: I64, _b: I64): I32 { return this.op32(0x55); }
  gtu(_a: I64, _b: I64): I32 { return this.op32(0x56); }
  geu(_a: I64, _b: I64): I32 { return this.op32(0x5a); }
  clz(_a: I64): I64 { return this.op64(0x79); }
  ctz(_a: I64): I64 { return this.op64(0x7a); }
  popcnt(_a: I64): I64 { return this.op64(0x7b); }
  add(_a: I64, _b: I64): I64 { return this.op64(0x7c); }
  sub(_a: I64, _b: I64): I64 { return this.op64(0x7d); }
  mul(_a: I64, _b: I64): I64 { return this.op64(0x7e); }
  divs(_a: I64, _b: I64): I64 { return this.op64(0x7f); }
  divu(_a: I64, _b: I64): I64 { return this.op64(0x80); }
  rems(_a: I64, _b: I64): I64 { return this.op64(0x81); }
  remu(_a: I64, _b: I64): I64 { return this.op64(0x82); }
  and(_a: I64, _b: I64): I64 { return this.op64(0x83); }
  or(_a: I64, _b: I64): I64 { return this.op64(0x84); }
  xor(_a: I64, _b: I64): I64 { return this.op64(0x85); }
  shl(_a: I64, _n: I64): I64 { return this.op64(0x86); }
  shrs(_a: I64, _n: I64): I64 { return this.op64(0x87); }
  shru(_a: I64, _n: I64): I64 { return this.op64(0x88); }
  rotl(_a: I64, _n: I64): I64 { return this.op64(0x89); }
  rotr(_a: I64, _n: I64): I64 { return this.op64(0x8a); }
  extends(_a: I32): I64 { return this.op64(0xac); }
  extendu(_a: I32): I64 { return this.op64(0xad); }
  /** Sign extension from 1, 2, 4 or 8 bytes. */
  extend(size: number, _a: I64): I64 {
    if (size < 8) this.byte(size === 1 ? 0xc2 : size === 2 ? 0xc3 : 0xc4);
    return I64;
  }

  // ---- floating point, by opcode (WebAssembly names in sse tables)
  constF64(n: number): F64 {
    this.byte(0x44);
    for (const b of new Uint8Array(new Float64Array([n]).buffer)) this.byte(b);
    return F64;
  }
  constF32(n: number): F32 {
    this.byte(0x43);
    for (const b of new Uint8Array(new Float32Array([n]).buffer)) this.byte(b);
    return F32;
  }
  opF64(opcode: number, ..._args: Any[]): F64 { this.byte(opcode); return F64; }
  opF32(opcode: number, ..._args: Any[]): F32 { this.byte(opcode); return F32; }
  testF(opcode: number, ..._args: Any[]): I32 { return this.op32(opcode); }
  op64From(opcode: number, ..._args: Any[]): I64 { return this.op64(opcode); }
  op32From(opcode: number, ..._args: Any[]): I32 { return this.op32(opcode); }
  /** The 0xfc group: saturating truncations. */
  saturate64(opcode: number, _a: Any): I64 { this.byte(0xfc); this.u(opcode); return I64; }

  // ---- v128
  private v(opcode: number): void { this.byte(0xfd); this.u(opcode); }
  opV(opcode: number, ..._args: Any[]): V128 { this.v(opcode); return V128; }
  opV32(opcode: number, ..._args: Any[]): I32 { this.v(opcode); return I32; }
  constV(low: bigint, high: bigint): V128 {
    this.v(0x0c);
    for (let i = 0n; i < 64n; i += 8n) this.byte(Number((low >> i) & 0xffn));
    for (let i = 0n; i < 64n; i += 8n) this.byte(Number((high >> i) & 0xffn));
    return V128;
  }
  shuffleV(lanes: ArrayLike<number>, _a: V128, _b: V128): V128 {
    this.v(0x0d);
    for (let i = 0; i < 16; i++) this.byte(lanes[i]!);
    return V128;
  }
  lane64(lane: number, _a: V128): I64 { this.v(0x1d); this.byte(lane); return I64; }
  /** Lane operations by opcode. */
  opLane32(opcode: number, lane: number, _a: V128): I32 { this.v(opcode); this.byte(lane); return I32; }
  opLaneF64(opcode: number, lane: number, _a: V128): F64 { this.v(opcode); this.byte(lane); return F64; }
  opLaneF32(opcode: number, lane: number, _a: V128): F32 { this.v(opcode); this.byte(lane); return F32; }
  opReplace(opcode: number, lane: number, _a: V128, _v: Any): V128 { this.v(opcode); this.byte(lane); return V128; }
  replace64(lane: number, _a: V128, _v: I64): V128 { this.v(0x1e); this.byte(lane); return V128; }

  get isHinted(): boolean { return this.hints.length > 0; }
  /** The entry of the custom section metadata.code.branch_hint (the branch hinting proposal); after finish(). */
  branchHints(index: number, into: Bytes): void {
    into.u(index);
    into.u(this.hints.length);
    for (const { at, likely } of this.hints.sort((a, b) => a.at - b.at)) {
      into.u(at + this.localsSize);
      into.u(1);
      into.byte(likely ? 1 : 0);
    }
  }

  /** The entry of the code section: size, locals, code. */
  finish(into: Bytes): void {
    const head = new Bytes();
    head.u(this.locals.length);
    for (const type of this.locals) { head.u(1); head.byte(type); }
    this.localsSize = head.length;
    into.u(head.length + this.length + 1);
    into.append(head);
    into.append(this);
    into.byte(0x0b);
  }
}

/** A module that imports one memory, a table of functions if it wants one, and what else it names, from the module name `e`. */
export class WasmModule {
  private readonly types: string[] = [];
  private readonly imports = new Bytes();
  private importCount = 0;
  private functionImports = 0;
  private readonly functions: { type: number; code: Code; name: string | undefined }[] = [];

  constructor(memoryPages: number, table = false) {
    this.imports.name('e'); this.imports.name('memory');
    this.imports.byte(2); this.imports.byte(1); this.imports.u(memoryPages); this.imports.u(memoryPages);
    this.importCount = 1;
    if (!table) return;
    this.imports.name('e'); this.imports.name('table');
    this.imports.byte(1); this.imports.byte(0x70); this.imports.byte(0); this.imports.u(1);
    this.importCount++;
  }

  type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params.join(',')}:${results.join(',')}`;
    const known = this.types.indexOf(key);
    return known >= 0 ? known : this.types.push(key) - 1;
  }
  /** Numbers imports in the order they are asked for. A function defined here that is called by another needs all imports made before it. */
  importFunction(name: string, params: readonly ValueType[], results: readonly ValueType[]): Func {
    this.imports.name('e'); this.imports.name(name);
    this.imports.byte(0); this.imports.u(this.type(params, results));
    this.importCount++;
    return { index: this.functionImports++, results };
  }
  function(name: string | undefined, params: readonly ValueType[], results: readonly ValueType[], body: (c: Code) => void): Func {
    const code = new Code(params);
    const entry = { type: this.type(params, results), code, name };
    const index = this.functionImports + this.functions.push(entry) - 1;
    body(code);
    return { index, results };
  }
  get size(): number { return this.functions.length; }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    for (const b of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(b);
    const section = (id: number, count: number, write: (s: Bytes) => void, name?: string) => {
      const s = new Bytes();
      if (name !== undefined) s.name(name);
      s.u(count);
      write(s);
      out.byte(id); out.u(s.length); out.append(s);
    };
    section(1, this.types.length, (s) => {
      for (const key of this.types) {
        s.byte(0x60);
        for (const list of key.split(':')) {
          const types = list === '' ? [] : list.split(',').map(Number);
          s.u(types.length);
          for (const t of types) s.byte(t);
        }
      }
    });
    section(2, this.importCount, (s) => s.append(this.imports));
    section(3, this.functions.length, (s) => { for (const f of this.functions) s.u(f.type); });
    const exported = this.functions.map((f, i) => ({ name: f.name, index: this.functionImports + i })).filter((f) => f.name !== undefined);
    section(7, exported.length, (s) => { for (const f of exported) { s.name(f.name!); s.byte(0); s.u(f.index); } });
    const code = new Bytes();
    for (const f of this.functions) f.code.finish(code);
    const hinted = this.functions.map((f, i) => ({ index: this.functionImports + i, code: f.code })).filter((f) => f.code.isHinted);
    if (hinted.length > 0) section(0, hinted.length, (s) => hinted.forEach((f) => f.code.branchHints(f.index, s)), 'metadata.code.branch_hint');
    section(10, this.functions.length, (s) => s.append(code));
    return out.bytes.slice(0, out.length);
  }
}
