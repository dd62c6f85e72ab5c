/**
 * Transfers made again from memory (transfers.ts) against the exec rows alone: both machines pass through the same
 * states whatever happens to gates, descriptors, stacks and flags on the way, wherever runs are cut.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { CS, DS, ES, FS, GS, RSP, SS, STATE, TR, updateMode } from '../../machine/cpu/state.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { ENGINE } from '../../machine/engine/layout.ts';
import { STOP_EVENT, STOP_FAULT } from '../../machine/engine/stop.ts';
import { generator } from '../support/random.ts';

const CODE = 0x1000, HANDLERS = 0x2000, GDT = 0x5000, IDT = 0x6000, TSS = 0x7000, TABLES = 0x10_0000;
/** Stacks of ring 3, ring 0 and the IST, each the top of a page. */
const STACK3 = 0xa000, STACK0 = 0xc000, STACK_IST = 0xe000;
const HANDLER_EVERY = 0x40;

interface Kind { readonly seed: number; readonly wide: boolean; readonly user: boolean }

/** Random work between software interrupts, for ever; handlers do some too. What ring 3 may not do faults. */
function code(kind: Kind): { main: number[]; handlers: number[][] } {
  const random = generator(kind.seed);
  const work = (out: number[], most: number): void => {
    for (let n = random(most); n > 0; n--) {
      out.push(...[[0x01, 0xd8], [0xf9], [0xf5], [0xff, 0xc0], [0x29, 0xd9], [0xfd], [0xfc], [0x0f, 0xaf, 0xc3], [0x50, 0x58]][random(9)]!);
    }
  };
  const main: number[] = [];
  for (let i = 0; i < 8; i++) {
    work(main, 5);
    main.push(0xcd, 0x30 + random(random(4) === 0 ? 5 : 3));
  }
  main.push(0xeb, (-main.length - 2) & 0xff);
  const iret = kind.wide ? [0x48, 0xcf] : [0xcf];
  const handlers = Array.from({ length: 5 }, (_, i) => {
    const out: number[] = [];
    work(out, 4);
    if (i === 1) out.push(0xfb, 0xfa);                 // sti; cli
    if (i === 2) out.push(0xcd, 0x30);                 // from ring 0, where SS may be null
    out.push(...(i === 4 ? [0xcf] : iret));
    return out;
  });
  return { main, handlers };
}

function machine(kind: Kind): BareMachine {
  const m = new BareMachine(4 << 20, { pageWalk: 7, nestedPageWalk: 0 });
  const { cpu } = m;
  const { u8, u32, u64 } = m.ram.mem;
  const word64 = (at: number, value: bigint) => { u64[(m.ram.base + at) >>> 3] = value; };
  m.protectedMode(CODE);
  if (kind.wide) {
    m.longMode(CODE, TABLES);
    // 4 KiB pages, user's but for the tables.
    word64(TABLES + 0x2000, BigInt(TABLES + 0x3007));
    for (let i = 0; i < 512; i++) word64(TABLES + 0x3000 + 8 * i, BigInt(i * 4096 + (i === 5 || i === 6 || i === 7 ? 3 : 7)));
  }
  const { main, handlers } = code(kind);
  u8.set(main, m.ram.base + CODE);
  handlers.forEach((h, i) => u8.set(h, m.ram.base + HANDLERS + i * HANDLER_EVERY));
  const l = kind.wide ? 0x0020_0000_0000_0000n : 0x0040_0000_0000_0000n;
  // Null; ring 0 code and data, ring 3 code and data; another of each kind to change to; all marked accessed.
  [0n, 0x008f_9b00_0000_ffffn | l, 0x00cf_9300_0000_ffffn, 0x008f_fb00_0000_ffffn | l, 0x00cf_f300_0000_ffffn, 0x0000_8900_7000_0067n].forEach((d, i) => word64(GDT + 8 * i, d));
  for (let v = 0; v < 5; v++) {
    const target = HANDLERS + v * HANDLER_EVERY;
    const at = IDT + (0x30 + v) * (kind.wide ? 16 : 8);
    u32[(m.ram.base + at) >>> 2] = 0x8_0000 | target;
    u32[(m.ram.base + at + 4) >>> 2] = (v === 3 ? 0x8e00 : v === 1 ? 0xef00 : 0xee00) | (v === 2 && kind.wide ? 1 : 0);
    if (kind.wide) word64(at + 8, 0n);
  }
  if (kind.wide) {
    u32[(m.ram.base + TSS + 4) >>> 2] = STACK0;
    u32[(m.ram.base + TSS + 36) >>> 2] = STACK_IST;
  } else {
    u32[(m.ram.base + TSS + 4) >>> 2] = STACK0;
    u32[(m.ram.base + TSS + 8) >>> 2] = 0x10;
  }
  const { state } = cpu;
  state.gdtr_base = BigInt(GDT);
  state.gdtr_limit = 0x2f;
  state.idtr_base = BigInt(IDT);
  state.idtr_limit = 0x35 * (kind.wide ? 16 : 8) - 1;
  cpu.setSegment(TR, 0x28, BigInt(TSS), 0x67, 0x8b);
  begin(m, kind);
  return m;
}

