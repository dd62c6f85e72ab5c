/**
 * Pushes of segment registers, and loads as regions do them in real and virtual-8086 mode, where a selector is a base and nothing
 * else changes: limit and rights are those that mode has. In protected mode, and for SS and its shadow, loads are their exec rows'
 * (descriptor-instructions.ts).
 */
import type { HotTranslation } from '../engine/hot-translation.ts';
import type { L64 } from '../engine/wasm-emitter.ts';
import type { Emit, EmitReal } from './opcode-row.ts';
import { CS, GS, MODE_PROTECTED, MODE_VM86, SEGMENT_SIZE, SS, STATE } from './state.ts';

const REAL_RIGHTS = 0x93, REAL_LIMIT = 0xffff, DPL3 = 0x60;

/** Whether a selector loaded now would leave the mode word, limit and rights as they are. */
function selectorIsBase(t: HotTranslation, seg: number): void {
  const { c } = t;
  const at = STATE.seg + seg * SEGMENT_SIZE;
  t.unless(c.eqz32(c.and32(t.state32(STATE.mode), c.const32(MODE_PROTECTED))));
  t.unless(c.eq32(t.state32(at + 8), c.const32(REAL_LIMIT)));
  t.unless(c.eq32(t.state32(at + 12), c.select(c.const32(REAL_RIGHTS | DPL3), c.const32(REAL_RIGHTS), c.and32(t.state32(STATE.mode), c.const32(MODE_VM86)))));
}
function load(t: HotTranslation, seg: number, selector: L64): void {
  const { c } = t;
  const at = STATE.seg + seg * SEGMENT_SIZE;
  c.store32(c.get(t.cpu), c.wrap(c.get(selector)), at + 16);
  t.setSegmentBase(seg, c.shl(c.get(selector), c.const(4)));
}

export const movToRealSreg: EmitReal = (t) => {
  const seg = t.selectorNumber;
  if (seg === CS || seg === SS || seg > GS) {
    t.leave();
    return;
  }
  const selector = t.read(1);
  selectorIsBase(t, seg);
  load(t, seg, selector);
};
/** Only the selector is read, whatever the operand's size. */
export const popRealSreg = (seg: number): EmitReal => (t) => {
  const selector = t.top(2);
  selectorIsBase(t, seg);
  t.drop(t.size);
  load(t, seg, selector);
};
export const realFarPointer = (seg: number): EmitReal => (t) => {
  const { c, size } = t;
  const offset = c.keep64(t.effectiveAddress());
  const value = c.keep64(t.load(t.operandAddressAt(offset, size, false), size));
  const second = c.keep64(t.address(c.add(c.get(offset), c.const(size))));
  const selector = c.keep64(t.load(t.operandAddressAt(second, 2, false), 2));
  selectorIsBase(t, seg);
  load(t, seg, selector);
  t.write(0, value);
};
/** In every mode. A 32-bit push writes 16 bits and leaves what lies above them. */
export const pushSreg = (seg: number): Emit => (t) => {
  const { c, size } = t;
  const width = size === 4 ? 2 : size;
  const top = t.stackOffset(-size);
  t.store(t.segmentAddress(SS, top, width, true), width, c.keep64(c.extendu(t.state32(STATE.seg + seg * SEGMENT_SIZE + 16))), SS);
  t.setStackPointer(top);
};
