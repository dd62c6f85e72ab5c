/**
 * One bench guest through the whole stack: qemu-lite in the booted system, CPU time of this process between the
 * guest's START and END lines.
 */
import { readFileSync } from 'node:fs';
import type { ConsolePort } from '../machine/platform.ts';
import { bootSystem } from '../system/boot.ts';
import { type GuestRow, imageOf } from './guest-table.ts';

export { type GuestRow, type GuestSet, guestTable, imageOf } from './guest-table.ts';

/** Notes the process's CPU time when the START and END lines come by. */
class StopwatchConsole implements ConsolePort {
  readonly isTerminal = false;
  output = '';
  started: NodeJS.CpuUsage | undefined;
  seconds: number | undefined;
  size() { return { cols: 80, rows: 24 }; }
  read(): 'eof' { return 'eof'; }
  write(bytes: Uint8Array): void {
    this.output += Buffer.from(bytes).toString('latin1');
    if (!this.started && this.output.includes('START ')) this.started = process.cpuUsage();
    else if (this.started && this.seconds === undefined && /END \w+ [0-9a-f]{8} /.test(this.output)) {
      const used = process.cpuUsage(this.started);
      this.seconds = (used.user + used.system) / 1e6;
    }
  }
}

/** Cycles between two looks at the console: few until START has come, so that START and END of the shortest guest come apart. */
const SLICE = 20_000, RUNNING_SLICE = 500_000;

/** CPU seconds from START to END. Throws when the guest does not end, or ends with another checksum. */
export function timeGuest(folder: string, row: GuestRow): number {
  const port = new StopwatchConsole();
  const { machine } = bootSystem({
    machine: { cpus: 2, memory: 512 << 20, seed: 1, platform: { console: port, startDate: 1_735_689_600_000_000_000n } },
    quiet: true,
    init: ['-c', 'qemu-lite -kernel /boot/guest.elf -nographic'],
    files: new Map([['/boot/guest.elf', new Uint8Array(readFileSync(imageOf(folder, row)))]]),
  });
  // A step is never cut short for the host, but it is for an event.
  const slice = (): number => port.started ? RUNNING_SLICE : SLICE;
  const tick = (): void => void machine.at(machine.now() + slice(), tick);
  tick();
  const limit = machine.now() + row.instructions * 2000 + 1e10;
  while (port.seconds === undefined) {
    if (machine.run(Math.max(machine.now(), machine.nextWake()) + slice()) !== 'paused' || machine.now() > limit) throw new Error(`${row.kernel}.${row.width}: did not reach END; it printed: ${port.output.slice(-200)}`);
  }
  if (!port.output.includes(row.checksum)) throw new Error(`${row.kernel}.${row.width}: checksum is not ${row.checksum}: ${port.output.slice(-200)}`);
  return port.seconds;
}
