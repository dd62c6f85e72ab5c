/** All rows of the opcode tables. */
import type { Row } from './opcode-row.ts';
import { arithmeticRows } from './opcodes/arithmetic.ts';
import { bitRows } from './opcodes/bits.ts';
import { controlRows } from './opcodes/control.ts';
import { cryptoRows } from './opcodes/crypto.ts';
import { decimalRows } from './opcodes/decimal.ts';
import { moveRows } from './opcodes/moves.ts';
import { multiplyRows } from './opcodes/multiply.ts';
import { portStringRows } from './opcodes/port-strings.ts';
import { shiftRows } from './opcodes/shifts.ts';
import { sse41Rows } from './opcodes/sse41.ts';
import { sse42Rows } from './opcodes/sse42.ts';
import { sseFloatRows } from './opcodes/sse-float.ts';
import { sseIntegerRows } from './opcodes/sse-integer.ts';
import { sseMoveRows } from './opcodes/sse-moves.ts';
import { ssse3Rows } from './opcodes/ssse3.ts';
import { stringRows } from './opcodes/strings.ts';
import { systemTable } from './system-table.ts';
import { mmxTable } from './x87/mmx-table.ts';
import { x87Table } from './x87/x87-table.ts';

export const opcodeTable: readonly Row[] = [
  ...arithmeticRows, ...moveRows, ...controlRows, ...shiftRows, ...multiplyRows, ...bitRows, ...stringRows, ...decimalRows, ...portStringRows,
  ...sseMoveRows, ...sseFloatRows, ...sseIntegerRows, ...ssse3Rows, ...sse41Rows, ...sse42Rows, ...cryptoRows,
  ...systemTable, ...x87Table, ...mmxTable,
];
