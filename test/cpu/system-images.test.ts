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
  ['push es v80 ip4 cs1b fl202 sp0 ss23 ax55550023 ds23 es23 st55550023', 'a 32-bit push of a selector writes 16 bits, seen on an Intel Xeon'],
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

const SEEN = 'seen on an Intel Xeon in ring 3';
const STACK = 'a non-canonical stack address is #SS(0), seen on an Intel Xeon in ring 3';
const TARGET = 'Intel parts look at the target before the transfer; seen on an Intel Xeon in ring 3 for jumps and calls';
const IDT_ERROR = 'the index of an IDT error code is the vector, not 2 × the vector; seen on an Intel Xeon in ring 3';
const RESERVED = 'a reserved bit is met in a present entry, so P is set';
const IST = 'SS becomes null only when the privilege level changes (SDM 6.14.4)';
const BASES = 'these registers hold canonical addresses only';

const SILICON64: readonly (readonly [string, string])[] = [
  ['mov ss null rpl3 vd e0 ip4 cs8 fl202 sp0 ss10 frame0 ax11110003 ds10 es10', 'a null SS must have RPL = CPL'],
  ['small segment matters vd e0 ip6 cs6b fl202 sp0 ss1b hss0 ax111100ab ds1b es1b gsab', LIMITS],
  ['write across the hole vd e0 ipa cs23 fl202 sp0 ss1b hss0 bx7ffffffffffe ds1b es1b', SEEN],
  ['push not canonical vc e0 ipa cs23 fl202 sp7fffffef6008 ss1b hss0 ds1b es1b', STACK],
  ['rbp not canonical vc e0 ipa cs23 fl202 sp0 ss1b hss0 bp800000000008 ds1b es1b', STACK],
  ['jump not canonical vd e0 ipa cs23 fl202 sp0 ss1b hss0 bx800000000000 ds1b es1b', TARGET],
  ['call not canonical vd e0 ipa cs23 fl202 sp0 ss1b hss0 bx800000000000 ds1b es1b', TARGET],
  ['ret not canonical vd e0 ipb cs23 fl202 spfffffffffffffff8 ss1b hss0 bx800000000000 ds1b es1b st800000000000', TARGET],
  ['fs base not canonical vd e0 ipa cs8 fl202 sp0 ss10 frame0 cxc0000100 dx8000 ds10 es10', BASES],
  ['compatibility mode syscall v6 ip0 cs6b fl202 sp0 ss1b hss0 ds1b es1b', 'SYSCALL is #UD outside 64-bit mode on Intel parts'],
  ['retfq not canonical vd e0 ipd cs8 fl202 spfffffffffffffff0 ss10 framefffffffffffffff0 ax800000000000 ds10 es10', TARGET],
  ['int dpl0 vd e182 ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b', IDT_ERROR],
  ['int absent vb e412 ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b', IDT_ERROR],
  ['int 16-bit gate vd e42a ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b', IDT_ERROR],
  ['int not canonical vd e0 ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b', TARGET],
  ['int ist r0 v83 ip2 cs8 fl202 sp0 ss10 frame5000 ds10 es10', IST],
  ['iretq not canonical vd e0 ip19 cs8 fl202 spffffffffffffffd8 ss10 frameffffffffffffffd0 ax800000000000 ds10 es10', TARGET],
  ['sysret odd flags v80 ip16 cs23 fl3c7ed7 sp0 ss1b hss0 cx101c81 r11=3c7ed7 ds10 es10', 'SYSRET loads the bits of 3c7fd7h'],
  ['sysenter vd e0 ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b', 'SYSENTER works in IA-32e mode on Intel parts, and SYSENTER_CS is 0'],
  ['wrmsr lstar not canonical vd e0 ipc cs8 fl246 sp0 ss10 frame0 ax0 cxc0000082 dx8000 ds10 es10', BASES],
  ['wrgsbase not canonical vd e0 ip15 cs8 fl202 sp0 ss10 frame0 ax800000000000 ds10 es10', BASES],
  ['read rsv r0 ve e9 ip0 cs8 fl202 sp0 ss10 frame0 ds10 es10 cr2=406008', RESERVED],
  ['write rsv r0 ve eb ip0 cs8 fl202 sp0 ss10 frame0 ds10 es10 cr2=406008', RESERVED],
  ['jump rsv r0 ve e19 ip304277 cs8 fl202 sp0 ss10 frame0 bx406000 ds10 es10 cr2=406000', RESERVED],
  ['read rsv r3 ve ed ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b cr2=406008', RESERVED],
  ['write rsv r3 ve ef ip0 cs23 fl202 sp0 ss1b hss0 ds1b es1b cr2=406008', RESERVED],
  ['jump rsv r3 ve e1d ip30425c cs23 fl202 sp0 ss1b hss0 bx406000 ds1b es1b cr2=406000', RESERVED],
  ['fault on bad stack is double v8 e0 ipa cs8 fl202 sp7fffffef6000 ss10 frame7000 ds10 es10 cr2=7ffffffffff8', IST],
  ['nested page faults v8 e0 ip5 cs8 fl202 sp2f6800 ss10 frame7000 ds10 es10 cr2=4007f8', IST],
  ['mov cr8 reserved vd e0 ip5 cs8 fl202 sp0 ss10 frame0 ax10 ds10 es10', 'reserved bits of CR8 are #GP(0)'],
  ['rex before prefix v80 ip6 cs23 fl206 sp0 ss1b hss0 ax11113333 ds1b es1b', SEEN],
  ['call 16 v80 ip8 cs23 fl202 spfffffffffffffff8 ss1b hss0 ds1b es1b st101f36', SEEN],
];

