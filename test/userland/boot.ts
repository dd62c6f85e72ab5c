/**
 * Boots a kernel with the programs of userland/ and no modules, runs one command line, and gives what it printed.
 */
import type { Program } from '../../abi/process.ts';
import { Kernel } from '../../kernel/index.ts';
import { Machine } from '../../machine/machine.ts';
import { programs } from '../../userland/programs.ts';
import type { ConsolePort } from '../../machine/platform.ts';

/** A console that hands over `input` on demand and then ends. */
class Tape implements ConsolePort {
  readonly isTerminal = false;
  output = '';
  private input: Uint8Array;
  private readonly decoder = new TextDecoder();
  constructor(input: string) {
    this.input = new TextEncoder().encode(input);
  }
  size() { return { cols: 80, rows: 24 }; }
  write(bytes: Uint8Array): void { this.output += this.decoder.decode(bytes, { stream: true }); }
  read(max: number): Uint8Array | 'eof' {
    if (this.input.length === 0) return 'eof';
    const bytes = this.input.slice(0, max);
    this.input = this.input.slice(max);
    return bytes;
  }
}

export interface Ran { readonly output: string; readonly status: number }

export interface RunOptions {
  readonly input?: string;
  readonly programs?: readonly Program[];
  readonly files?: ReadonlyMap<string, string>;
  readonly cpus?: number;
  /** Virtual seconds after which a run that has not ended fails. */
  readonly limit?: number;
  /** argv of init after its name. */
  readonly init?: readonly string[];
}

/** Runs `sh -c command` as init's one job. */
export function run(command: string, options: RunOptions = {}): Ran {
  const console_ = new Tape(options.input ?? '');
  const machine = new Machine({ memory: 64 << 20, cpus: options.cpus ?? 1, seed: 1, platform: { console: console_, startDate: 1_700_000_000_000_000_000n } });
  const kernel = new Kernel(machine, {
    programs: [...programs, ...(options.programs ?? [])], modules: [], quiet: true,
    init: ['/bin/init', ...(options.init ?? ['-c', command])],
    files: new Map([['/etc/profile', ''], ['/root/.keep', ''], ...(options.files ?? [])]),
  });
  void kernel;
  const limit = (options.limit ?? 20) * 1e9;
  for (let until = 1e8; ; until += 1e8) {
    const state = machine.run(until);
    if (state === 'off') break;
    if (state === 'idle') throw new Error(`idle for ever: ${command}\n${console_.output}`);
    if (until > limit) throw new Error(`did not end within ${limit / 1e9} s: ${command}\n${console_.output}`);
  }
  return { output: console_.output, status: machine.status };
}

/** A console with somebody at it: what is typed arrives between steps, and the screen is what was printed since. */
export class Terminal {
  readonly machine: Machine;
  private printed = '';
  private time = 0;
  constructor(options: RunOptions = {}) {
    const decoder = new TextDecoder();
    const port: ConsolePort = {
      isTerminal: true,
      size: () => ({ cols: 80, rows: 24 }),
      write: (bytes) => { this.printed += decoder.decode(bytes, { stream: true }); },
      read: () => undefined,
    };
    this.machine = new Machine({ memory: 64 << 20, cpus: options.cpus ?? 1, seed: 1, platform: { console: port, startDate: 1_700_000_000_000_000_000n } });
    void new Kernel(this.machine, { programs: [...programs, ...(options.programs ?? [])], modules: [], quiet: true, init: ['/bin/init'], files: new Map(options.files ?? []) });
    this.wait(0.5);
  }
  /** Lets `seconds` of virtual time pass. */
  wait(seconds: number): void {
    this.time += seconds * 1e9;
    this.machine.run(this.time);
  }
  /** Types `keys`, waits, and gives what was printed since the last look, without escape sequences or carriage returns. */
  type(keys: string, seconds = 0.3): string {
    this.printed = '';
    this.machine.at(this.time, () => this.machine.uart.receive(new TextEncoder().encode(keys)));
    this.wait(seconds);
    return this.screen;
  }
  get screen(): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
    return this.printed.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '').replaceAll('\r', '');
  }
  get off(): boolean {
    return this.machine.run(this.time) === 'off';
  }
}
