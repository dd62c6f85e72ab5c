/** The options of `boot`, checked: each wrong value is one clear line (an Error's message). */
import { MAX_RAM } from '../machine/ram.ts';
import { MAX_CPUS } from '../machine/machine.ts';

export const MIN_MEMORY = 32 * 2 ** 20;
export const MIN_MHZ = 100, MAX_MHZ = 10_000;

const units: Readonly<Record<string, number>> = { '': 2 ** 20, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `512M`, `1G`, `65536K`; a bare number is MiB, as QEMU's -m. Returns bytes. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)i?b?$/i.exec(text);
  const bytes = match ? Number(match[1]) * units[match[2]!.toLowerCase()]! : Number.NaN;
  if (!Number.isInteger(bytes / 4096) || bytes < MIN_MEMORY || bytes > MAX_RAM) throw new Error(`--memory ${text}: give 32M to ${MAX_RAM / 2 ** 30}G in whole pages`);
  return bytes;
}

export function parseCpus(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || n > MAX_CPUS) throw new Error(`--cpus ${text}: give 1 to ${MAX_CPUS}`);
  return n;
}

export function parseSeed(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n > 0xffff_ffff) throw new Error(`--seed ${text}: give a whole number from 0 to 4294967295`);
  return n;
}

export function parseMhz(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < MIN_MHZ || n > MAX_MHZ) throw new Error(`--mhz ${text}: give ${MIN_MHZ} to ${MAX_MHZ}`);
  return n;
}
