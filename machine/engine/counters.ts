/**
 * What the engine has done so far, for whoever wants to look: /sys/kernel/debug/vitrine/engine shows it. Counting costs no cycles.
 */
import type { CpuState } from '../cpu/state.ts';
import type { Engine } from './engine.ts';
import { ENGINE } from './layout.ts';

/** Why a region was left. */
export const EXIT_BUDGET = 0;     // the deadline is near, or it had run for long
export const EXIT_IN_FRONT = 1;   // of an instruction that the cold tier must run: a fault, a device, translated code
export const EXIT_JUMP = 2;       // to code that is not part of it
export const EXIT_COMPUTED = 3;   // the same, to an address known only then

/** Name and value, in the order to show. */
export function engineCounters(engine: Engine, cpus: readonly CpuState[]): (readonly [name: string, value: number])[] {
  const { code, tlb } = engine;
  const sum = (offset: number): number => cpus.reduce((n, cpu) => n + Number(cpu.u64[offset >>> 3]!), 0);
  return [
    ['blocks_translated', code.translated.blocks],
    ['instructions_translated', code.translated.instructions],
    ['blocks', code.size],
    ['handlers', code.handlers.count],
    ['handler_modules', code.handlers.modules],
    ['handler_bytes', code.handlers.bytes],
    ['regions_made', code.hot.regions],
    ['region_modules', code.handlers.regions.modules],
    ['region_bytes', code.hot.bytes],
    ['regions_dropped', code.hot.dropped],
    ['pages_invalidated', code.invalidated],
    ['cache_resets', code.epoch],
    ['tlb_misses', sum(ENGINE.fills) + tlb.walks],
    ['tlb_misses_slow', tlb.walks],
    ['region_exits_budget', sum(ENGINE.region_exits + 8 * EXIT_BUDGET)],
    ['region_exits_in_front', sum(ENGINE.region_exits + 8 * EXIT_IN_FRONT)],
    ['region_exits_jump', sum(ENGINE.region_exits + 8 * EXIT_JUMP)],
    ['region_exits_computed', sum(ENGINE.region_exits + 8 * EXIT_COMPUTED)],
  ];
}
