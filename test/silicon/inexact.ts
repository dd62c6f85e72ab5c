/** Rows whose result is known to differ from silicon's in some cases, and in what; all others agree with every vector. */
import type { Row } from '../../machine/cpu/opcode-row.ts';

const INEXACT: readonly (readonly [RegExp, string])[] = [
  [/^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/, 'the transcendental functions of the x87 are rounded correctly, those of silicon differ in the last bit now and then'],
];

export function inexact(row: Row): string | undefined {
  return INEXACT.find(([mnemonic]) => mnemonic.test(row.mnemonic))?.[1];
}
