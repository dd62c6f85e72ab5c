/**
 * Writes test/golden/alu-forms.txt: short programs, and random sequences of integer instructions, of which each works on what
 * those before have left; and single instructions only for rows that test/silicon does not hold to silicon (inexact.ts).
 *
 *   node --import tsx test/recorder/alu-forms.ts > test/golden/alu-forms.txt
 */
import { inexact } from '../silicon/inexact.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';

/** Rows with their own tests: control flow, the stack, strings, absolute addresses, direction. */
const ELSEWHERE = /^(J|CALL|RET|LOOP|PUSH|POP|ENTER|LEAVE|MOVS$|CMPS|STOS|LODS|SCAS|XLAT|STD|CLD|NOP|PREFETCH|.FENCE|MOVNTI|LEA)/;
const EBX = 3, EDX = 2, EDI = 7, RSI = 6;
const byte = (n: number) => n.toString(16).padStart(2, '0');

/** Register forms whose flags are all defined: what random programs are made of. */
const chainable: string[] = [];
const CHAINABLE = /^(ADD|OR|ADC|SBB|AND|SUB|XOR|CMP|TEST|INC|DEC|NEG|NOT|XADD|CMPXCHG|MOVZX|MOVSX|MOVSXD|BSWAP|CBW|CWD|CMOV.*|SET.*|CMC|CLC|STC|LAHF|SAHF|XCHG|ROL|ROR|RCL|RCR|POPCNT|MULX|PDEP|PEXT|SHLX|SARX|SHRX|RORX|ADCX|ADOX|CRC32)$/;

for (const row of opcodeTable) {
  if (!('emit' in row.meaning) || row.attributes.has('i64') || ELSEWHERE.test(row.mnemonic) || row.mnemonic === 'MASKMOVDQU' || row.operands.some((o) => 'OPQ'.includes(o[0]!))) continue;
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
      if (!memory && CHAINABLE.test(row.mnemonic) && !/^RO[LR]|^RC[LR]/.test(row.mnemonic) || operands[1] === '1' && !memory && /^R/.test(row.mnemonic)) chainable.push(code);
      if (sse && inexact(row) !== undefined) console.log(`*${row.mnemonic}.${size * 8}${memory ? '.m' : ''} ${code}`);
    }
  }
}

/** Short programs for what one instruction cannot show: jumps, the stack, strings. Pointers are cleared before the end. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'call-ret': 'e802000000 eb03 ffc0 c3', 'call-ret-imm': '50 e802000000 eb05 ffc0 c20800', 'call-register': '488d0508000000 ffd0 eb07 90909090 ffc1 c3 31c0',
  'push-pop': '50 51 5a 5b', 'push-pop-16': '6650 665b', 'push-imm': '6a80 58 68d4c3b2a1 5b', 'push-imm-16': '666aff 665b', 'push-pop-memory': 'ff36 8f4608',
  'pop-at-rsp': '50 51 8f0424 5b', 'push-rsp': '54 58 4829e0', 'enter-leave': 'c8200000 c9', 'xchg-stack': '50 48870c24 5b',
  'loop': '83e10f 83c901 ffc0 e2fc', 'loope': '83e10f 83c901 ffc8 e1fc', 'loopne': '83e10f 83c901 ffc8 e0fc', 'jrcxz': 'e302 ffc0', 'jecxz': '67e302 ffc0',
  'xlat': '488d1e 240f d7 31db', 'movsb': '488d7e08 a4 31ff', 'movsd-down': '488d7e08 fd a5 fc 31ff', 'rep-movsb': '488d7e03 b908000000 f3a4 31ff',
  'rep-movsw-down': '4883c606 488d7e08 fd b903000000 66f3a5 fc 31ff', 'rep-movsq': '488d7e08 b901000000 f348a5 31ff', 'stosb': '488d3e aa 31ff', 'rep-stosw': '488d3e b905000000 66f3ab 31ff',
  'rep-stosq': '488d3e b902000000 f348ab 31ff', 'lodsb': 'ac', 'rep-lodsw': 'b904000000 66f3ad', 'lodsq': '48ad', 'cmpsb': '488d7e08 a6 bf00000000',
  'repe-cmpsb': '488d7e01 b90c000000 f3a6 bf00000000', 'repne-cmpsw': '488d7e02 b905000000 66f2a7 bf00000000', 'repne-scasb': '488d3e b910000000 f2ae bf00000000', 'repe-scasd': '488d3e b904000000 f3af bf00000000',
  'rep-0': '488d3e b900000000 f3aa 31ff', 'bt-string': '83e17f 480fa30e', 'bts-string-32': '83e17f 0fab0e', 'btr-string-16': '83e17f 660fb30e', 'btc-string': '83e17f 480fbb0e',
  'lea-sib': '488d548b10', 'lea-32': '678d5449f0', 'lea-16': '668d948b34120000', 'moffs': '4889f3 8a03 31db', 'setcc-ah': '0f92c4 0f94c5', 'cmov-32': '0f44c8 0f4fd3',
  'lahf-sahf': '9f 80f4d5 9e', 'flags': 'f5 f9 f5 f8', 'xadd-self': '0fc1c0', 'imul-carry': '480fafc3 4811d1', 'shift-then-adc': 'd1e0 11c9 c1fb03 11d2', 'inc-keeps-cf': 'f9 ffc0 11c9 f8 ffc8 11d2',
  'rcl-chain': 'd1d0 d1d1 48d1da 48d1d8', 'ah-bh': '00fc 86c4 88f8', 'spl-sil': '4088f9 40b7ff',
};
for (let cc = 0; cc < 16; cc++) print(`j${cc}`, `7${cc.toString(16)}02 ffc0 0f8${cc.toString(16)}02000000 ffc1`);
for (const [name, code] of Object.entries(PROGRAMS)) print(name, code);
for (const [name, code] of Object.entries({ 'pusha-popa': '60 ff0424 ff442410 61', 'xchg-eax': '93 91 92', 'jcxz': '67e301 40' })) console.log(`%#${name} ${code.replaceAll(' ', '')}`);
function print(name: string, code: string): void { console.log(`#${name} ${code.replaceAll(' ', '')}`); }

/** Random sequences: each instruction works on what the ones before have left in registers and flags. */
let seed = 1;
const random = (n: number): number => ((seed = Math.imul(seed, 1664525) + 1013904223 | 0) >>> 8) % n;
for (let n = 0; n < 80; n++) print(`random-${n}`, Array.from({ length: 24 }, () => chainable[random(chainable.length)]!).join(''));
