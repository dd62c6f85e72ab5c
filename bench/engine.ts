/**
 * Guest MIPS of the bare engine: each benchmark guest on one processor without kernel and KVM, by CPU time between its
 * START and END lines.
 *
 *   node --import tsx bench/engine.ts [tiny|small|full] [name…]
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BareMachine } from './bare-machine.ts';
import { type GuestRow, type GuestSet, guestTable, imageOf } from './guest-table.ts';

const SLICE = 1_000_000;
export const guestsFolder = fileURLToPath(new URL('./guests', import.meta.url));

export interface BareResult { readonly checksum: string | undefined; readonly seconds: number; /** Retired between START and END, as expected.tsv counts. */ readonly instructions: number }

/** Runs a guest from its entry to its END line. */
export function runBare(row: GuestRow, folder = guestsFolder): BareResult {
  const m = new BareMachine();
  m.loadElf(imageOf(folder, row));
  const { bus } = m.cpu;
  const { portOut } = bus;
  // Charges at the guest's two readings of the TSC, none of which emitted code is to make by itself.
  const charges: number[] = [];
  const { readTsc } = bus;
  bus.timeAlone = () => -1;
  bus.readTsc = () => {
    charges.push(m.charged);
    return readTsc();
  };
  let began: NodeJS.CpuUsage | undefined, used: NodeJS.CpuUsage | undefined;
  bus.portOut = (cpu, port, size, value) => {
    portOut(cpu, port, size, value);
    if (port !== 0x3f8) return;
    if (!began && value === 10) began = process.cpuUsage();
    else if (!used && began && m.output.endsWith('\nE')) used = process.cpuUsage(began);
    if (used && value === 10 && m.output.includes('END ')) m.stop();
  };
  m.run(row.instructions * 3 + 1e8, SLICE);
  const [, checksum, cycles] = /END \w+ ([0-9a-f]+) tsc ([0-9a-f]+)/.exec(m.output) ?? [];
  return { checksum, seconds: used ? (used.user + used.system) / 1e6 : Number.NaN, instructions: Number.parseInt(cycles ?? '0', 16) - (charges[1]! - charges[0]!) };
}

if (process.argv[1] && join(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [set = 'tiny', ...names] = process.argv.slice(2);
  const mips: number[] = [];
  for (const row of guestTable(guestsFolder)) {
    const name = `${row.kernel}.${row.width}`;
    if (row.set !== (set as GuestSet) || (names.length > 0 && !names.some((n) => name.startsWith(n)))) continue;
    const r = runBare(row);
    const speed = row.instructions / r.seconds / 1e6;
    mips.push(speed);
    const wrong = r.checksum !== row.checksum ? `checksum ${r.checksum}, not ${row.checksum}` : r.instructions !== row.instructions ? `${r.instructions} instructions, not ${row.instructions}` : '';
    console.log(`${name.padEnd(14)}${speed.toFixed(1).padStart(8)} MIPS  ${wrong}`);
  }
  console.log(`${'geometric mean'.padEnd(14)}${Math.exp(mips.reduce((s, v) => s + Math.log(v), 0) / mips.length).toFixed(1).padStart(8)} MIPS`);
}
