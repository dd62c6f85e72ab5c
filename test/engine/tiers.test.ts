/**
 * The tiers agree: random programs with loops, calls, memory, faults and stores into their own code pass through the
 * same states at the same instruction counts, whichever tier runs them and wherever runs are cut.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { CS, RSP, STATE, updateMode } from '../../machine/cpu/state.ts';
import { STOP_FAULT } from '../../machine/engine/stop.ts';
import { readFlags } from '../../machine/engine/flags.ts';
import { generator } from '../support/random.ts';

const CODE = 0x1000, DATA = 0x40_0000, PT = 0x10_0000;

/** Machine code of a random program of one page; labels are resolved at the end. */
function program(seed: number, wide: boolean): Uint8Array {
  const random = generator(seed);
  const code: number[] = [];
  const labels: number[] = [], jumps: { at: number; label: number }[] = [];
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  // rSP (4), rDI (7: base of data) and rCX (1: loop counter) keep their values but for the code below.
  const reg = () => pick([0, 2, 3, 5, 6]);
  const modrm = (r: number, rm: number) => 0xc0 | r << 3 | rm;
  const rex = () => { if (wide && random(2)) code.push(0x48 | (random(4) === 0 ? 4 : 0)); else if (random(8) === 0) code.push(0x66); };
  /** [rdi+disp], [rdi+rsi*s+disp] with rSI masked before. */
  const memory = (r: number) => {
    if (random(3) === 0) {
      code.push(0x81, 0xe6, 0xff, 0x0f + random(2) * 0x10, 0, 0);             // and esi, 0xfff or 0x1fff
      return () => { code.push(0x44 | r << 3, pick([0, 0x40, 0x80]) | 6 << 3 | 7, random(128)); };
    }
    return () => { code.push(0x87 | r << 3, random(256), random(32), 0, 0); };
  };
  const jump = (bytes: number[], label: number) => { code.push(...bytes); jumps.push({ at: code.length, label }); code.push(0, 0, 0, 0); };
  const one = (): void => {
    const kind = random(22);
    if (kind < 5) { const op = random(8) * 8; rex(); code.push(op | pick([1, 3]), modrm(reg(), reg())); return; }
    if (kind === 5) { code.push(random(8) * 8 | pick([0, 2]), modrm(pick([0, 2, 3, 4, 6, 7]), pick([0, 2, 3, 4, 6, 7]))); if ((code[code.length - 2]! & 0x3a) !== 0x38) { code[code.length - 1] = modrm(pick([0, 2, 3]), pick([0, 2, 3, 4, 6])) & ~0x20 | 0xc0; } return; }
    if (kind === 6) { rex(); code.push(0x83, modrm(random(8), reg()), random(256)); return; }
    if (kind === 7) { rex(); code.push(0xc1, modrm(random(8), reg()), random(70)); return; }
    if (kind === 8) { rex(); code.push(pick([0xd1, 0xd3]), modrm(random(8), reg())); return; }
    if (kind === 9) { rex(); code.push(0xff, modrm(random(2), reg())); return; }
    if (kind === 10) { rex(); code.push(0xf7, modrm(pick([2, 3, 4, 5]), reg())); return; }
    if (kind === 11) { rex(); code.push(0x0f, 0xaf, modrm(reg(), reg())); return; }
    if (kind === 12) { rex(); code.push(0x0f, 0x40 | random(16), modrm(reg(), reg())); return; }
    if (kind === 13) { code.push(0x0f, 0x90 | random(16), modrm(0, pick([0, 2, 3, 4 + 3]))); if ((code[code.length - 1]! & 7) === 7) code[code.length - 1] = 0xc2; return; }
    if (kind === 14) { rex(); code.push(0x0f, pick([0xb6, 0xb7, 0xbe, 0xbf, 0xa3, 0xbc, 0xbd]), modrm(reg(), reg())); return; }
    if (kind === 15) { const r = reg(); code.push(0x50 | r, 0x58 | reg()); return; }
    if (kind === 16) { code.push(pick([0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9f, 0x9e, 0x90])); return; }
    if (kind === 17) { rex(); code.push(0x8d); memory(reg())(); return; }
    if (kind === 18) { if (random(20)) code.push(0x31, 0xd2, 0x80, 0xcb, 1); rex(); code.push(0xf7, modrm(6 + random(2), random(12) ? 3 : reg())); return; }   // div, which faults now and then
    const r = reg();
    const address = memory(r);
    rex();
    code.push(pick([0x8b, 0x89, 0x03, 0x01, 0x29, 0x33, 0x3b, 0x39, 0x87, 0x85, 0x8b, 0x89, 0x8a, 0x88, 0x13, 0x19]));
    address();
  };
  const body = (depth: number): void => {
    for (let n = 2 + random(8); n > 0; n--) {
      const what = random(14);
      if (what === 0 && depth < 3) {                  // a loop, rCX saved around it
        code.push(0x51, 0xb9, 1 + random(30), 0, 0, 0);
        const top = labels.push(code.length) - 1;
        body(depth + 1);
        if (random(2)) code.push(0xff, 0xc9); else code.push(0x83, 0xe9, 1);
        jump([0x0f, 0x85], top);
        code.push(0x59);
      } else if (what === 1 && depth < 3) {           // if
        const over = labels.push(-1) - 1;
        jump([0x0f, 0x80 | random(16)], over);
        body(depth + 1);
        labels[over] = code.length;
      } else if (what === 2 && depth < 3) {           // a function and a call of it
        const over = labels.push(-1) - 1, f = labels.push(-1) - 1;
        jump([0xe9], over);
        labels[f] = code.length;
        body(depth + 2);
        code.push(0xc3);
        labels[over] = code.length;
        jump([0xe8], f);
        if (random(2)) jump([0xe8], f);
      } else if (what === 3 && random(6) === 0) {      // a store of what is there already into the code, now and then
        code.push(0x8a, 0x87, 0, 0, 0xc0, 0xff, 0x88, 0x87, 0, 0, 0xc0, 0xff);      // mov al,[rdi-0x400000]; mov [rdi-0x400000],al
        const low = (code.length & 0xff) - 20, high = 0x10;
        for (const at of [code.length - 10, code.length - 4]) { code[at] = Math.max(low, 0); code[at + 1] = high; }
      } else one();
    }
  };
  const top = labels.push(code.length) - 1;
  body(0);
  body(1);
  jump([0xe9], top);
  assert.ok(code.length < 0x2000);
  for (const { at, label } of jumps) new DataView(Uint8Array.from([0, 0, 0, 0]).buffer).setInt32(0, 0, true), new Uint8Array(Int32Array.of(labels[label]! - (at + 4)).buffer).forEach((b, i) => { code[at + i] = b; });
  return Uint8Array.from(code);
}

