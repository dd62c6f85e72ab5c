/**
 * Runs the images of test/recorder/system on bare silicon: a machine whose ring 0 is the image itself, loaded where its
 * multiboot header says.
 */
import { readFileSync } from 'node:fs';
import { resetCpu } from '../../machine/cpu/reset.ts';
import { CS, DS, ES, FS, GS, SS, updateMode } from '../../machine/cpu/state.ts';
import { Machine } from '../../machine/machine.ts';

const COM1 = 0x3f8, EXIT = 0xf4;
const golden = new URL('../golden/', import.meta.url);

/** What the image printed, one line a case. */
export function runImage(name: string, cycles = 200_000_000): string[] {
  const machine = new Machine({
    memory: 16 << 20, cpus: 1, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: () => {}, read: () => 'eof' }, startDate: 0n },
  });
  const file = readFileSync(new URL(`${name}.bin`, golden));
  const { ram } = machine;
  ram.mem.u8.set(file, ram.base + file.readUInt32LE(16));
  let output = '';
  let left = false;
  machine.install({
    step: (p) => {
      if (left || p.runBare() !== 'limit') {
        left = true;
        p.halt();
      }
    },
  });
  machine.startEngine();
  const { cpu } = machine.processors[0]!;
  resetCpu(cpu);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x10, 0n, 0xffff_ffff, 0xc093);
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xc09b);
  cpu.state.cr0 = 0x11n;
  cpu.rip = BigInt(file.readUInt32LE(28));
  cpu.gpr[0] = 0x2bad_b002n;
  updateMode(cpu);
  const { bus } = cpu;
  cpu.bus = Object.assign(Object.create(bus), {
    portIn: () => 0,
    portOut: (_cpu: unknown, port: number, _size: number, value: number) => {
      if (port === COM1) output += String.fromCharCode(value & 0xff);
      if (port === EXIT) left = true;
    },
  });
  for (let until = 1_000_000; until <= cycles && !left; until += 1_000_000) machine.run(until);
  return output.split('\n').slice(0, -1);
}

export const goldenLines = (name: string): string[] => readFileSync(new URL(`${name}.txt`, golden), 'utf8').split('\n').slice(0, -1);
