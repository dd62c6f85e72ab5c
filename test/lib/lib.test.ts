import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { alignDown, alignUp, ctz, popcount, signExtend } from '../../lib/bits.ts';
import { cBytes, cString, fromLatin1, fromUtf8, latin1, utf8 } from '../../lib/text.ts';

test('an aligned number is the nearest multiple, also beyond 32 bits', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 50 }), fc.integer({ min: 1, max: 2 ** 21 }), (n, to) => {
    const up = alignUp(n, to);
    const down = alignDown(n, to);
    assert.ok(up % to === 0 && up >= n && up - n < to);
    assert.ok(down % to === 0 && down <= n && n - down < to);
  }));
});

test('sign extension, popcount and ctz agree with bigint arithmetic', () => {
  fc.assert(fc.property(fc.integer(), fc.integer({ min: 1, max: 32 }), (v, bits) => {
    assert.equal(signExtend(v, bits), Number(BigInt.asIntN(bits, BigInt(v))));
    const binary = BigInt.asUintN(32, BigInt(v)).toString(2);
    assert.equal(popcount(v), [...binary].filter((b) => b === '1').length);
    assert.equal(ctz(v), v === 0 ? 32 : binary.length - 1 - binary.lastIndexOf('1'));
  }));
  assert.equal(ctz(0x80000000), 31);
});

test('text survives the way to bytes and back', () => {
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (s) => assert.equal(fromUtf8(utf8(s)), s)));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 9000 }), (b) => assert.deepEqual(latin1(fromLatin1(b)), b)));
});

test('a C string ends at its first zero byte and always has one', () => {
  assert.equal(cString([104, 105, 0, 33]), 'hi');
  assert.equal(cString([104]), 'h');
  assert.deepEqual([...cBytes('abc', 3)], [97, 98, 0]);
  assert.deepEqual([...cBytes('a', 3)], [97, 0, 0]);
});
