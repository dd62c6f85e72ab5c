/**
 * Drives a booted machine from the real host. Without a terminal it runs as fast as it can and jumps over idle
 * time; at a terminal virtual time never runs ahead of the wall clock, and keys and window sizes reach the
 * machine as events at exact cycles.
 */
import { Worker } from 'node:worker_threads';
import type { System } from '../system/boot.ts';
import { type Recorder, type RecordEntry, fromBase64, toBase64 } from './record.ts';

/** Cycles between two looks at the host; small enough that a heartbeat comes many times a second. */
const CHUNK = 2_000_000;
/** Input takes effect this many cycles after the machine was last looked at: later than any processor's clock. */
const INPUT_DELAY = 100_000;
const LOCKUP_SECONDS = 10;

/** Starts the soft-lockup watchdog; the returned function is called once a chunk. */
export function startWatchdog(worker: URL): { beat(): void; sleeping(asleep: boolean): void; stop(): void } {
  const shared = new SharedArrayBuffer(8);
  const words = new Int32Array(shared);
  const thread = new Worker(worker, { workerData: { heartbeat: shared, seconds: LOCKUP_SECONDS }, execArgv: [] });
  thread.unref();
  words[1] = 1;
  return {
    beat() { words[0] = (words[0]! + 1) | 0; },
    sleeping(asleep) { words[1] = asleep ? 0 : 1; },
    stop() { words[1] = 0; void thread.terminate(); },
  };
}

type Watchdog = ReturnType<typeof startWatchdog>;

/** Why a machine that can go no further cannot: said by the caller as one line. */
export class Stuck extends Error {}

/** No terminal: runs to power-off and returns the status. */
export function runToPowerOff(system: System, watchdog: Watchdog): number {
  const { machine } = system;
  for (;;) {
    const wake = machine.nextWake();
    const from = machine.now();
    const state = machine.run(Math.max(from, Number.isFinite(wake) ? wake : from) + CHUNK);
    watchdog.beat();
    if (state === 'off') return machine.status;
    if (state === 'idle') throw new Stuck('every processor is idle and nothing is left that could wake one');
  }
}

/** At a terminal: resolves with the status at power-off. Raw mode is on meanwhile. */
export function runAtTerminal(system: System, watchdog: Watchdog, recorder: Recorder | undefined): Promise<number> {
  const { machine } = system;
  const { stdin, stdout } = process;
  const cyclesPerMs = system.cyclesPerMs;
  const deliver = (entry: RecordEntry): void => { recorder?.add(entry); scheduleEntry(system, entry); };
  /** Where the wall clock stands in virtual time; an idle machine's own clocks stay behind it. */
  let wall = machine.now();
  const soon = (): number => Math.max(machine.latest() + INPUT_DELAY, Math.floor(wall));

  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    let then = process.hrtime.bigint();
    const finish = (end: () => void): void => {
      clearTimeout(timer);
      stdin.setRawMode(false);
      stdin.pause();
      stdin.removeAllListeners('data');
      stdout.removeAllListeners('resize');
      end();
    };
    const turn = (): void => {
      try {
        const now = process.hrtime.bigint();
        // A host that cannot keep up lets virtual time fall behind; it is never caught up in a rush.
        wall += Math.min(Number(now - then) / 1e6, 20) * cyclesPerMs;
        then = now;
        const state = machine.run(wall);
        watchdog.beat();
        if (state === 'off') return finish(() => resolve(machine.status));
        const ahead = (machine.nextWake() - wall) / cyclesPerMs;
        const idle = state === 'idle' || ahead > 1;
        watchdog.sleeping(idle);
        if (idle) timer = setTimeout(wake, Math.min(10, Math.max(1, ahead)));
        else setImmediate(wake);
      } catch (error) {
        finish(() => reject(error));
      }
    };
    const wake = (): void => { watchdog.sleeping(false); turn(); };
    stdin.setRawMode(true);
    stdin.on('data', (bytes: Buffer) => deliver({ at: soon(), input: toBase64(bytes) }));
    stdout.on('resize', () => deliver({ at: soon(), size: { cols: stdout.columns, rows: stdout.rows } }));
    process.on('exit', () => { if (stdin.isTTY) stdin.setRawMode(false); });
    turn();
  });
}

/** Makes one recorded input an event of the machine. Demanded reads are the console's own business. */
export function scheduleEntry(system: System, entry: RecordEntry): void {
  if ('input' in entry) system.machine.at(entry.at, () => system.machine.uart.receive(fromBase64(entry.input)));
  else if ('size' in entry) system.machine.at(entry.at, () => system.resizeConsole(entry.size.cols, entry.size.rows));
}