/** The program's start, at its level. */
function begin(m: BareMachine, kind: Kind): void {
  const { cpu } = m;
  const dpl = kind.user ? 0x60 : 0;
  const rpl = kind.user ? 3 : 0;
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, (kind.user ? 0x20 : 0x10) | rpl, 0n, 0xffff_ffff, 0xc093 | dpl);
  cpu.setSegment(CS, (kind.user ? 0x18 : 8) | rpl, 0n, 0xffff_ffff, (kind.wide ? 0xa09b : 0xc09b) | dpl);
  cpu.gpr[RSP] = BigInt(kind.user ? STACK3 : STACK0);
  cpu.rip = BigInt(CODE);
  writeFlags(cpu, 2);
  updateMode(cpu);
}

/** Something that a transfer depends on changes, in both machines alike. */
function disturb(m: BareMachine, kind: Kind, what: number, value: number): void {
  const { cpu } = m;
  const { u32, u16, u8 } = m.ram.mem;
  const gate = IDT + (0x30 + value % 5) * (kind.wide ? 16 : 8);
  const byte = (at: number, change: (old: number) => number) => { u8[m.ram.base + at] = change(u8[m.ram.base + at]!); };
  const { state } = cpu;
  switch (what) {
    case 0: u16[(m.ram.base + gate) >>> 1] = HANDLERS + (value >>> 4) % 5 * HANDLER_EVERY; break;
    case 1: byte(gate + 5, (old) => old ^ [0x60, 0x80, 1, 0][value >>> 4 & 3]!); break;
    case 2: byte(GDT + 8 * (1 + (value >>> 2 & 3)) + 5, (old) => old ^ [0x80, 1, 0x60, 0][value & 3]!); break;
    case 3: u32[(m.ram.base + TSS + (value & 1 && kind.wide ? 36 : 4)) >>> 2] = STACK0 + 32 - (value >>> 1) % 64 * 4; break;
    case 4: cpu.gpr[RSP] = BigInt((kind.user ? STACK3 : STACK0) - value % 80); break;
    case 5: cpu.u32[STATE.rflags >>> 2] = cpu.u32[STATE.rflags >>> 2]! ^ [0x4000, 0x200, 0x3000, 0x20_0000, 0x8_0000][value % 5]!; break;
    case 6: state.idtr_limit = (kind.wide ? 16 : 8) * (0x30 + value % 6) - 1; break;
    case 7: state.gdtr_limit = 8 * (1 + value % 6) - 1; break;
    case 8: byte(gate + 4, (old) => kind.wide ? old ^ 1 : old); break;
    case 9: cpu.pending = value % 2 === 0 ? 0x80 : 0; break;
    case 10: cpu.u32[STATE.nmi_blocked >>> 2] = value & 1; break;
    case 11: u16[(m.ram.base + TSS + 8) >>> 1] = kind.wide ? 0 : value & 1 ? 0x10 : 0x20; break;
    case 12: if (kind.wide) { byte(TABLES + 0x3000 + 8 * (5 + value % 9), (old) => old ^ [1, 2, 4, 0][value & 3]!); cpu.engine.flushTlb(cpu, true); } break;
    case 13: cpu.engine.flushTlb(cpu, true); break;
    case 14: cpu.setSegment([DS, ES, FS, GS][value & 3]!, 0x10, 0n, 0xffff_ffff, value & 4 ? 0xc0f3 : 0xc093); updateMode(cpu); break;
    case 15: state.dr.set(7, value & 1 ? 0x401n : 0x400n); updateMode(cpu); break;
    default: begin(m, kind);
  }
}

