/** A bare machine of two processors that run real-mode code from their own pages until they halt. */
import { resetCpu } from '../../machine/cpu/reset.ts';
import { CS, type CpuState, DS, SS, updateMode } from '../../machine/cpu/state.ts';
import { Machine } from '../../machine/machine.ts';

export const HLT = 0xf4;

export interface TwoProcessors {
  readonly machine: Machine;
  /** Processor by processor: has it halted? */
  readonly ended: readonly boolean[];
  byte(address: number): number;
}

/** Runs for `limit` cycles. HLT follows each code; `setUp` may change registers, which are 0 but for SP. */
export function runTwo(codes: readonly (readonly number[])[], setUp: (cpu: CpuState, id: number) => void = () => {}, limit = 1_000_000): TwoProcessors {
  const machine = new Machine({
    memory: 1 << 20, cpus: 2, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: () => {}, read: () => 'eof' }, startDate: 0n },
  });
  const { ram } = machine;
  machine.startEngine();
  const ended = [false, false];
  codes.forEach((code, id) => {
    const { cpu } = machine.processors[id]!;
    resetCpu(cpu);
    const at = 0x4000 + 0x1000 * id;
    ram.mem.u8.set([...code, HLT], ram.base + at);
    for (const seg of [CS, DS, SS]) cpu.setSegment(seg, 0, 0n, 0xffff, seg === CS ? 0x9b : 0x93);
    cpu.rip = BigInt(at);
    cpu.gpr[4] = BigInt(0x8000 + 0x1000 * id);
    setUp(cpu, id);
    updateMode(cpu);
  });
  machine.install({ step: (p) => { if (!ended[p.id] && p.runBare() !== 'limit') ended[p.id] = true; if (ended[p.id]) p.halt(); } });
  machine.start(1);
  machine.run(limit);
  return { machine, ended, byte: (address) => ram.mem.u8[ram.base + address]! };
}
