/**
 * The measurements of `make bench`: guest MIPS beside QEMU TCG's, exits of each kind in virtual cycles and on the host, system calls, boot time.
 * Figures are CPU time of this process unless they say otherwise.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../cli/usage.ts';
import { cliffTable, measureFootprint, timeMany } from './cliffs.ts';
import { timeBoot } from './boot-time.ts';
import { timeExits } from './exits.ts';
import { timePaging } from './paging.ts';
import { type GuestSet, guestTable, imageOf, timeGuest } from './guest.ts';
import { timeGuests, timeTcgGuests } from './many-guests.ts';
import { tcgVersion, timeTcg } from './qemu-tcg.ts';
import { timeSyscalls } from './syscalls.ts';

export interface BenchOptions { readonly root: string; readonly set: GuestSet; readonly only: readonly string[]; readonly json: string | undefined; readonly tcg: boolean }

interface Result { readonly name: string; readonly value: number; readonly unit: string; readonly tcg?: number | undefined }

const geomean = (values: readonly number[]): number => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
const show = (value: number): string => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** Measurements besides guests, as they are asked for. */
const PARTS: readonly string[] = ['exits', 'paging', 'many', 'guests', 'footprint', 'syscalls', 'boot'];
/** Kernels whose figure is an event count, not MIPS. */
const events: Readonly<Record<string, string>> = { int: 'int 0x30 + iret', out: 'exits to user space' };

export async function main(options: BenchOptions): Promise<number> {
  const folder = join(options.root, 'bench', 'guests');
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const results: Result[] = [];
  const table = guestTable(folder), cliffs = cliffTable(folder);
  const names = [...table.map((r) => `${r.kernel}.${r.width}`), ...cliffs.map((c) => c.row.kernel), ...PARTS];
  const unknown = options.only.find((word) => !names.some((name) => name.includes(word)));
  if (unknown !== undefined) throw new UsageError(`no measurement is called ${unknown}; there are ${[...new Set(names)].join(' ')}`);
  const add = (result: Result): void => {
    results.push(result);
    const beside = result.tcg === undefined ? '' : `${show(result.tcg).padStart(12)}  ${(result.value / result.tcg).toFixed(3).padStart(8)}`;
    say(`${result.name.padEnd(40)}${show(result.value).padStart(12)} ${result.unit.padEnd(10)}${beside}`);
  };
  const wanted = (name: string): boolean => options.only.length === 0 || options.only.some((word) => name.includes(word));
  const tcg = options.tcg ? tcgVersion() : undefined;
  say(`node ${process.versions.node}, ${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores; guests: ${options.set}`);
  if (options.tcg) say(tcg ? `beside: ${tcg}, -accel tcg,thread=single -cpu max, same guests and sizes 'small'` : "skip: QEMU TCG is not installed (qemu-system-x86_64, on Linux), no figures beside");
  say(`${'measurement'.padEnd(40)}${'here'.padStart(12)} ${'unit'.padEnd(10)}${tcg ? `${'TCG'.padStart(12)}  ${'here/TCG'.padStart(8)}` : ''}`);

  for (const row of table.filter((r) => r.set === options.set && wanted(`${r.kernel}.${r.width}`))) {
    const seconds = timeGuest(folder, row);
    const event = events[row.kernel];
    const per = (r: { instructions: number; count: number }, s: number): number => (event ? r.count / s / 1e6 : r.instructions / s / 1e6);
    const other = table.find((r) => r.set === 'small' && r.kernel === row.kernel && r.width === row.width);
    const tcgSeconds = tcg && other ? await timeTcg(imageOf(folder, other)) : undefined;
    add({ name: `${row.kernel}.${row.width}${event ? ` (${event})` : ''}`, value: per(row, seconds), unit: event ? 'M/s' : 'MIPS', tcg: tcgSeconds && tcgSeconds > 0 ? per(other!, tcgSeconds) : undefined });
  }
  for (const width of [16, 32, 64]) {
    const rows = results.filter((r) => r.unit === 'MIPS' && r.name.endsWith(`.${width}`));
    const both = rows.filter((r) => r.tcg !== undefined);
    if (rows.length > 0) add({ name: `geometric mean, ${width}-bit`, value: geomean(rows.map((r) => r.value)), unit: 'MIPS', tcg: both.length === rows.length ? geomean(both.map((r) => r.tcg!)) : undefined });
  }
  if (wanted('exits')) {
    for (const { name, cycles, host, best } of timeExits()) {
      add({ name, value: cycles, unit: 'cycles' });
      add({ name: '  host', value: host, unit: 'ns' });
      if (best !== host) add({ name: '  host, best part', value: best, unit: 'ns' });
    }
  }
  if (wanted('paging')) {
    for (const { name, silicon, ept, shadow } of timePaging()) {
      add({ name: `${name}, silicon`, value: silicon.cycles, unit: 'cycles' });
      for (const [mmu, r] of [['EPT', ept], ['shadow', shadow]] as const) {
        add({ name: `  ${mmu}`, value: r.cycles, unit: 'cycles' });
        add({ name: `  ${mmu}, exits`, value: r.exits, unit: 'exits' });
        add({ name: `  ${mmu}, faults served`, value: r.faults, unit: 'faults' });
      }
    }
  }
  for (const { row, what } of cliffs.filter((c) => wanted(c.row.kernel))) {
    const seconds = timeGuest(folder, row);
    const other = tcg ? await timeTcg(imageOf(folder, row)) : undefined;
    add({ name: `${row.kernel} (${what})`, value: row.count / seconds / 1e6, unit: 'M/s', tcg: other !== undefined && other > 0 ? row.count / other / 1e6 : undefined });
  }
  if (wanted('many')) for (const n of [1, 64]) add({ name: `many (${n} processor${n === 1 ? '' : 's'}, own code)`, value: timeMany(n), unit: 'M instr/s' });
  if (wanted('guests')) {
    const here = timeGuests(folder);
    const other = tcg ? await timeTcgGuests(folder) : undefined;
    add({ name: 'guests with own code, one after another', value: here.inTurn, unit: 'MIPS', tcg: other });
    add({ name: 'guests with own code, 64 at once', value: here.atOnce, unit: 'MIPS', tcg: other });
  }
  if (wanted('footprint')) add({ name: 'footprint, 100,000 blocks', value: measureFootprint(folder), unit: 'MiB' });
  if (wanted('syscalls')) add({ name: 'system calls', value: timeSyscalls() / 1e6, unit: 'M/s' });
  if (wanted('boot')) add({ name: 'boot to prompt (wall)', value: timeBoot(options.root), unit: 'ms' });
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ node: process.versions.node, cpu: cpus()[0]?.model, tcg, set: options.set, results }, null, 2)}\n`);
  return 0;
}
