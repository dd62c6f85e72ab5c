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
  readonly modrmByte: number;
  readonly vex: boolean;
  readonly vexL: number;
  readonly vexW: number;
  readonly invalid64: boolean;
  readonly only64: boolean;
  readonly default64: boolean;
  readonly force64: boolean;
  readonly lockable: boolean;
  readonly prefixes: boolean;
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

export type OpcodeMap = readonly (readonly Candidate[])[];
/** Legacy maps 0 to 3, VEX maps 0 to 3. */
export interface OpcodeMaps { readonly legacy: readonly OpcodeMap[]; readonly vex: readonly OpcodeMap[] }

const usesModrm = (o: Operand): boolean => 'EGMRSCDVWUPQN'.includes(o.kind);
const hex = (s: string): number => {
  const n = Number.parseInt(s, 16);
  if (!/^[0-9A-F]{2}$/.test(s)) throw new Error(`opcode byte "${s}"`);
  return n;
};

function parse(row: Row): { map: number; byte: number; candidate: Candidate } {
  const words = row.opcode.split(' ');
  let prefix = -1, map = MAP_ONE, vex = false, vexL = -1, vexW = -1;
  if (words[0]!.startsWith('VEX')) {
    vex = true;
    const [, length, p, m, w] = words.shift()!.split('.');
    vexL = length === '256' ? 1 : length === 'LIG' ? -1 : 0;
    prefix = p === 'NP' ? 0 : hex(p!);
    map = MAPS[m!]!;
    vexW = w === 'W0' ? 0 : w === 'W1' ? 1 : -1;
  } else {
    if (words[0] === 'NP') { prefix = 0; words.shift(); }
    else if (['66', 'F3', 'F2'].includes(words[0]!) && words.length > 1) prefix = hex(words.shift()!);
    if (words[0]! in MAPS && words.length > 1) map = MAPS[words.shift()!]!;
  }
  const plus = words[0]!.endsWith('+r');
  const byte = hex(words[0]!.slice(0, 2));
  let digit = -1, form: '' | 'm' | 'r' = '', modrmByte = -1;
  for (const word of words.slice(1)) {
    if (word.startsWith('/')) digit = word === '/r' ? -1 : Number(word[1]);
    else if (word === 'm' || word === 'r') form = word;
    else modrmByte = hex(word);
  }
  const operands = row.operands.map(parseOperand);
  const { attributes } = row;
  const has = (name: string) => attributes.has(name);
  return {
    map, byte,
    candidate: {
      row, prefix, digit, form, modrmByte, vex, vexL, vexW, operands,
      modrm: digit >= 0 || form !== '' || modrmByte >= 0 || operands.some(usesModrm),
      invalid64: has('i64'), only64: has('o64'), default64: has('d64'), force64: has('f64'), lockable: has('lock'), prefixes: has('rep'), noRexB: has('rexb0'), operandPrefix: has('o16'),
      opcodeRegister: plus,
      immediates: operands.filter((o) => 'IJOA'.includes(o.kind)),
      source: operands.some((o) => o.kind === 'X'),
    },
  };
}

const strictness = (c: Candidate): number => (c.prefix >= 0 ? 4 : 0) + (c.modrmByte >= 0 ? 2 : 0) + (c.digit >= 0 || c.form !== '' || c.noRexB ? 1 : 0);

export function buildMaps(rows: readonly Row[]): OpcodeMaps {
  const empty = () => Array.from({ length: 4 }, () => Array.from({ length: 256 }, (): Candidate[] => []));
  const legacy = empty(), vex = empty();
  for (const row of rows) {
    const { map, byte, candidate } = parse(row);
    const to = (candidate.vex ? vex : legacy)[map]!;
    for (let i = 0; i < (candidate.opcodeRegister ? 8 : 1); i++) to[byte + i]!.push(candidate);
  }
  for (const map of [...legacy, ...vex]) for (const list of map) list.sort((a, b) => strictness(b) - strictness(a));
  return { legacy, vex };
}
