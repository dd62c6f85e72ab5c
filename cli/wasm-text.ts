/**
 * The last function of a WebAssembly module as text, one instruction a line, in the names of the core specification (ch. 5.4 and
 * 6.5). Takes what machine/engine/wasm-emitter.ts writes: functions of one code section whose blocks have no results but an if's.
 */

const COMPARE = 'eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u', FLOAT_COMPARE = 'eq ne lt gt le ge';
const INTEGER = 'clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr';
const FLOAT = 'abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign';
const of = (type: string, names: string): string[] => names.split(' ').map((n) => `${type}.${n}`);
/** From opcode 0x45. */
const NUMERIC = [
  ...of('i32', COMPARE), ...of('i64', COMPARE), ...of('f32', FLOAT_COMPARE), ...of('f64', FLOAT_COMPARE),
  ...of('i32', INTEGER), ...of('i64', INTEGER), ...of('f32', FLOAT), ...of('f64', FLOAT),
  ...of('i32', 'wrap_i64 trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'),
  ...of('i64', 'extend_i32_s extend_i32_u trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'),
  ...of('f32', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64'),
  ...of('f64', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32'),
  'i32.reinterpret_f32', 'i64.reinterpret_f64', 'f32.reinterpret_i32', 'f64.reinterpret_i64',
  'i32.extend8_s', 'i32.extend16_s', 'i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s',
];
/** From opcode 0x28. */
const MEMORY = [
  ...of('i32', 'load'), ...of('i64', 'load'), ...of('f32', 'load'), ...of('f64', 'load'), ...of('i32', 'load8_s load8_u load16_s load16_u'),
  ...of('i64', 'load8_s load8_u load16_s load16_u load32_s load32_u'), ...of('i32', 'store'), ...of('i64', 'store'), ...of('f32', 'store'), ...of('f64', 'store'),
  ...of('i32', 'store8 store16'), ...of('i64', 'store8 store16 store32'),
];
const TYPES: Readonly<Record<number, string>> = { 0x7f: 'i32', 0x7e: 'i64', 0x7d: 'f32', 0x7c: 'f64', 0x7b: 'v128', 0x40: '' };
const NAMED: Readonly<Record<number, string>> = { 0x00: 'unreachable', 0x01: 'nop', 0x0f: 'return', 0x1a: 'drop', 0x1b: 'select' };

class Reader {
  readonly bytes: Uint8Array;
  at: number;
  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }
  byte(): number { return this.bytes[this.at++]!; }
  unsigned(): number {
    let n = 0;
    for (let shift = 0; ; shift += 7) {
      const b = this.byte();
      n += (b & 0x7f) * 2 ** shift;
      if (b < 0x80) return n;
    }
  }
  signed(bits: number): bigint {
    let n = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = this.byte();
      n |= BigInt(b & 0x7f) << shift;
      if (b < 0x80) return BigInt.asIntN(bits, b & 0x40 ? n | -1n << (shift + 7n) : n);
    }
  }
  name(): string {
    const n = this.unsigned();
    this.at += n;
    return Buffer.from(this.bytes.subarray(this.at - n, this.at)).toString('latin1');
  }
}

/** Names of the imported functions, and where the code section's entries begin. */
function sections(r: Reader): { imports: string[]; code: number } {
  const imports: string[] = [];
  while (r.at < r.bytes.length) {
    const id = r.byte(), size = r.unsigned(), end = r.at + size;
    if (id === 10) return { imports, code: r.at };
    if (id === 2) {
      for (let n = r.unsigned(); n > 0; n--) {
        r.name();
        const name = r.name();
        const kind = r.byte();
        if (kind === 0) { r.unsigned(); imports.push(name); }
        else if (kind === 1) { r.byte(); if (r.byte()) r.unsigned(); r.unsigned(); }
        else if (r.byte()) { r.unsigned(); r.unsigned(); } else r.unsigned();
      }
    }
    r.at = end;
  }
  throw new Error('the module has no code');
}

/** Each instruction with its offset behind the declaration of locals. */
export function wasmText(module: Uint8Array): { readonly at: number; readonly text: string }[] {
  const r = new Reader(module, 8);
  const { imports, code } = sections(r);
  r.at = code;
  let end = 0;
  for (let n = r.unsigned(); n > 0; n--) {
    if (end > 0) r.at = end;
    const size = r.unsigned();
    end = r.at + size;
  }
  for (let n = r.unsigned(); n > 0; n--) { r.unsigned(); r.byte(); }
  const body = r.at;
  const lines: { at: number; text: string }[] = [];
  for (let depth = 0; r.at < end;) {
    const at = r.at - body, opcode = r.byte();
    if (opcode === 0x0b || opcode === 0x05) depth--;
    if (depth < 0) break;
    lines.push({ at, text: '  '.repeat(depth) + instruction(r, opcode, imports) });
    if (opcode >= 0x02 && opcode <= 0x05) depth++;
  }
  return lines;
}

function instruction(r: Reader, opcode: number, imports: readonly string[]): string {
  const memory = (name: string): string => {
    r.unsigned();
    const offset = r.unsigned();
    return offset === 0 ? name : `${name} offset=${offset}`;
  };
  if (NAMED[opcode] !== undefined) return NAMED[opcode];
  if (opcode >= 0x45 && opcode <= 0xc4) return NUMERIC[opcode - 0x45]!;
  if (opcode >= 0x28 && opcode <= 0x3e) return memory(MEMORY[opcode - 0x28]!);
  switch (opcode) {
    case 0x02: case 0x03: case 0x04: {
      const type = TYPES[r.byte()]!;
      return `${['block', 'loop', 'if'][opcode - 2]}${type === '' ? '' : ` (result ${type})`}`;
    }
    case 0x05: return 'else';
    case 0x0b: return 'end';
    case 0x0c: return `br ${r.unsigned()}`;
    case 0x0d: return `br_if ${r.unsigned()}`;
    case 0x10: { const f = r.unsigned(); return `call ${imports[f] ?? f}`; }
    case 0x11: { const type = r.unsigned(); r.unsigned(); return `call_indirect ${type}`; }
    case 0x20: return `local.get ${r.unsigned()}`;
    case 0x21: return `local.set ${r.unsigned()}`;
    case 0x22: return `local.tee ${r.unsigned()}`;
    case 0x41: return `i32.const ${r.signed(32)}`;
    case 0x42: { const n = r.signed(64); return `i64.const ${n > 9n ? `0x${n.toString(16)}` : n}`; }
    case 0x44: r.at += 8; return `f64.const ${new DataView(r.bytes.buffer, r.bytes.byteOffset + r.at - 8).getFloat64(0, true)}`;
    case 0xfc: {
      const n = r.unsigned();
      if (n >= 10) r.at += n === 10 ? 2 : 1;
      return n === 10 ? 'memory.copy' : n === 11 ? 'memory.fill' : `trunc_sat ${n}`;
    }
    case 0xfd: {
      const n = r.unsigned();
      if (n === 0 || n === 0x0b) return memory(n === 0 ? 'v128.load' : 'v128.store');
      if (n <= 0x0a || n === 0x5c || n === 0x5d) return memory(`v128.load(${n})`);
      if (n === 0x0c || n === 0x0d) { r.at += 16; return n === 0x0c ? 'v128.const' : 'i8x16.shuffle'; }
      return n >= 0x15 && n <= 0x22 ? `lane(${n}) ${r.byte()}` : `simd(0x${n.toString(16)})`;
    }
    default: throw new Error(`WebAssembly opcode 0x${opcode.toString(16)} is not known here`);
  }
}