function machine(seed: number, wide: boolean, threshold: number): BareMachine {
  const m = new BareMachine(8 << 20, { pageWalk: 3 + seed % 40, nestedPageWalk: 0 });
  m.engine.code.hot.threshold = threshold;
  const { u8, u64, u32 } = m.ram.mem;
  m.longMode(CODE);
  const table = PT + 0x3000;
  u64[(m.ram.base + PT + 0x2000 + 2 * 8) >>> 3] = BigInt(table | 7);
  // Four pages of data, of which some seeds lack one and some cannot write another.
  for (let i = 0; i < 8; i++) u64[((m.ram.base + table) >>> 3) + i] = seed % 3 === 0 && i === 1 ? 0n : BigInt(0x20_0000 + i * 4096 | (seed % 5 === 0 && i === 1 ? 5 : 7));
  if (!wide) m.cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xc09b);
  updateMode(m.cpu);
  m.cpu.engine.flushTlb(m.cpu, true);
  u8.set(program(seed, wide), m.ram.base + CODE);
  const random = generator(seed ^ 0x5555);
  for (let i = 0; i < 4096; i++) u32[((m.ram.base + 0x20_0000) >>> 2) + i] = random(0x1_0000_0000);
  for (let i = 0; i < 8; i++) m.cpu.gpr[i] = BigInt(random(0x1_0000_0000));
  m.cpu.gpr[RSP] = 0x9000n;
  m.cpu.gpr[7] = BigInt(DATA);
  return m;
}

