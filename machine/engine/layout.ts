/** Offsets of the engine's fields from the start of a processor's state, as STATE gives those of the registers. */
import { STATE } from '../cpu/state.ts';
import { engine_state } from './engine-state.ts';

export const ENGINE = Object.fromEntries(Object.entries(engine_state.offset).map(([name, at]) => [name, STATE.engine + at])) as
  Record<keyof typeof engine_state.offset & string, number>;
