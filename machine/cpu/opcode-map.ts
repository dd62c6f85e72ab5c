/**
 * The rows of the opcode tables, sorted for the decoder: by opcode map and opcode byte, what needs a prefix or a
 * ModRM byte of its own before what does not. SDM Vol. 2 app. A.
 */
import { type Operand, parseOperand } from '../engine/operand.ts';
import type { Row } from './opcode-row.ts';

export const MAP_ONE = 0, MAP_0F = 1, MAP_0F38 = 2, MAP_0F3A = 3;
const MAPS: Readonly<Record<string, number>> = { '0F': MAP_0F, '0F38': MAP_0F38, '0F3A': MAP_0F3A };

/** A row as the decoder tests it against an instruction; -1 means that anything will do. */
export interface Candidate {
  readonly row: Row;
  /** Mandatory prefix: 0x66, 0xf3, 0xf2, 0 for none of them. */
  readonly prefix: number;
  readonly digit: number;
  readonly form: '' | 'm' | 'r';
  readonly modrm: boolean;
  /** An operand that can only be memory, or only a register; MOV CR and DR take any mod for a register. */
  readonly memoryOnly: boolean;
  readonly registerOnly: boolean;
  readonly ignoresMod: boolean;
  /** Operands use VEX.vvvv. */
  readonly usesVvvv: boolean;
  readonly modrmByte: number;
  readonly vexL: number;
  readonly vexW: number;
  readonly invalid64: boolean;
  readonly only64: boolean;
  readonly default64: boolean;
  readonly force64: boolean;
  readonly lockable: boolean;
  /** REX.B makes it another instruction: NOP is not XCHG R8, RAX. */
  readonly noRexB: boolean;
  /** A mandatory 66 that also says the operand size. */
  readonly operandPrefix: boolean;
  /** The operand in the low bits of the opcode byte. */
  readonly opcodeRegister: boolean;
  readonly operands: readonly Operand[];
  /** Kinds that take bytes after ModRM. */
  readonly immediates: readonly Operand[];
  /** Memory at DS:rSI without ModRM. */
  readonly source: boolean;
}

/** One opcode map. Rows are prepared when their opcode byte is first asked for: most never are. */
export class OpcodeMap {
  private readonly rows: Row[][] = [];
  private readonly ready: Candidate[][] = [];

  add(byte: number, row: Row): void {
    const list = this.rows[byte];
    if (list) list.push(row); else this.rows[byte] = [row];
  }
  /** Those whose demands are strictest come first. */
  candidates(byte: number): readonly Candidate[] {
    return this.ready[byte] ??= (this.rows[byte] ?? []).map(parse).sort((a, b) => strictness(b) - strictness(a));
  }
}
/** Legacy maps 0 to 3, VEX maps 0 to 3. */
export interface OpcodeMaps { readonly legacy: readonly OpcodeMap[]; readonly vex: readonly OpcodeMap[] }

const usesModrm = (o: Operand): boolean => 'EGMRSCDVWUPQN'.includes(o.kind);
const hex = (s: string): number => {
  const n = Number.parseInt(s, 16);
  if (!/^[0-9A-F]{2}$/.test(s)) throw new Error(`opcode byte "${s}"`);
  return n;
};

/** The opcode column's first words: prefixes, map and byte, and what is left. */
function place(row: Row): { vex: readonly string[] | undefined; prefix: number; map: number; byte: number; plus: boolean; rest: readonly string[] } {
  const words = row.opcode.split(' ');
  let vex: readonly string[] | undefined;
  let prefix = -1, map = MAP_ONE;
  if (words[0]!.startsWith('VEX')) {
    vex = words.shift()!.split('.');
    prefix = vex[2] === 'NP' ? 0 : hex(vex[2]!);
    map = MAPS[vex[3]!]!;
  } else {
    if (words[0] === 'NP') { prefix = 0; words.shift(); }
    else if (['66', 'F3', 'F2'].includes(words[0]!) && words.length > 1) prefix = hex(words.shift()!);
    if (words[0]! in MAPS && words.length > 1) map = MAPS[words.shift()!]!;
  }
  return { vex, prefix, map, byte: hex(words[0]!.slice(0, 2)), plus: words[0]!.endsWith('+r'), rest: words.slice(1) };
}

function parse(row: Row): Candidate {
  const { vex, prefix, plus, rest } = place(row);
  const vexL = vex === undefined || vex[1] === 'LIG' ? -1 : vex[1] === '256' ? 1 : 0;
  const vexW = vex?.[4] === 'W0' ? 0 : vex?.[4] === 'W1' ? 1 : -1;
  let digit = -1, form: '' | 'm' | 'r' = '', modrmByte = -1;
  for (const word of rest) {
    if (word.startsWith('/')) digit = word === '/r' ? -1 : Number(word[1]);
    else if (word === 'm' || word === 'r') form = word;
    else modrmByte = hex(word);
  }
  const operands = row.operands.map(parseOperand);
  const { attributes } = row;
  const has = (name: string) => attributes.has(name);
  const ignoresMod = operands.some((o) => o.kind === 'C' || o.kind === 'D');
  return {
    row, prefix, digit, form, modrmByte, vexL, vexW, operands,
    modrm: digit >= 0 || form !== '' || modrmByte >= 0 || operands.some(usesModrm),
    invalid64: has('i64'), only64: has('o64'), default64: has('d64'), force64: has('f64'), lockable: has('lock'),
    noRexB: has('rexb0'), operandPrefix: has('o16'),
    opcodeRegister: plus, ignoresMod,
    memoryOnly: form === 'm' || form === '' && operands.some((o) => o.kind === 'M'),
    registerOnly: form === 'r' || form === '' && !ignoresMod && operands.some((o) => 'RUN'.includes(o.kind)),
    usesVvvv: operands.some((o) => o.kind === 'B' || o.kind === 'H'),
    immediates: operands.filter((o) => 'IJOA'.includes(o.kind)),
    source: operands.some((o) => o.kind === 'X'),
  };
}

const strictness = (c: Candidate): number => (c.prefix >= 0 ? 4 : 0) + (c.modrmByte >= 0 ? 2 : 0) + (c.digit >= 0 || c.form !== '' || c.noRexB ? 1 : 0);

export function buildMaps(rows: readonly Row[]): OpcodeMaps {
  const four = () => Array.from({ length: 4 }, () => new OpcodeMap());
  const maps = { legacy: four(), vex: four() };
  for (const row of rows) {
    const { vex, map, byte, plus } = place(row);
    for (let i = 0; i < (plus ? 8 : 1); i++) (vex ? maps.vex : maps.legacy)[map]!.add(byte + i, row);
  }
  return maps;
}
