/**
 * Writes test/golden/alu-forms.txt: one snippet for each way an integer row of the opcode table can be encoded in 64-bit
 * mode with registers and memory the recorder knows (alu-vectors.c).
 *
 *   node --import tsx test/recorder/alu-forms.ts > test/golden/alu-forms.txt
 */
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';

/** Rows with their own tests: control flow, the stack, strings, absolute addresses, direction. */
const ELSEWHERE = /^(J|CALL|RET|LOOP|PUSH|POP|ENTER|LEAVE|MOVS$|CMPS|STOS|LODS|SCAS|XLAT|STD|CLD|NOP|PREFETCH|.FENCE|MOVNTI|LEA)/;
const EBX = 3, EDX = 2, EDI = 7, RSI = 6;
const byte = (n: number) => n.toString(16).padStart(2, '0');

for (const row of opcodeTable) {
  if (!('emit' in row.meaning) || row.attributes.has('i64') || ELSEWHERE.test(row.mnemonic) || row.operands.some((o) => 'OPQ'.includes(o[0]!))) continue;
  if (/^(R?SQRT|RCP)[PS]S$/.test(row.mnemonic) && row.mnemonic.startsWith('R')) continue;      // approximations
  const sse = row.attributes.has('sse');
  const words = row.opcode.split(' ');
  const vex = words[0]!.startsWith('VEX') ? words.shift()!.split('.') : undefined;
  const prefix = vex ? '' : ['66', 'F3', 'F2'].includes(words[0]!) && words.length > 1 ? words.shift()! : (words[0] === 'NP' && words.shift(), '');
  const map = !vex && ['0F', '0F38', '0F3A'].includes(words[0]!) && words.length > 1 ? words.shift()! : '';
  const plus = words[0]!.endsWith('+r');
  const opcode = Number.parseInt(words[0]!.slice(0, 2), 16) + (plus ? EBX : 0);
  const digit = words.find((w) => /^\/\d/.test(w));
  const operands = row.operands;
  const modrm = digit !== undefined || operands.some((o) => /^[EGMVWU]/.test(o));
  const sizes = sse ? (operands.some((o) => o.endsWith('y')) ? [4, 8] : [4]) : operands.some((o) => /[vyz]$/.test(o) || o === 'Mq' || /^r/.test(o)) || operands.length === 0 ? [4, 2, 8] : [4];
  for (const size of sizes) {
    if (size === 2 && (vex || operands.includes('Mq') || prefix === '66' || operands.every((o) => !/[vz]$/.test(o)) && operands.length > 0)) continue;
    for (const memory of modrm ? [false, true] : [false]) {
      if (!memory && (words.includes('m') || operands.some((o) => o.startsWith('M')))) continue;
      if (memory && (words.includes('r') || /^BT/.test(row.mnemonic) && operands[1] === 'Gv')) continue;
      // Destinations are EBX or XMM0, sources EDX or XMM1.
      const vector = (i: number) => operands[i] !== undefined && 'VWU'.includes(operands[i][0]!);
      const register = (i: number) => vector(i) ? i : i === 0 ? EBX : EDX;
      const inReg = operands.findIndex((o) => 'GV'.includes(o[0]!)), inRm = operands.findIndex((o) => 'EWU'.includes(o[0]!));
      const reg = digit ? Number(digit[1]) : inReg < 0 ? EDX : sse ? register(inReg) : EDX;
      const rm = sse && inRm >= 0 ? register(inRm) : EBX;
      const mod = modrm ? byte((memory ? RSI : 0xc0 | rm) | reg << 3) : '';
      const immediate = operands.filter((o) => o.startsWith('I')).map((o) =>
        o === 'Ib' || o === 'Ibs' ? row.mnemonic.startsWith('SH') || row.mnemonic.startsWith('B') ? '25' : 'a7' : o === 'Iv' && size === 8 ? '8877665544332291' : size === 2 ? 'c3b5' : 'd4c3b2a1').join('');
      let code: string;
      if (vex) {
        const [, , p, m, ] = vex;
        const pp = p === '66' ? 1 : p === 'F3' ? 2 : p === 'F2' ? 3 : 0;
        const vvvv = operands.some((o) => o[0] === 'B') ? EDI : 0;
        code = `c4${byte(0xe0 | (m === '0F38' ? 2 : 3))}${byte((size === 8 ? 0x80 : 0) | (~vvvv & 15) << 3 | pp)}${byte(opcode)}${mod}${immediate}`;
      } else {
        code = `${prefix.toLowerCase()}${size === 2 ? '66' : ''}${size === 8 ? '48' : ''}${map.toLowerCase()}${byte(opcode)}${mod}${immediate}`;
      }
      console.log(`${sse ? '*' : ''}${row.mnemonic}.${size * 8}${memory ? '.m' : ''} ${code}`);
    }
  }
}
