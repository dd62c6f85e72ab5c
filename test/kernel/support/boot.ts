/** Boots a machine with small programs of the test's own, and runs it until the first process has powered it off. */
import type { Program, ProgramMain, Sys, UserThread, Word } from '../../../abi/process.ts';
import { cpu } from '../../../abi/process.ts';
import * as NR from '../../../abi/syscalls.ts';
import { Kernel, type Module } from '../../../kernel/index.ts';
import { Machine } from '../../../machine/machine.ts';

export interface BootOptions {
  readonly cpus?: number;
  readonly memory?: number;
  readonly programs?: Readonly<Record<string, ProgramMain>>;
  readonly modules?: readonly Module[];
  readonly load?: readonly string[];
  readonly seed?: number;
  readonly argv?: readonly string[];
  readonly stdin?: string;
  /** Virtual time after which a machine that has not powered off is given up. */
  readonly limit?: number;
  readonly quiet?: boolean;
  readonly files?: ReadonlyMap<string, string | Uint8Array>;
}

export interface Booted { readonly output: string; readonly machine: Machine; readonly kernel: Kernel; readonly status: number; readonly ended: string }

const encoder = new TextEncoder();

/** `init` is the first process: its return value becomes the machine's exit status. */
export function boot(init: ProgramMain, options: BootOptions = {}): Booted {
  let output = '';
  let input = options.stdin;
  const decoder = new TextDecoder();
  const machine = new Machine({
    memory: options.memory ?? 64 << 20, cpus: options.cpus ?? 1, seed: options.seed ?? 1,
    platform: {
      startDate: 1_700_000_000_000_000_000n,
      console: {
        isTerminal: false,
        size: () => ({ cols: 80, rows: 24 }),
        write: (bytes) => { output += decoder.decode(bytes, { stream: true }); },
        read: (max) => {
          if (input === undefined || input === '') return 'eof';
          const bytes = encoder.encode(input.slice(0, max));
          input = input.slice(max);
          return bytes;
        },
      },
    },
  });
  const programs: Program[] = Object.entries(options.programs ?? {}).map(([name, main]) => ({ name, main }));
  programs.push({ name: 'init', main: (argv, envp) => first(init, argv, envp) });
  const kernel = new Kernel(machine, { programs, modules: options.modules ?? [], ...(options.load ? { load: options.load } : {}), ...(options.files ? { files: options.files } : {}), init: options.argv ?? ['/bin/init'], quiet: options.quiet ?? true });
  const ended = machine.run(options.limit ?? 60_000_000_000);
  return { output, machine, kernel, status: machine.status, ended };
}

function* first(main: ProgramMain, argv: string[], envp: string[]): Sys<number> {
  const status = (yield* main(argv, envp)) ?? 0;
  yield* call(NR.__NR_reboot, 0xfee1dead, 0x28121969, 0x4321fedc, status);
  return status;
}

export const self = (): UserThread => cpu.current!;

/** A bare system call: the result, negative on failure. */
export function* call(nr: number, a0: Word = 0, a1: Word = 0, a2: Word = 0, a3: Word = 0, a4: Word = 0, a5: Word = 0): Sys<number> {
  const t = cpu.current!;
  t.nr = nr; t.a0 = a0; t.a1 = a1; t.a2 = a2; t.a3 = a3; t.a4 = a4; t.a5 = a5;
  return yield;
}

/** fork, with the child's code. */
export function* fork(body: () => Sys<number | undefined | void>): Sys<number> {
  const t = cpu.current!;
  t.nr = NR.__NR_fork;
  t.body = body;
  const pid = yield;
  t.body = undefined;
  return pid;
}

export function* clone(flags: number, body: () => Sys<number | undefined | void>, child_tid = 0): Sys<number> {
  const t = cpu.current!;
  t.nr = NR.__NR_clone; t.a0 = flags; t.a1 = 0; t.a2 = 0; t.a3 = child_tid; t.a4 = 0;
  t.body = body;
  const pid = yield;
  t.body = undefined;
  return pid;
}

/** Computes for that many cycles; charged before the next call. */
export function burn(cycles: number): void { cpu.current!.burnt += cycles; }

/** Anonymous memory of the process's own. */
export const mmap = (length: number): Sys<number> => call(NR.__NR_mmap, 0, length, 3, 0x22, -1, 0);

/** Copies bytes into user memory at `address` (mapped by the caller). */
export function poke(address: number, bytes: Uint8Array): void {
  const { space } = cpu.current!;
  for (let i = 0; i < bytes.length; i++) {
    const at = space.resolve(address + i, true);
    space.mem.u8[at] = bytes[i]!;
  }
}
export function peek32(address: number): number {
  const { space } = cpu.current!;
  return space.mem.s32[space.resolve(address, false) >>> 2]!;
}
export function poke32(address: number, value: number): void {
  const { space } = cpu.current!;
  space.mem.s32[space.resolve(address, true) >>> 2] = value;
}

/** write(1, text): needs one page of scratch memory. */
export function* print(text: string): Sys<number> {
  const page = yield* mmap(4096 * Math.ceil((text.length + 1) / 4096));
  poke(page, encoder.encode(text));
  const n = yield* call(NR.__NR_write, 1, page, encoder.encode(text).length);
  yield* call(NR.__NR_munmap, page, 4096);
  return n;
}
/** Sleeps that many nanoseconds of virtual time. */
export function* sleep(ns: number): Sys<number> {
  const page = yield* mmap(4096);
  const { space } = cpu.current!;
  const at = space.resolve(page, true) >>> 3;
  space.mem.u64[at] = BigInt(Math.floor(ns / 1e9));
  space.mem.u64[at + 1] = BigInt(ns % 1e9);
  const result = yield* call(NR.__NR_nanosleep, page, 0);
  yield* call(NR.__NR_munmap, page, 4096);
  return result;
}

/** Makes `body` the handler of a signal. */
export function* sigaction(signal: number, body: () => Sys<void>, flags = 0): Sys<number> {
  const page = yield* mmap(4096);
  const { space } = cpu.current!;
  const at = space.resolve(page, true) >>> 3;
  space.mem.u64.set([0x1000n, BigInt(flags), 0n, 0n], at);
  cpu.current!.body = body;
  const result = yield* call(NR.__NR_rt_sigaction, signal, page, 0, 8);
  cpu.current!.body = undefined;
  yield* call(NR.__NR_munmap, page, 4096);
  return result;
}

export { NR };
