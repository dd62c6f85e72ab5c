/**
 * A kernel: what ring 0 of one machine runs. The public face of kernel/ for system/.
 */
import type { LibcState, Program } from '../abi/process.ts';
import type { Machine, Ring0 } from '../machine/machine.ts';
import type { Processor } from '../machine/processor.ts';
import { type KernelContext, current, enter, set_current } from './current.ts';
import { console_resize } from './drivers/tty/tty_io.ts';
import { start_kernel, secondary_start } from './init.ts';
import { RESCHEDULE_VECTOR } from './irq.ts';
import type { Module } from './module.ts';
import { run_processor, runqueues } from './sched/core.ts';
import type { TraceBuffer } from './trace/ring-buffer.ts';
import { trace_buffer } from './trace/tracepoint.ts';

export interface KernelOptions {
  /** Programs that /bin/NAME files stand for. */
  readonly programs: readonly Program[];
  /** Modules that /lib/modules/…/NAME.ko files stand for. */
  readonly modules: readonly Module[];
  /** Modules loaded during boot, with those they depend on; all of `modules` when missing. */
  readonly load?: readonly string[];
  /** A fresh process's libc state. Programs set up their own; kept for programs that do not. */
  readonly makeLibcState?: () => LibcState;
  /** argv of the first process. */
  readonly init: readonly string[];
  /** Keeps the boot log off the console; warnings and worse still appear. */
  readonly quiet?: boolean;
  readonly mounts?: readonly { readonly host: string; readonly guest: string; readonly writable: boolean }[];
  /** Files of the initial ramfs by absolute path. */
  readonly files?: ReadonlyMap<string, string | Uint8Array>;
  readonly cmdline?: string;
}

export class Kernel implements Ring0, KernelContext {
  readonly machine: Machine;
  readonly options: KernelOptions & { readonly cmdline: string };
  readonly variables: unknown[] = [];
  /** Processors that have entered this kernel. */
  private readonly entered: boolean[];

  constructor(machine: Machine, options: KernelOptions) {
    this.machine = machine;
    this.options = { ...options, cmdline: options.cmdline ?? `console=ttyS0${options.quiet === true ? ' quiet' : ''}` };
    this.entered = machine.processors.map(() => false);
    machine.install(this);
  }

  step(p: Processor): void {
    if (!this.entered[p.id]) {
      this.entered[p.id] = true;
      enter(this, p);
      if (p.id === 0) start_kernel(this.options);
      else secondary_start();
    }
    run_processor(this, p);
  }

  /**
   * Runs fn as if processor 0 had entered this kernel between two steps: for hosts that look in. Whoever fn has woken
   * there runs next, also when the processor is halted or in a guest.
   */
  inside<T>(fn: () => T): T {
    const p = this.machine.processors[0]!;
    enter(this, p);
    set_current(runqueues()[0]!.curr);
    const result = fn();
    if (current().need_resched) p.lapic.sendIpi(p.lapic.id, RESCHEDULE_VECTOR);
    return result;
  }

  resizeConsole(cols: number, rows: number): void { this.inside(() => console_resize(cols, rows)); }

  trace_buffer(): TraceBuffer { return this.inside(trace_buffer); }
}
