/**
 * What translators are bad at: guests of bench/guests/src/cliffs.c, many processors with code of their own, and the memory a large
 * working set of code takes.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { resetCpu } from '../machine/cpu/reset.ts';
import { CpuState, RSP, cpu_state } from '../machine/cpu/state.ts';
import { BareMachine } from './bare-machine.ts';
import type { GuestRow } from './guest-table.ts';

export interface Cliff { readonly row: GuestRow; readonly what: string }

export const cliffTable = (folder: string): Cliff[] =>
  readFileSync(join(folder, 'cliffs.tsv'), 'utf8').trim().split('\n').slice(1).map((line) => {
    const [kernel, count, checksum, what] = line.split('\t');
    return { row: { set: 'cliffs', kernel: kernel!, width: 64, count: Number(count), checksum: checksum!, instructions: 1e8 }, what: what! };
  });

/** Rounds before those that are measured: all loops have regions by then, and V8 has compiled them. */
const CODE = 0x20_0000, QUANTUM = 10_000, WARM = 100, ROUNDS = 200;

/** Million instructions a second of that many processors in turn, each in a loop of its own code: arithmetic, a call, a load and a store. */
export function timeMany(processors: number): number {
  const m = new BareMachine();
  m.longMode(CODE);
  const cpus: CpuState[] = [m.cpu];
  for (let id = 1; id < processors; id++) {
    const cpu = new CpuState(m.ram.mem, m.ram.reserve(cpu_state.size, 64), id, m.ram.base, m.ram.size);
    cpu.bus = m.cpu.bus;
    m.engine.attach(cpu);
    resetCpu(cpu);
    m.longMode(CODE, undefined, cpu);
    cpus.push(cpu);
  }
  cpus.forEach((cpu, id) => {
    const at = CODE + id * 0x1_0000;
    // again: add eax,imm32; call f; mov [rdi],eax; add edx,[rdi]; dec ecx; jmp again. f: imul eax,eax,imm32; rol eax,7; ret
    const number = (n: number) => Buffer.from(Uint32Array.of(n).buffer).toString('hex');
    m.poke(at, `05 ${number(id * 77 + 1)} e8 0a 00 00 00 89 07 03 17 ff c9 eb ee 90 90 90 69 c0 ${number(id * 2 + 3)} c1 c0 07 c3`);
    cpu.rip = BigInt(at);
    cpu.gpr[RSP] = BigInt(at + 0x8000);
    cpu.gpr[7] = BigInt(at + 0x4000);
  });
  const round = () => { for (const cpu of cpus) m.engine.run(cpu, QUANTUM); };
  for (let i = 0; i < WARM; i++) round();
  const rounds = Math.ceil(ROUNDS * 64 / processors);
  const before = process.cpuUsage();
  for (let i = 0; i < rounds; i++) round();
  const used = process.cpuUsage(before);
  return rounds * processors * QUANTUM / (used.user + used.system);
}

/** MiB that 100,000 blocks of ten instructions add to this process. */
export function measureFootprint(folder: string): number {
  const m = new BareMachine();
  m.loadElf(join(folder, 'built', 'cliffs', 'once.64.elf'));
  const before = process.memoryUsage().rss;
  m.run(30_000_000);
  const after = process.memoryUsage().rss;
  // The guest writes the functions into 100,000 * 64 bytes of its own memory.
  if (m.engine.code.translated.blocks < 100_000) throw new Error(`only ${m.engine.code.translated.blocks} blocks`);
  return (after - before) / 2 ** 20 - 6.1;
}
