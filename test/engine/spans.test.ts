/** Memory operands of a block that are found together: nothing shows that they were, wherever their pages lie. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { RAX, RBX, RCX, RDI, RSI, RSP } from '../../machine/cpu/state.ts';
import { readFlags } from '../../machine/engine/flags.ts';
import { STOP_LIMIT } from '../../machine/engine/stop.ts';
import { TLB_ENTRIES } from '../../machine/engine/tlb.ts';

const CODE = 0x1000, PT = 0x10_0000, DATA = 0x40_0000, FRAMES = 0x80_0000;
/** Another page for the same entry of the TLB. */
const RIVAL = DATA + TLB_ENTRIES * 4096;

const PROGRAM = [
  '48 8b 07',          // again: mov rax,[rdi]
  '48 8b 5f 08',       //   mov rbx,[rdi+8]
  '48 01 47 10',       //   add [rdi+0x10],rax
  '48 89 5f 18',       //   mov [rdi+0x18],rbx
  '48 03 06',          //   add rax,[rsi]
  '48 03 5f 20',       //   add rbx,[rdi+0x20]
  '48 03 5f 30',       //   add rbx,[rdi+0x30]
  '48 89 47 28',       //   mov [rdi+0x28],rax
  '50 53 51 52',       //   push rax; push rbx; push rcx; push rdx
  '48 8d 57 30',       //   lea rdx,[rdi+0x30]
  '89 5a f9',          //   mov [rdx-7],ebx
  '5a 59 5b 58',       //   pop rdx; pop rcx; pop rbx; pop rax
  '48 83 c7 08',       //   add rdi,8
  'ff c9',             //   dec ecx
  '75 cb',             //   jnz again
  'eb fe',
].join(' ');

/** Pages from DATA on, by the frames they are mapped to and their rights. */
type Pages = readonly (readonly [frame: number, rights: number])[];

/** The states that the program passes through when cut every so many instructions. */
function states(threshold: number, step: number, pages: Pages, from: number, stack: number): unknown[] {
  const m = new BareMachine(16 << 20, { pageWalk: 30, nestedPageWalk: 100 });
  m.engine.code.hot.threshold = threshold;
  m.longMode(CODE);
  m.poke(CODE, PROGRAM);
  const { u64, u8 } = m.ram.mem;
  const { base } = m.ram;
  for (const [i, at] of [DATA, RIVAL].entries()) {
    const table = PT + 0x3000 + i * 0x1000;
    u64[(base + PT + 0x2000 + (at >>> 21) * 8) >>> 3] = BigInt(table | 7);
    pages.forEach(([frame, rights], n) => { u64[(base + table + n * 8) >>> 3] = BigInt(FRAMES + (i === 0 ? frame : 9) * 4096 | rights); });
  }
  for (let i = 0; i < 0xa000; i++) u8[base + FRAMES + i] = i * 37 >>> 3;
  const { gpr } = m.cpu;
  gpr[RDI] = BigInt(DATA + from);
  gpr[RSI] = BigInt(RIVAL);
  gpr[RSP] = BigInt(DATA + stack);
  gpr[RCX] = 60n;
  const seen: unknown[] = [];
  for (let k = 0, why = STOP_LIMIT as number; k < 3000 / step && why === STOP_LIMIT; k++) {
    why = m.engine.run(m.cpu, step);
    seen.push([why, m.engine.used, m.engine.charged, m.cpu.rip, readFlags(m.cpu), ...[RAX, RBX, RCX, RDI, RSP].map((n) => gpr[n])].join(' '));
  }
  seen.push(Buffer.from(u8.subarray(base + FRAMES, base + FRAMES + 0xa000)).toString('base64'));
  if (threshold === 1) assert.ok(m.engine.code.hot.regions > 0);
  return seen;
}

const MAPS: Readonly<Record<string, Pages>> = {
  'frames in a row': [[0, 7], [1, 7], [2, 7], [3, 7]],
  'frames in no order': [[3, 7], [1, 7], [0, 7], [2, 7]],
  'a page that cannot be written': [[0, 7], [1, 5], [2, 7], [3, 7]],
  'a page that is missing': [[0, 7], [1, 0], [2, 7], [3, 7]],
  'two pages in one frame': [[0, 7], [0, 7], [2, 7], [2, 7]],
};

for (const [name, pages] of Object.entries(MAPS)) {
  test(`operands near each other behave alike in both tiers with ${name}`, () => {
    for (const [from, stack, step] of [[0xc00, 0x3010, 1000], [0xe80, 0x2008, 23], [0x200, 0x3810, 211]] as const) {
      assert.deepEqual(states(1, step, pages, from, stack), states(Infinity, step, pages, from, stack));
    }
  });
}
