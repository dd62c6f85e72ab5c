/**
 * The forms of SSE, AES, SHA and MMX instructions that the recorder (simd-vectors.c) runs, made from the opcode table: a line a
 * form, "name hexcode kind cases". Kind says what the registers are filled with: d doubles, f floats, i integers, s short strings.
 *
 *   node --import tsx test/recorder/simd-forms.ts > forms.txt
 */
import { pathToFileURL } from 'node:url';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import type { Row } from '../../machine/cpu/opcode-row.ts';

export interface SimdForm { readonly name: string; readonly hex: string; readonly kind: string; readonly cases: number; readonly row: Row }

/** Destination and source vectors are registers 1 and 2: register 0 is the third operand of some. General: RBX and RDX. */
const DESTINATION = 1, SOURCE = 2, RBX = 3, RDX = 2, RSI = 6;
/** Stores under a mask to [rDI]. */
const ELSEWHERE = /^MASKMOV/;
const byte = (n: number) => n.toString(16).padStart(2, '0');

function kindOf({ mnemonic }: Row): string {
  if (/^PCMP.STR/.test(mnemonic)) return 's';
  if (/^(CVTSI2|CVTDQ2|CVTPI2)/.test(mnemonic)) return 'i';
  if (/^(MOV|UNPCK|SHUF|BLEND|AND|OR|XOR|INSERT|EXTRACT)/.test(mnemonic)) return 'i';
  if (/^CVTT?(SD|PD)2/.test(mnemonic) || /(PD|SD)$/.test(mnemonic)) return 'd';
  if (/^CVTT?(SS|PS)2/.test(mnemonic) || /(PS|SS)$/.test(mnemonic)) return 'f';
  return 'i';
}
/** The immediates worth a form of their own. */
function immediates({ mnemonic }: Row): readonly number[] {
  if (/^PCMP.STR/.test(mnemonic)) return Array.from({ length: 128 }, (_, i) => i);
  if (/^ROUND/.test(mnemonic)) return Array.from({ length: 16 }, (_, i) => i);
  if (/^CMP/.test(mnemonic)) return [0, 1, 2, 3, 4, 5, 6, 7];
  if (/^(DPP|INSERTPS|MPSADBW|PCLMUL)/.test(mnemonic)) return [0x00, 0xff, 0xf1, 0x31, 0x7f, 0x1b, 0x52, 0x88, 0xc6, 0x2d, 0x10, 0x01];
  return [0x00, 0x1b, 0x85, 0x2e, 0xff, 0x0d];
}

export function simdForms(rows: readonly Row[] = opcodeTable): SimdForm[] {
  const forms: SimdForm[] = [];
  for (const row of rows) {
    const { operands, mnemonic } = row;
    if (!operands.some((o) => /^[VWUPQN][a-z]/.test(o)) || ELSEWHERE.test(mnemonic)) continue;
    const words = row.opcode.split(' ');
    if (words[0]!.startsWith('VEX')) continue;
    const prefix = ['66', 'F3', 'F2'].includes(words[0]!) ? words.shift()! : (words[0] === 'NP' && words.shift(), '');
    const map = ['0F', '0F38', '0F3A'].includes(words[0]!) ? words.shift()! : '';
    const opcode = words[0]!.slice(0, 2);
    const digit = words.find((w) => /^\/\d/.test(w));
    const vector = (i: number) => /^[VWUPQN]/.test(operands[i]!);
    const register = (i: number) => vector(i) ? i === 0 ? DESTINATION : SOURCE : i === 0 ? RBX : RDX;
    const inReg = operands.findIndex((o) => /^[GVP]/.test(o)), inRm = operands.findIndex((o) => /^[EWUQNMR]/.test(o));
    const reg = digit ? Number(digit[1]) : register(inReg);
    const list: readonly (number | undefined)[] = operands.includes('Ib') ? immediates(row) : [undefined];
    for (const wide of operands.some((o) => /^[EGRM][vy]$/.test(o)) ? [false, true] : [false]) {
      for (const memory of [false, true]) {
        if (memory ? words.includes('r') || /^[UNR]/.test(operands[inRm]!) : words.includes('m') || operands[inRm]!.startsWith('M')) continue;
        const rm = memory ? byte(0x40 | reg << 3 | RSI) : byte(0xc0 | reg << 3 | register(inRm));
        for (const shift of memory ? [0, 1] : [0]) {
          for (const imm of list) {
            // The address is the same whatever the immediate.
            if (memory && list.indexOf(imm) >= (shift ? 1 : 4)) continue;
            forms.push({
              row, kind: kindOf(row), cases: mnemonic.startsWith('PCMP') && imm !== undefined ? 32 : list.length > 4 ? 64 : 256,
              name: `${mnemonic}${wide ? '.q' : ''}${memory ? shift ? '.u' : '.m' : ''}${imm === undefined ? '' : `.${byte(imm)}`}`,
              hex: `${prefix.toLowerCase()}${wide ? '48' : ''}${map.toLowerCase()}${opcode.toLowerCase()}${rm}${memory ? byte(shift) : ''}${imm === undefined ? '' : byte(imm)}`,
            });
          }
        }
      }
    }
  }
  return forms;
}

if (process.argv[1] && pathToFileURL(process.argv[1]).href === import.meta.url) {
  for (const { name, hex, kind, cases } of simdForms()) console.log(`${name} ${hex} ${kind} ${cases}`);
}
