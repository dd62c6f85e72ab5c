/**
 * The composition root: the one place that knows every room. Builds a machine on a platform, gives the kernel its
 * programs and modules, and starts it.
 */
import type { Program } from '../abi/process.ts';
import { Kernel } from '../kernel/index.ts';
import { Machine, type MachineOptions } from '../machine/machine.ts';
import { makeLibcState } from '../userland/libc.ts';
import { initialFiles } from './files.ts';
import { modules } from './modules.ts';
import { programs } from './programs.ts';

export interface SystemOptions {
  readonly machine: MachineOptions;
  /** Arguments of init (userland/init.ts): none for a shell on the console. */
  readonly init?: readonly string[];
  /** Programs beside the system's own, found in /bin by their names. */
  readonly programs?: readonly Program[];
  /** Keeps the boot log off the console. */
  readonly quiet?: boolean;
  /** Host directories to mount (platform.hostFiles serves them). */
  readonly mounts?: readonly { readonly host: string; readonly guest: string; readonly writable: boolean }[];
  /** Files put into the initial ramfs, by absolute path. */
  readonly files?: ReadonlyMap<string, Uint8Array | string>;
}

export interface System {
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly cyclesPerMs: number;
  /** The console's window has a new size: SIGWINCH for the foreground. */
  resizeConsole(cols: number, rows: number): void;
}

export function bootSystem(options: SystemOptions): System {
  const machine = new Machine(options.machine);
  const kernel = new Kernel(machine, {
    programs: [...programs, ...(options.programs ?? [])],
    modules,
    makeLibcState,
    init: ['/bin/init', ...(options.init ?? [])],
    quiet: options.quiet ?? false,
    mounts: options.mounts ?? [],
    files: new Map([...initialFiles(), ...(options.files ?? [])]),
  });
  return {
    machine,
    kernel,
    cyclesPerMs: options.machine.tscKhz ?? 1_000_000,
    resizeConsole: (cols, rows) => kernel.resizeConsole(cols, rows),
  };
}
