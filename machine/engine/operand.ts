/** The operand notation of SDM Vol. 2 app. A.2, parsed: how an operand is addressed, and its size. */

export type OperandKind =
  | 'E'       // r/m: general register or memory
  | 'G'       // general register, reg field
  | 'Z'       // general register in the opcode byte
  | 'B'       // general register, VEX.vvvv
  | 'I' | 'J' | 'O'   // immediate, relative jump, moffs
  | 'M'       // memory only
  | 'R'       // general register only, r/m field
  | 'S' | 'C' | 'D'   // segment, control, debug register
  | 'A'       // far pointer
  | 'X' | 'Y' // DS:rSI, ES:rDI
  | 'V' | 'W' | 'U' | 'P' | 'Q' | 'N'   // XMM reg, XMM r/m, XMM r/m register only; the same for MMX
  | 'H'       // XMM, VEX.vvvv
  | 'fixed';  // a register or constant named outright

export interface Operand {
  readonly text: string;
  readonly kind: OperandKind;
  /** b w d q v z y x p s a ss sd, or '' */
  readonly type: string;
}

const SIZES: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8, x: 16, dq: 16, ss: 4, sd: 8, ps: 16, pd: 16 };

export function parseOperand(text: string): Operand {
  const kind = text[0]!;
  if (/^[EGZBIJOMRSCDAXYVWUPQNH]([bwdqvzyxpsat]|ss|sd|ps|pd|dq|bs)?$/.test(text) && !/^(SS|DS|ES|CS|SP|SI|DI|BP|BX|AX|AL|AH)$/.test(text)) {
    return { text, kind: kind as OperandKind, type: text.slice(1) };
  }
  return { text, kind: 'fixed', type: '' };
}

/** Bytes of an operand under an operand size. */
export function operandSize(o: Operand, opSize: number): number {
  if (o.kind === 'fixed') return o.text.length === 2 && (o.text.endsWith('L') || o.text.endsWith('H')) ? 1 : o.text === 'DX' || o.text === 'AX' ? 2 : o.text.startsWith('e') ? Math.min(opSize, 4) : opSize;
  switch (o.type) {
    case 'v': return opSize;
    case 'z': return Math.min(opSize, 4);
    case 'y': return opSize === 8 ? 8 : 4;
    case 'bs': return 1;
    default: return SIZES[o.type] ?? opSize;
  }
}
