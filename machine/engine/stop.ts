/**
 * The joint between the engine and whoever runs it: why run() came back, and how the devices and system instructions
 * that are called from inside a run count cycles and end it at the next instruction boundary.
 *
 * The inner loop tests one word, `budget`. To end a run early its rest is set aside in `held`, so that nothing else
 * needs testing and the count of what was used stays exact: used = granted - budget - held.
 */
import { type CpuState, STATE } from '../cpu/state.ts';
import { ENGINE } from './layout.ts';

/** The budget is used up; RIP is at the next instruction. */
export const STOP_LIMIT = 0;
/** stopSoon() was called; RIP is at the next instruction. */
export const STOP_EVENT = 1;
/** engine.fault was raised; RIP is at the instruction that raised it, which has changed nothing. */
export const STOP_FAULT = 2;
/** VM_EXIT was thrown: the guest exits, RIP is at the instruction that made it. */
export const STOP_EXIT = 3;
export type StopReason = 0 | 1 | 2 | 3;

const BUDGET = STATE.budget >>> 2, GRANTED = ENGINE.granted >>> 2, HELD = ENGINE.held >>> 2, CHARGED = ENGINE.charged >>> 2;

/** Ends the run in progress before its next instruction. Harmless when none is. */
export function stopSoon(cpu: CpuState): void {
  const w = cpu.u32;
  const budget = w[BUDGET]! | 0;
  if (budget > 0) {
    w[HELD] = w[HELD]! + budget;
    w[BUDGET] = 0;
  }
}

/** Counts cycles beyond the one of the instruction in progress. */
export function charge(cpu: CpuState, cycles: number): void {
  const w = cpu.u32;
  w[CHARGED] = w[CHARGED]! + cycles;
  w[BUDGET] = w[BUDGET]! - cycles;
}

/** Cycles the run in progress has used so far, charges and the instruction in progress included. */
export const elapsed = (cpu: CpuState): number => (cpu.u32[GRANTED]! - cpu.u32[BUDGET]! - cpu.u32[HELD]!) | 0;

/** Takes from the run in progress all cycles beyond `cycles` from now on: something nearer was programmed. */
export function shorten(cpu: CpuState, cycles: number): void {
  const w = cpu.u32;
  const rest = (w[BUDGET]! + w[HELD]!) | 0;
  const excess = rest - Math.max(cycles, 0);
  if (excess <= 0) return;
  w[GRANTED] = w[GRANTED]! - excess;
  const fromHeld = Math.min(excess, w[HELD]! | 0);
  w[HELD] = w[HELD]! - fromHeld;
  w[BUDGET] = w[BUDGET]! - (excess - fromHeld);
}