/** Everything software can see, and the clock. */
function state(m: BareMachine): string {
  const { cpu, engine } = m;
  const memory = Buffer.from(m.ram.mem.u8.subarray(m.ram.base + 0x8000, m.ram.base + 0x9000)).toString('base64') + Buffer.from(m.ram.mem.u8.subarray(m.ram.base + 0x20_0000, m.ram.base + 0x20_4000)).toString('base64');
  return JSON.stringify([Array.from(cpu.gpr, (v) => v.toString(16)), cpu.rip.toString(16), readFlags(cpu).toString(16), cpu.state.retired.toString(), engine.used, engine.charged, cpu.u32[STATE.cr2 >>> 2]]) + memory;
}

/** Runs a slice; a fault is stepped over by going back to the start with a new count in rAX. */
function step(m: BareMachine, cycles: number): string {
  const why = m.engine.run(m.cpu, cycles);
  const s = `${why}:${why === STOP_FAULT ? `${m.engine.fault!.vector},${m.engine.fault!.address}` : ''}:${state(m)}`;
  if (why === STOP_FAULT) {
    m.cpu.gpr[0] = (m.cpu.gpr[0]! + 12345n) & 0xffff_ffffn;
    m.cpu.gpr[2] = 1n;
    m.cpu.gpr[RSP] = 0x9000n;
    m.cpu.rip = BigInt(CODE);
  }
  return s;
}

export function compare(seed: number): number {
  const wide = seed % 2 === 0;
  const cold = machine(seed, wide, Infinity);
  const others = [1, 20].map((threshold) => machine(seed, wide, threshold));
  const random = generator(seed + 99);
  let faults = 0;
  for (let i = 0; i < 60; i++) {
    const cycles = random(4) === 0 ? 1 + random(8) : 1 + random(random(3) === 0 ? 3000 : 300);
    const expected = step(cold, cycles);
    if (expected[0] === '2') faults++;
    for (const m of others) {
      const got = step(m, cycles);
      if (got !== expected) assert.equal(got.slice(0, 600), expected.slice(0, 600), `program ${seed}, slice ${i}`);
      assert.ok(got === expected, `program ${seed}, slice ${i}: memory differs`);
    }
  }
  if (process.env['SEEDS']) console.error(seed, others.map((m) => m.engine.code.hot.regions), faults);
  return others[0]!.engine.code.hot.regions;
}

test('cold code, hot code and any mix of them pass through the same states', () => {
  let regions = 0;
  for (let seed = 1; seed <= Number(process.env['SEEDS'] ?? 16); seed++) regions += compare(seed);
  assert.ok(regions > 80, `${regions} regions`);
});

test('a hot loop that rewrites an instruction of its own runs the new one at once', () => {
  const N = 4000;
  for (const mask of [0, 0x3f]) {                     // at every turn, and once in 64 when the region has long been there
    const code = Uint8Array.of(
      0xb8, 1, 0, 0, 0,                               // top: mov eax, 1
      0x01, 0xc3,                                     // add ebx, eax
      0xf7, 0xc1, mask, 0, 0, 0,                      // test ecx, mask
      0x75, 0x07,                                     // jnz on
      0xff, 0x04, 0x25, (CODE + 1) & 0xff, (CODE + 1) >> 8 & 0xff, CODE >> 16, 0, // inc dword [top + 1]
      0xff, 0xc9,                                     // on: dec ecx
      0x75, 0xe6,                                     // jnz top
      0xeb, 0xfe,                                     // jmp $
    );
    let sum = 0;
    for (let ecx = N, eax = 1; ecx > 0; ecx--) {
      sum += eax;
      if ((ecx & mask) === 0) eax++;
    }
    const runs = [Infinity, 1, 20].map((threshold) => {
      const m = machine(2, true, threshold);
      m.ram.mem.u8.set(code, m.ram.base + CODE);
      m.cpu.gpr[1] = BigInt(N);
      m.cpu.gpr[3] = 0n;
      m.engine.run(m.cpu, 10 * N + 5000);
      if (threshold === 1) assert.ok(m.engine.code.hot.regions > 0);
      assert.equal(m.cpu.gpr[3], BigInt(sum), `threshold ${threshold}, mask ${mask}`);
      return state(m);
    });
    assert.equal(runs[1], runs[0]);
    assert.equal(runs[2], runs[0]);
  }
});
