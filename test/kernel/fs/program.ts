/** Boots a bare kernel whose first process is the test's own body, with nothing between it and the system calls. */
import assert from 'node:assert/strict';
import { errnoName } from '../../../abi/errno.ts';
import { cpu, type Program, type Sys } from '../../../abi/process.ts';
import { copyIn, copyOut } from '../../../abi/struct.ts';
import * as NR from '../../../abi/syscalls.ts';
import { Kernel } from '../../../kernel/index.ts';
import { UserFault } from '../../../kernel/mm/space.ts';
import { Machine } from '../../../machine/machine.ts';
import type { ConsolePort, HostFiles } from '../../../machine/platform.ts';

/** One system call; strings and byte arrays are put into user memory and passed as pointers. */
export function* call(nr: number, ...args: readonly (number | bigint | string | Uint8Array)[]): Sys<number> {
  const thread = cpu.current!;
  const words = args.map((a) => (typeof a === 'string' ? put(new TextEncoder().encode(`${a}\0`)) : a instanceof Uint8Array ? put(a) : a));
  const registers = thread as unknown as Record<string, number | bigint>;
  for (let i = 0; i < 6; i++) registers[`a${i}`] = words[i] ?? 0;
  thread.nr = nr;
  return yield;
}

const ARENA = 0x1000_0000;
const SIZE = 1 << 20;
let next = ARENA;

/** Room in the arena every test process has at a fixed place. It is reused from the start when it is used up. */
export function buffer(size: number): number {
  size = Math.ceil(size / 16) * 16 + 16;
  if (next + size > ARENA + SIZE) next = ARENA;
  next += size;
  return next - size;
}
export function put(bytes: Uint8Array): number {
  const at = buffer(bytes.length);
  copyOut(cpu.current!.space, at, bytes);
  return at;
}
export function get(address: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  copyIn(cpu.current!.space, address, bytes);
  return bytes;
}
export const text = (address: number, size: number): string => new TextDecoder().decode(get(address, size));
export const int32 = (address: number, i = 0): number => new DataView(get(address + 4 * i, 4).buffer).getInt32(0, true);

/** The name of the error, or the value. */
export const answer = (result: number): string => (result < 0 ? errnoName(-result) : String(result));

export function* mapArena(): Sys<void> {
  next = ARENA;
  assert.equal(yield* call(NR.__NR_mmap, ARENA, SIZE, 3, 0x32, -1, 0), ARENA);
}

/** The first thing thrown in any process of the run. */
let failure: unknown;

/** fork: the child runs `body` and exits with what it returns. */
export function* fork(body: () => Sys<number | void>): Sys<number> {
  cpu.current!.body = function* child() {
    let status: number | void;
    try {
      status = yield* body();
    } catch (error) {
      // the kernel's own: it ends the process by a signal
      if (error instanceof UserFault) throw error;
      failure ??= error;
      status = 99;
    }
    return yield* call(NR.__NR_exit_group, status ?? 0);
  };
  return yield* call(NR.__NR_fork);
}
export function* waitFor(pid: number, options = 0): Sys<number> {
  const status = buffer(4);
  const got = yield* call(NR.__NR_wait4, pid, status, options, 0);
  assert.equal(got, pid);
  return int32(status);
}
export function* readFile(name: string): Sys<string> {
  const fd = yield* call(NR.__NR_open, name, 0, 0);
  assert.ok(fd >= 0, `open ${name}: ${answer(fd)}`);
  const at = buffer(65536);
  let all = '';
  for (;;) {
    const n = yield* call(NR.__NR_read, fd, at, 65536);
    assert.ok(n >= 0, `read ${name}: ${answer(n)}`);
    if (n === 0) break;
    all += text(at, n);
  }
  yield* call(NR.__NR_close, fd);
  return all;
}

/** The host's end of the console: what a script of inputs says, and everything that was printed. */
export class ScriptedConsole implements ConsolePort {
  readonly isTerminal = false;
  output = '';
  /** Each element is what one request for input gets. */
  readonly input: string[];
  asked = 0;
  constructor(input: readonly string[] = []) { this.input = [...input]; }
  size() { return { cols: 80, rows: 24 }; }
  write(bytes: Uint8Array): void { this.output += new TextDecoder().decode(bytes); }
  read(max: number): Uint8Array | 'eof' {
    this.asked++;
    const piece = this.input.shift();
    if (piece === undefined) return 'eof';
    const bytes = new TextEncoder().encode(piece);
    if (bytes.length > max) this.input.unshift(new TextDecoder().decode(bytes.subarray(max)));
    return bytes.slice(0, max);
  }
}

export interface Options {
  readonly console?: ScriptedConsole;
  readonly cpus?: number;
  readonly hostFiles?: HostFiles;
  readonly files?: ReadonlyMap<string, string | Uint8Array>;
  readonly programs?: readonly Program[];
  readonly mounts?: readonly { host: string; guest: string; writable: boolean }[];
  /** Virtual seconds. */
  readonly seconds?: number;
  /** Called with the machine before it runs. */
  readonly prepare?: (machine: Machine, kernel: Kernel) => void;
}

/** Runs `body` as process 1 until it returns. What it throws fails the test. */
export function runInit(body: () => Sys<void>, options: Options = {}): { output: string; machine: Machine; kernel: Kernel } {
  const console = options.console ?? new ScriptedConsole();
  failure = undefined;
  let finished = false;
  const init: Program = {
    name: 'init',
    *main() {
      try {
        yield* mapArena();
        yield* body();
      } catch (error) {
        failure ??= error;
      }
      finished = true;
      yield* call(NR.__NR_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0);
      return 0;
    },
  };
  const machine = new Machine({
    memory: 64 << 20, cpus: options.cpus ?? 1, seed: 1,
    platform: { console, startDate: 1_735_689_600_000_000_000n, ...(options.hostFiles ? { hostFiles: options.hostFiles } : {}) },
  });
  const kernel = new Kernel(machine, {
    programs: [init, ...(options.programs ?? [])], modules: [], init: ['/bin/init'], quiet: true, ...(options.files ? { files: options.files } : {}), ...(options.mounts ? { mounts: options.mounts } : {}),
  });
  options.prepare?.(machine, kernel);
  const state = machine.run((options.seconds ?? 60) * 1e9);
  if (failure !== undefined) throw failure;
  assert.ok(finished, `the machine is ${state} and init has not finished; the console shows: ${console.output}`);
  return { output: console.output, machine, kernel };
}
