/**
 * The forms in which the rows of the opcode table can be met by a user program: every operand size, register and memory,
 * with LOCK and with REP. Made from the table, so that no row can be left out.
 */
import { MAP_0F, MAP_0F38, MAP_0F3A, MAP_ONE } from '../../machine/cpu/opcode-map.ts';
import type { Row } from '../../machine/cpu/opcode-row.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { type Operand, parseOperand } from '../../machine/engine/operand.ts';
import { excluded } from './excluded.ts';

/** The opcode column, read. -1: anything will do. */
export interface Opcode {
  readonly vex: boolean;
  readonly wide: number;
  /** 0x66, 0xf3, 0xf2, 0 for none of them, -1. */
  readonly prefix: number;
  readonly map: number;
  readonly byte: number;
  readonly plus: boolean;
  readonly digit: number;
  readonly form: '' | 'm' | 'r';
  readonly modrm: number;
}
export interface Form {
  /** Names it, and seeds its cases. */
  readonly key: string;
  readonly row: Row;
  readonly opcode: Opcode;
  readonly operands: readonly Operand[];
  readonly mode: 64 | 32;
  readonly opSize: 2 | 4 | 8;
  readonly memory: boolean;
  readonly hasModrm: boolean;
  readonly lock: boolean;
  readonly rep: 0 | 0xf3 | 0xf2;
}

const MAPS: Readonly<Record<string, number>> = { '0F': MAP_0F, '0F38': MAP_0F38, '0F3A': MAP_0F3A };

function readOpcode(row: Row): Opcode {
  const words = row.opcode.split(' ');
  let vex = false, wide = -1, prefix = -1, map = MAP_ONE;
  if (words[0]!.startsWith('VEX')) {
    const v = words.shift()!.split('.');
    vex = true;
    prefix = v[2] === 'NP' ? 0 : Number.parseInt(v[2]!, 16);
    map = MAPS[v[3]!]!;
    wide = v[4] === 'W0' ? 0 : v[4] === 'W1' ? 1 : -1;
  } else {
    if (words[0] === 'NP') { prefix = 0; words.shift(); } else if (/^(66|F3|F2)$/.test(words[0]!) && words.length > 1) prefix = Number.parseInt(words.shift()!, 16);
    if (words[0]! in MAPS && words.length > 1) map = MAPS[words.shift()!]!;
  }
  const first = words.shift()!;
  let digit = -1, form: '' | 'm' | 'r' = '', modrm = -1;
  for (const w of words) {
    if (/^\/\d$/.test(w)) digit = Number(w[1]);
    else if (w === 'm' || w === 'r') form = w;
    else modrm = Number.parseInt(w, 16);
  }
  return { vex, wide, prefix, map, byte: Number.parseInt(first.slice(0, 2), 16), plus: first.endsWith('+r'), digit, form, modrm };
}

/** Rows without sized operands that look at the operand size all the same. */
const SIZED = /^(CBW|CWD|PUSH|POP|PUSHF|POPF|PUSHA|POPA|ENTER|LEAVE|RET|RETF|IRET|SGDT|SIDT|CMPXCHG8B)$/;

function sizes(row: Row, opcode: Opcode, operands: readonly Operand[], mode: 64 | 32): readonly (2 | 4 | 8)[] {
  const has = (name: string) => row.attributes.has(name);
  const types = operands.map((o) => (o.kind === 'fixed' && /^[er]AX$/.test(o.text) || o.kind === 'A' || o.type === 'p' ? 'v' : o.type));
  const any = types.some((t) => t === 'v' || t === 'z') || SIZED.test(row.mnemonic);
  if (has('f64') && mode === 64) return [8];
  if (any && row.mnemonic !== 'CMPXCHG8B') {
    if (opcode.prefix === 0x66 && has('o16')) return [2];
    const narrow: readonly (2 | 4)[] = opcode.prefix === 0 ? [4] : [2, 4];
    if (mode === 32) return narrow;
    return has('d64') ? [2, 8] : [...narrow, 8];
  }
  return mode === 64 && (types.includes('y') || row.mnemonic === 'CMPXCHG8B') ? [4, 8] : [4];
}

function formsOf(row: Row, mode: 64 | 32): Form[] {
  const opcode = readOpcode(row);
  const operands = row.operands.map(parseOperand);
  const hasModrm = opcode.digit >= 0 || opcode.form !== '' || opcode.modrm >= 0 || operands.some((o) => 'EGMRSCDVWUPQN'.includes(o.kind));
  const registerOnly = opcode.form === 'r' || opcode.modrm >= 0 || operands.some((o) => 'RUN'.includes(o.kind));
  const memoryOnly = opcode.form === 'm' || operands.some((o) => o.kind === 'M');
  const where = !hasModrm || registerOnly ? [false] : memoryOnly ? [true] : [false, true];
  const forms: Form[] = [];
  const add = (opSize: 2 | 4 | 8, memory: boolean, lock: boolean, rep: 0 | 0xf3 | 0xf2) => {
    const key = [row.opcode, row.mnemonic, ...row.operands, mode === 32 ? 'in32' : '', `o${8 * opSize}`, memory ? 'mem' : '', lock ? 'lock' : '', rep === 0xf3 ? 'rep' : rep ? 'repne' : ''].filter((w) => w !== '').join(' ');
    forms.push({ key, row, opcode, operands, mode, opSize, memory, hasModrm, lock, rep });
  };
  for (const opSize of sizes(row, opcode, operands, mode)) {
    for (const memory of where) {
      add(opSize, memory, false, 0);
      if (memory && row.attributes.has('lock')) add(opSize, true, true, 0);
      if (row.attributes.has('rep')) { add(opSize, memory, false, 0xf3); add(opSize, memory, false, 0xf2); }
    }
  }
  return forms;
}

/** Every form that is compared, in 64-bit mode and, where there is no other, in 32-bit code. */
export const forms: readonly Form[] = opcodeTable.filter((row) => excluded(row) === undefined).flatMap((row) => formsOf(row, row.attributes.has('i64') ? 32 : 64));
/** The same rows in 32- and 16-bit code, for fresh random ones. */
export const narrowForms: readonly Form[] = opcodeTable.filter((row) => excluded(row) === undefined && !row.attributes.has('o64')).flatMap((row) => formsOf(row, 32));
