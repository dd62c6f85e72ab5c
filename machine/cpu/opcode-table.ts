/** All rows of the opcode tables. */
import type { Row } from './opcode-row.ts';
import { arithmeticRows } from './opcodes/arithmetic.ts';
import { bitRows } from './opcodes/bits.ts';
import { controlRows } from './opcodes/control.ts';
import { decimalRows } from './opcodes/decimal.ts';
import { moveRows } from './opcodes/moves.ts';
import { multiplyRows } from './opcodes/multiply.ts';
import { portStringRows } from './opcodes/port-strings.ts';
import { shiftRows } from './opcodes/shifts.ts';
import { sseFloatRows } from './opcodes/sse-float.ts';
import { sseIntegerRows } from './opcodes/sse-integer.ts';
import { sseMoveRows } from './opcodes/sse-moves.ts';
import { stringRows } from './opcodes/strings.ts';
import { systemTable } from './system-table.ts';
import { mmxTable } from './x87/mmx-table.ts';
import { x87Table } from './x87/x87-table.ts';

export const opcodeTable: readonly Row[] = [
  ...arithmeticRows, ...moveRows, ...controlRows, ...shiftRows, ...multiplyRows, ...bitRows, ...stringRows, ...decimalRows, ...portStringRows,
  ...sseMoveRows, ...sseFloatRows, ...sseIntegerRows,
  ...systemTable, ...x87Table, ...mmxTable,
];
