/**
 * Hundreds of system instructions and exceptions, whole machine code run from boot on bare silicon, against what QEMU
 * 7.2 TCG printed for the same image (test/recorder/system). Where TCG is known not to do what the SDM says, the line
 * silicon gives stands here with the reason.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenLines, runImage } from './system-image.ts';

const LIMITS = 'TCG does not check segment limits, types and null selectors on plain accesses';
const INTENT = 'a read-modify-write faults with W set on silicon (seen on an Intel Xeon), TCG reads first';
const UNDEFINED = '#UD on Intel parts; TCG ignores the reg field';

/** [line of silicon, why TCG's is not taken] */
const SILICON32: readonly (readonly [string, string])[] = [
  ['ltr null vd e0 ip2 cs8 fl246 sp0 ss10 ax0 ds10 es10', 'a null selector is #GP(0) for LTR'],
  ['les beyond segment vd e0 ip6 cs1b fl202 sp0 ss23 ax11110063 ds23 es23 gs63', LIMITS],
  ['small out vd e0 ip6 cs1b fl202 sp0 ss23 ax11110063 ds23 es23 gs63', LIMITS],
  ['small write out vd e0 ip6 cs1b fl202 sp0 ss23 ax11110063 ds23 es23 gs63', LIMITS],
  ['expand-down out vd e0 ip6 cs1b fl202 sp0 ss23 ax1111005b ds23 es23 gs5b', LIMITS],
  ['read-only write vd e0 ip6 cs1b fl202 sp0 ss23 ax1111004b ds23 es23 gs4b', LIMITS],
  ['null segment read vd e0 ip0 cs1b fl202 sp0 ss23 ds23 es23', LIMITS],
  ['null segment write vd e0 ip0 cs8 fl202 sp0 ss10 ds10 es10', LIMITS],
  ['code segment write vd e0 ip0 cs8 fl202 sp0 ss10 ds10 es10', LIMITS],
  ['execute-only read vd e0 ip7 cs50 fl202 sp0 ss10 ds10 es10', LIMITS],
  ['stack segment limit vc e0 ipb cs1b fl202 spffef6004 ss63 ax11110063 ds23 es23', LIMITS],
  ['int1 v1 ip1 cs1b fl202 sp0 ss23 ds23 es23', 'INT1 is a #DB trap'],
  ['alignment check on v11 e0 ip28 cs1b fl40202 spffffffc0 ss23 ax1010101 ds23 es0 cr0=80050031 st23 st10afc0 st40202 st1b st101ede', 'TCG does not check alignment'],
  ['modify np r0 ve e2 ip0 cs8 fl202 sp0 ss10 ds10 es10 cr2=400000', INTENT],
  ['modify np r3 ve e6 ip0 cs1b fl202 sp0 ss23 ds23 es23 cr2=400000', INTENT],
  ['modify sup r3 ve e7 ip0 cs1b fl202 sp0 ss23 ds23 es23 cr2=402000', INTENT],
  ['modify sro r3 ve e7 ip0 cs1b fl202 sp0 ss23 ds23 es23 cr2=403000', INTENT],
  ['ldmxcsr reserved vd e0 ip11 cs8 fl206 sp0 ss10 ax200 ds10 es10 m0=10000', 'reserved bits of MXCSR are #GP(0)'],
  ['dr7 gd v1 ip8 cs8 fl202 sp0 ss10 ax2000 ds10 es10', 'TCG does not know DR7.GD'],
  ['rdmsr unknown vd e0 ip5 cs8 fl202 sp0 ss10 cx12345 ds10 es10', 'an MSR that is not there is #GP(0)'],
  ['wrmsr efer reserved vd e0 ipc cs8 fl246 sp0 ss10 ax2 cxc0000080 dx0 ds10 es10', 'reserved bits of EFER are #GP(0)'],
  ['8f /1 v6 ip0 cs1b fl202 sp0 ss23 ds23 es23', UNDEFINED],
  ['c6 /1 v6 ip0 cs1b fl202 sp0 ss23 ds23 es23', UNDEFINED],
];

const RF = 0x10000;
/** Vectors of faults: silicon pushes RF with them, which TCG does not. #DF, traps and interrupts push it as it is. */
const FAULTS = new Set([0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17]);

/** The line without RF, after a look at whether RF was as it must be. */
function withoutRf(line: string): string {
  const vector = Number.parseInt(/ v([0-9a-f]+)/.exec(line)?.[1] ?? 'ff', 16);
  return line.replace(/ fl([0-9a-f]+)/, (_, hex: string) => {
    const flags = Number.parseInt(hex, 16);
    assert.equal((flags & RF) !== 0, FAULTS.has(vector), `RF in: ${line}`);
    return ` fl${(flags & ~RF).toString(16)}`;
  });
}
const nameOf = (line: string) => line.replace(/ (v|double).*/, '');

function compare(image: string, silicon: readonly (readonly [string, string])[], atLeast: number): void {
  const want = goldenLines(image);
  assert.ok(want.length >= atLeast, `${want.length} cases`);
  const corrected = new Map(silicon.map(([line]) => [nameOf(line), line]));
  assert.equal(corrected.size, silicon.length);
  const got = runImage(image).map(withoutRf);
  const expected = want.map((line) => corrected.get(nameOf(line)) ?? line);
  for (const [line, why] of silicon) {
    const tcg = want.find((w) => nameOf(w) === nameOf(line));
    assert.ok(tcg !== undefined && tcg !== line, `${nameOf(line)}: nothing to correct (${why})`);
  }
  const wrong = expected.flatMap((line, i) => (got[i] === line ? [] : [`  want ${line}\n  got  ${got[i]}`]));
  assert.equal(wrong.length, 0, `${wrong.length} of ${expected.length} differ:\n${wrong.slice(0, 20).join('\n')}`);
  assert.equal(got.length, expected.length);
}

test('32-bit protected mode: every system case ends as recorded', () => compare('system32', SILICON32, 369));
