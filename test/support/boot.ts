/** Boots a whole system inside the test's process, gives it input, and returns what it printed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { ConsolePort } from '../../machine/platform.ts';
import { type System, type SystemOptions, bootSystem } from '../../system/boot.ts';

export class TestConsole implements ConsolePort {
  readonly isTerminal: boolean;
  output = '';
  #input: Uint8Array;
  readonly #decoder = new TextDecoder();
  /** @param input bytes handed over on demand; then the input has ended */
  constructor(input = '', isTerminal = false) {
    this.isTerminal = isTerminal;
    this.#input = new TextEncoder().encode(input);
  }
  size() { return { cols: 80, rows: 24 }; }
  write(bytes: Uint8Array): void { this.output += this.#decoder.decode(bytes, { stream: true }); }
  read(max: number): Uint8Array | undefined | 'eof' {
    if (this.isTerminal) return undefined;
    if (this.#input.length === 0) return 'eof';
    const bytes = this.#input.slice(0, max);
    this.#input = this.#input.slice(max);
    return bytes;
  }
}

export interface RunOptions {
  readonly cpus?: number;
  readonly memory?: number;
  readonly seed?: number;
  readonly quiet?: boolean;
  readonly input?: string;
  readonly init?: readonly string[];
  readonly programs?: SystemOptions['programs'];
  readonly files?: SystemOptions['files'];
  /** Virtual seconds after which the run counts as hung. */
  readonly seconds?: number;
  /** Sees the system before its first step. */
  readonly prepare?: (system: System) => void;
}
export interface Run { readonly status: number; readonly output: string; readonly system: System }

export function boot(options: RunOptions = {}, port = new TestConsole(options.input)): { system: System; port: TestConsole } {
  const system = bootSystem({
    machine: {
      cpus: options.cpus ?? 2, memory: options.memory ?? 128 << 20, seed: options.seed ?? 1,
      platform: { console: port, startDate: 1_735_689_600_000_000_000n },
    },
    quiet: options.quiet ?? true,
    ...(options.init ? { init: options.init } : {}),
    ...(options.programs ? { programs: options.programs } : {}),
    ...(options.files ? { files: options.files } : {}),
  });
  options.prepare?.(system);
  return { system, port };
}

/** Runs to power-off. A run that hangs, or idles with nothing to wake it, fails the test. */
export function run(options: RunOptions): Run {
  const { system, port } = boot(options);
  const state = system.machine.run((options.seconds ?? 600) * system.cyclesPerMs * 1000);
  assert.equal(state, 'off', `the system is ${state} after ${system.machine.now()} cycles; it printed:\n${port.output}`);
  return { status: system.machine.status, output: port.output, system };
}

/** `run` of one shell command line. */
export const sh = (command: string, options: RunOptions = {}): Run => run({ ...options, init: ['-c', command] });

/** What makes two runs the same run: instructions and clock of each processor, and all of RAM. */
export function fingerprint(system: System): string {
  const { ram, processors } = system.machine;
  const hash = createHash('sha256').update(ram.mem.u8.subarray(ram.base, ram.base + ram.size)).digest('hex');
  return JSON.stringify({ hash, processors: processors.map((p) => [p.clock, p.retired.user, p.retired.guest]) });
}