/** Everything a program can see, and where the TLB is looked for. */
function seen(m: BareMachine): string {
  const { cpu } = m;
  const segments = Array.from(cpu.u32.subarray(STATE.seg >>> 2, (STATE.seg + 192) >>> 2), (v) => v.toString(16));
  const engines = [ENGINE.tlb_read, ENGINE.tlb_write, ENGINE.jump_tag].map((at) => cpu.u32[at >>> 2]! - (at === ENGINE.jump_tag ? 0 : cpu.u32[ENGINE.tlb_system >>> 2]!));
  const memory = m.ram.mem.u8.subarray(m.ram.base + GDT, m.ram.base + STACK_IST);
  return JSON.stringify([Array.from(cpu.gpr, (v) => v.toString(16)), cpu.rip.toString(16), readFlags(cpu).toString(16), cpu.mode, cpu.pending, cpu.u32[STATE.nmi_blocked >>> 2], segments, engines, cpu.state.retired.toString()])
    + Buffer.from(memory).toString('base64');
}

/** Runs on when a run ends early for want of anything but the deadline: an exec row ends it where interrupts were let in. */
function step(m: BareMachine, kind: Kind, cycles: number): string {
  let used = 0, why: number = STOP_EVENT;
  while (used < cycles && why === STOP_EVENT) {
    why = m.engine.run(m.cpu, cycles - used);
    used += m.engine.used;
    // The shadow of STI ends here, not after one more instruction.
    m.cpu.u32[STATE.shadow >>> 2] = 0;
  }
  const state = `${why === STOP_FAULT ? `${m.engine.fault!.vector},${m.engine.fault!.error}` : ''}:${used}:${seen(m)}`;
  if (why === STOP_FAULT) begin(m, kind);
  return state;
}

test('transfers from memory leave what the exec rows leave', () => {
  let slow = 0, cycles = 0, faults = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const kind: Kind = { seed, wide: seed % 2 === 0, user: seed % 4 > 1 };
    const remembering = machine(kind), plain = machine(kind);
    plain.engine.transfers.enabled = false;
    const { transfers } = remembering.engine;
    const { prepare } = transfers;
    transfers.prepare = (cpu, insn) => { slow++; return prepare.call(transfers, cpu, insn); };
    const { u8 } = remembering.ram.mem;
    const { base } = remembering.ram;
    const tables = u8.slice(base + GDT, base + 0x8000), pages = u8.slice(base + TABLES, base + TABLES + 0x4000);
    const limit = remembering.cpu.state.idtr_limit;
    const random = generator(seed * 77);
    for (let i = 0; i < 200; i++) {
      const n = 1 + random(random(3) === 0 ? 10 : 300);
      const now = step(remembering, kind, n);
      assert.equal(now, step(plain, kind, n), `seed ${seed}, slice ${i}`);
      cycles += Number(now.split(':')[1]);
      if (now[0] !== ':') faults++;
      const what = random(40), value = random(0x1_0000), mend = random(5) === 0;
      for (const m of [remembering, plain]) {
        disturb(m, kind, what, value);
        if (!mend) continue;
        m.ram.mem.u8.set(tables, m.ram.base + GDT);
        m.ram.mem.u8.set(pages, m.ram.base + TABLES);
        m.cpu.state.idtr_limit = limit;
        m.cpu.state.gdtr_limit = 0x2f;
        m.cpu.state.dr.set(7, 0x400n);
        m.cpu.u32[STATE.nmi_blocked >>> 2] = 0;
        m.cpu.pending = 0;
        m.cpu.engine.flushTlb(m.cpu, true);
        begin(m, kind);
      }
    }
  }
  assert.ok(slow > 500 && faults > 300 && cycles > 10 * slow, `${slow} transfers by exec rows, ${faults} faults, ${cycles} cycles`);
});
