/** docs/engine.md follows one instruction through the engine; what it shows is what the engine makes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { STATE } from '../../machine/cpu/state.ts';
import { ColdTranslation } from '../../machine/engine/cold-translation.ts';
import { HotFlags, flagUse } from '../../machine/engine/hot-flags.ts';
import { HotTranslation } from '../../machine/engine/hot-translation.ts';
import { RECORD_SIZE } from '../../machine/engine/record.ts';
import { HANDLER_PARAMS, type Runtime } from '../../machine/engine/runtime.ts';
import { Values } from '../../machine/engine/spans.ts';
import type { Shape } from '../../machine/engine/shape.ts';
import { type L32, Code, i32, i64 } from '../../machine/engine/wasm-emitter.ts';

const BYTES = [0x01, 0xd8];                    // add eax,ebx
const doc = readFileSync(new URL('../../docs/engine.md', import.meta.url), 'utf8');

/** The hex bytes at the start of each line of the fenced block under a heading. */
function block(heading: string): string {
  const at = doc.indexOf(`### ${heading}\n`);
  assert.ok(at >= 0, heading);
  const text = doc.slice(at).split('```')[1]!;
  return text.split('\n').map((line) => /^((?:[0-9a-f]{2} ?)+)(?:\s|$)/.exec(line)?.[1] ?? '').join(' ').replaceAll(/\s+/g, ' ').trim();
}
const hex = (bytes: Uint8Array) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join(' ');

const insn = new Decoder(buildMaps(opcodeTable)).decode(Uint8Array.from([...BYTES, ...new Array<number>(16).fill(0)]), 0, 18, 8)!;
const shape: Shape = { row: insn.row, opSize: 4, codeSize: 8, stackSize: 8, flat: true, memory: false, addrSize: 8, segment: 'none', indexed: false, rep: 0, near: false };
const { meaning } = insn.row;
assert.ok('emit' in meaning);
const runtime = {} as Runtime;

test('the record of the worked example', () => {
  const m = new BareMachine(16 << 20);
  m.longMode(0x1000);
  m.engine.code.hot.threshold = Infinity;
  m.poke(0x1000, '01 d8 eb fe');
  const b = m.engine.code.find(0x1000, m.cpu.mode, () => 0);
  const bytes = m.ram.mem.u8.slice(b.record, b.record + RECORD_SIZE);
  bytes.fill(0, 0, 4);                         // the handler's number depends on what was decoded before
  assert.equal(block('The record'), hex(bytes));
});

test('the cold handler of the worked example', () => {
  const c = new Code(HANDLER_PARAMS);
  const t = new ColdTranslation(c, shape, runtime);
  meaning.emit(t);
  t.next();
  assert.equal(block('The cold handler'), hex(c.bytes.slice(0, c.length)));
});

test('the worked example inside a region', () => {
  const c = new Code(HANDLER_PARAMS);
  const cpu = c.param(0, i32);
  const rax = c.local(i64), rbx = c.local(i64);
  const flags = new HotFlags(c, cpu, runtime);
  const unused = () => assert.fail('not needed here');
  const use = flagUse('ADD', '', 'oszapc', '', undefined);
  const frame = {
    c, cpu, runtime, flags, ripPage: rax, wide: true, clean: new Set<number>(), nesting: 0, values: new Values(), reaches: new Map<string, never>(), spans: new Map<string, never>(), register: (n: number) => n === 0 ? rax : rbx,
    edge: unused, leave: unused, exitTo: unused, returns: unused, spare: unused, paid: unused, remaining: unused, charge: unused, pointer: unused, segmentBase: unused, segmentEnd: unused, isShort: unused, lengthen: unused,
    unusualMxcsr: unused, vector: unused, ordinary: new Map<number, string>(), invariants: new Map<string, L32>(),
  };
  flags.begin(use, true);
  meaning.emit(new HotTranslation(frame, { insn, shape, start: 0, end: 2, use, leaves: false }, 0));
  assert.equal(block('The same in a region'), hex(c.bytes.slice(0, c.length)));
  assert.equal(STATE.gpr, 0);
});
