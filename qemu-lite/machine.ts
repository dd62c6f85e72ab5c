/**
 * The machine of one run: its parts, and what its threads tell each other. Devices are plain code that may be called
 * in the middle of an exit; what they want done in the world they note here, and `attention` makes the vCPU's thread
 * look before it lets the guest run on.
 */
import type { Sys } from '../abi/process.ts';
import { KVM_IRQ_LINE, kvm_irq_level } from '../abi/kvm/index.ts';
import { assign } from '../abi/struct.ts';
import { alloc, exit, eputs, free, ioctl, write } from '../userland/libc.ts';
import type { Kvm } from './accel-kvm.ts';
import type { BootImage } from './boot/image.ts';
import type { Chardev } from './chardev.ts';
import { MmioTable } from './hw/mmio.ts';
import { PortTable } from './hw/ports.ts';
import type { GuestMemory } from './memory.ts';
import type { Configuration } from './options.ts';
import { Terminal } from './terminal.ts';

export interface Shutdown { readonly status: number; readonly message: string | undefined }

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

export class Machine {
  readonly config: Configuration;
  readonly kvm: Kvm;
  readonly memory: GuestMemory;
  readonly image: BootImage;
  readonly ports = new PortTable();
  readonly mmio = new MmioTable();
  /** What COM1 to COM4 are connected to. */
  readonly serial: (Chardev | undefined)[] = [];
  debugcon: Chardev | undefined;
  readonly terminal: Terminal;
  /** Something below waits to be done by whoever runs next: output, a shutdown, a reset. */
  attention = false;
  shutdown: Shutdown | undefined;
  resetRequested = false;
  /** Interrupt lines that devices moved and KVM has not been told of. */
  private readonly lines: { readonly irq: number; readonly level: number }[] = [];
  /** An eventfd that ends the main loop's sleep. */
  private readonly wakeFd: number;
  private wakeWanted = false;

  constructor(config: Configuration, kvm: Kvm, memory: GuestMemory, image: BootImage, wakeFd: number) {
    this.config = config;
    this.kvm = kvm;
    this.memory = memory;
    this.image = image;
    this.wakeFd = wakeFd;
    this.terminal = new Terminal(!config.serial.some((port) => port.kind === 'stdio' && port.mux));
  }

  /** The guest or the user wants an end. The first reason stands. */
  requestShutdown(status: number, message?: string): void {
    this.shutdown ??= { status, message };
    this.attention = true;
  }

  requestReset(): void {
    this.resetRequested = true;
    this.attention = true;
  }

  /** Moves a line of the interrupt controllers, before the guest runs on. */
  setLine(irq: number, level: number): void {
    this.lines.push({ irq, level });
    this.attention = true;
  }

  private *tellLines(): Sys {
    const line = yield* alloc(kvm_irq_level);
    for (const { irq, level } of this.lines.splice(0)) {
      assign(line, { irq, level });
      yield* ioctl(this.kvm.vm, KVM_IRQ_LINE, line);
    }
    yield* free(line);
  }

  outputWaits(): void {
    this.attention = true;
  }

  /** The main loop should look again at what it may read. */
  wakeMainLoop(): void {
    this.wakeWanted = true;
    this.attention = true;
  }

  private *flush(): Sys {
    for (const chardev of this.serial) if (chardev !== undefined) yield* chardev.flush();
    if (this.debugcon !== undefined) yield* this.debugcon.flush();
  }

  *wake(): Sys {
    yield* write(this.wakeFd, ONE);
  }

  /** Does what waits. Does not return when the machine is to end. */
  *attend(): Sys {
    this.attention = false;
    if (this.lines.length > 0) yield* this.tellLines();
    yield* this.flush();
    if (this.wakeWanted) {
      this.wakeWanted = false;
      yield* this.wake();
    }
    if (this.shutdown !== undefined) yield* this.end(this.shutdown);
  }

  /** Ends the program: every thread of it, with the terminal as it was found. */
  *end({ status, message }: Shutdown): Sys<never> {
    yield* this.flush();
    yield* this.terminal.restore();
    if (message !== undefined) yield* eputs(message);
    return yield* exit(status);
  }
}
