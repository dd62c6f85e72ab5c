/** --stats FILE: what a run did, for comparing two runs: instructions retired per processor and a hash of RAM. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Machine } from '../machine/machine.ts';

export function writeStats(file: string, machine: Machine): void {
  const { ram } = machine;
  const hash = createHash('sha256');
  const step = 1 << 28;
  for (let at = 0; at < ram.size; at += step) hash.update(ram.mem.u8.subarray(ram.base + at, ram.base + Math.min(at + step, ram.size)));
  writeFileSync(file, `${JSON.stringify({
    status: machine.status,
    cycles: machine.latest(),
    processors: machine.processors.map((p) => ({ id: p.id, clock: p.clock, user: p.retired.user, guest: p.retired.guest })),
    ram: { bytes: ram.size, sha256: hash.digest('hex') },
  }, null, 2)}\n`);
}
