/** The benchmark guests on bare silicon: checksums as their sources give them, instruction counts as recorded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestsFolder, runBare } from '../../bench/engine.ts';
import { guestTable } from '../../bench/guest-table.ts';

const rows = guestTable(guestsFolder).filter((r) => r.set === 'tiny');
for (const row of rows) {
  test(`${row.kernel}.${row.width} gives its checksum after as many instructions as recorded`, () => {
    const { checksum, instructions } = runBare(row);
    assert.equal(checksum, row.checksum);
    assert.equal(instructions, row.instructions);
  });
}
test('there are guests to run', () => assert.equal(rows.length, 22));
