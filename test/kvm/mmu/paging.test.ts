import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onSilicon, underKvm } from './paging-run.ts';
import { MODES, pagingImage } from './paging-scripts.ts';

const SEEDS = [1, 2];
const images = MODES.map((mode) => SEEDS.map((seed) => pagingImage(mode, seed, 700)));
const native = images.map((list) => list.map(onSilicon));
const LOG = 0x40000;
/** Where two memories differ first. */
function difference(a: Uint8Array, b: Uint8Array): string {
  const at = a.findIndex((byte, i) => byte !== b[i]);
  if (at < 0) return 'none';
  const word = (m: Uint8Array): string => new DataView(m.buffer, m.byteOffset).getUint32(at & ~3, true).toString(16);
  return `at ${(at & ~3).toString(16)}: ${word(a)} on silicon, ${word(b)} here`;
}

test('the scripts do something: they read, fault and go on', () => {
  for (const results of native) {
    for (const { memory } of results) {
      const log = new Uint32Array(memory.buffer, LOG, 2048);
      assert.ok(log.findLastIndex((word) => word !== 0) > 150);
    }
  }
});

for (const parameters of ['ept=1', 'ept=0']) {
  const got = underKvm(images.flat(), parameters);
  MODES.forEach((mode, m) => {
    test(`a guest that changes its page tables finds the same in memory, faults, accessed and dirty bits as on silicon: ${mode.name}, ${parameters}`, () => {
      SEEDS.forEach((seed, i) => {
        assert.equal(difference(native[m]![i]!.memory, got[m * SEEDS.length + i]!.memory), 'none', `seed ${seed}`);
      });
    });
  });
}