const SILICON16: readonly (readonly [string, string])[] = [
  ['word across 64 KiB vd ip0 cs0 fl202 sp1000 ss3000', LIMITS],
  ['write across 64 KiB vd ip0 cs0 fl202 sp1000 ss3000', LIMITS],
  ['32-bit address beyond vd ip6 cs0 fl202 sp1000 ss3000 bx10000', LIMITS],
  ['pop at ffff vc ip3 cs0 fl202 spffff ss3000', LIMITS],
  ['push dword at two vc ip3 cs0 fl202 sp2 ss3000', LIMITS],
  ['pop mem by sp vd ip5 cs0 fl202 spffe ss3000 bx44440ffe', LIMITS],
  ['rep stosw across vd ip6 cs0 fl202 sp1000 ss3000 cx22220002 di7777ffff mfffb=11 mfffc=11 mfffd=11 mfffe=11', LIMITS],
  ['a32 rep stosb beyond vd ipc cs0 fl202 sp1000 ss3000 cx1 di10000 mfffe=11 mffff=11', LIMITS],
  ['int1 v1 ip1 cs0 fl202 sp1000 ss3000', 'INT1 is a #DB trap'],
  ['shift and rotate v80 ipd cs0 fl203 sp1000 ss3000 ax11112222 cx22222221 dx33333332 bx44440008', 'OF is undefined after shifts by more than 1; the rest agrees'],
];

const RF = 0x10000;
/** Vectors of faults: silicon pushes RF with them, which TCG does not. #DF, traps and interrupts push it as it is. */
const FAULTS = new Set([0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17]);

/** The line without RF, after a look at whether RF was as it must be; frames of real mode have no room for it. */
function withoutRf(line: string, wide: boolean): string {
  const vector = Number.parseInt(/ v([0-9a-f]+)/.exec(line)?.[1] ?? 'ff', 16);
  return line.replace(/ fl([0-9a-f]+)/, (_, hex: string) => {
    const flags = Number.parseInt(hex, 16);
    if (wide) assert.equal((flags & RF) !== 0, FAULTS.has(vector), `RF in: ${line}`);
    return ` fl${(flags & ~RF).toString(16)}`;
  });
}
const nameOf = (line: string) => line.replace(/ (v[0-9a-f]+|double tr28) .*/, '');

function compare(image: string, silicon: readonly (readonly [string, string])[], atLeast: number): void {
  const want = goldenLines(image);
  assert.ok(want.length >= atLeast, `${want.length} cases`);
  const corrected = new Map(silicon.map(([line]) => [nameOf(line), line]));
  assert.equal(corrected.size, silicon.length);
  const got = runImage(image).map((line) => withoutRf(line, image !== 'system16'));
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
test('64-bit and compatibility mode: every system case ends as recorded', () => compare('system64', SILICON64, 161));
test('real-address mode: every case ends as recorded', () => compare('system16', SILICON16, 89));
