/**
 * Boots a real Linux kernel (a bzImage) on bare silicon: one processor, RAM, a serial port, the two PC interrupt
 * controllers and the PC's timer, no disk. Without an initramfs the kernel comes as far as its search for a root file system.
 * Prints what it says, and guest MIPS by CPU time at the end.
 *
 *   node --import tsx bench/linux.ts vmlinuz ['extra kernel parameters' [initramfs]]
 *
 * Linux: Documentation/arch/x86/boot.rst (the 32-bit boot protocol), zero-page.rst.
 */
import '../cli/v8-flags.ts';
import { readFileSync } from 'node:fs';
import { I8254 } from '../machine/chips/i8254.ts';
import { I8259Pair } from '../machine/chips/i8259.ts';
import { resetCpu } from '../machine/cpu/reset.ts';
import { CS, type CpuBus, type CpuState, DS, ES, EVENT_INTERRUPT, FS, GS, RSI, RSP, SS, updateMode } from '../machine/cpu/state.ts';
import { Machine } from '../machine/machine.ts';
import type { Processor } from '../machine/processor.ts';

const MEMORY = 256 << 20, KERNEL = 0x10_0000, ZERO_PAGE = 0x1_0000, COMMAND_LINE = 0x2_0000, GDT = 0x3_0000, INITRD = 0xa00_0000, LOW_MEMORY = 0x9_fc00;
const PARAMETERS = 'earlyprintk=ttyS0,115200 console=ttyS0 nolapic noapic acpi=off nosmp no_timer_check lpj=4000000 panic=-1';
/** A kernel that panics with panic=-1 resets the machine through the keyboard controller, or by a triple fault. */
const RESET_PORT = 0x64, RESET_COMMAND = 0xfe;
const SLICE = 10_000_000;

class Pc {
  readonly machine: Machine;
  readonly processor: Processor;
  private readonly pic: I8259Pair;
  private readonly pit: I8254;
  ended = false;

  constructor(write: (bytes: Uint8Array) => void) {
    this.machine = new Machine({
      memory: MEMORY, cpus: 1, seed: 1,
      platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write, read: () => undefined }, startDate: 0n },
    });
    this.processor = this.machine.processors[0]!;
    this.pic = new I8259Pair((level) => this.interruptLine(level));
    this.pit = new I8254(this.machine, this.machine.tscKhz * 1000, (level) => this.pic.setIrq(0, level));
    this.machine.install({ step: (p) => this.step(p) });
    this.machine.startEngine();
    const { cpu } = this.processor;
    resetCpu(cpu);
    cpu.bus = this.bus(cpu.bus);
  }

  private step(p: Processor): void {
    const stopped = this.ended ? 'shutdown' : p.runBare();
    if (stopped === 'shutdown') this.ended = true;
    if (stopped !== 'limit') p.halted = true;
  }

  private interruptLine(level: boolean): void {
    const { cpu } = this.processor;
    if (!level) {
      cpu.pending &= ~EVENT_INTERRUPT;
      return;
    }
    cpu.pending |= EVENT_INTERRUPT;
    this.machine.wake(this.processor);
    cpu.engine.stopSoon(cpu);
  }

  /** The board's ports, with a PC's in front of them. */
  private bus(board: CpuBus): CpuBus {
    const isPic = (port: number) => (port & ~0x81) === 0x20 || (port & ~1) === 0x4d0;
    const isPit = (port: number) => (port & ~3) === 0x40 || port === 0x61;
    const ports: Partial<CpuBus> = {
      acknowledge: () => (this.pic.pending ? this.pic.acknowledge() : -1),
      portIn: (cpu: CpuState, port: number, size: 1 | 2 | 4) => (isPic(port) ? this.pic.read(port) : isPit(port) ? this.pit.read(port) : port === 0x71 ? 0 : board.portIn(cpu, port, size)),
      portOut: (cpu: CpuState, port: number, size: 1 | 2 | 4, value: number) => {
        if (isPic(port)) this.pic.write(port, value);
        else if (isPit(port)) this.pit.write(port, value);
        else if (port === RESET_PORT && value === RESET_COMMAND) {
          this.ended = true;
          this.processor.endQuantum();
          cpu.engine.stopSoon(cpu);
        } else board.portOut(cpu, port, size, value);
      },
    };
    return Object.assign(Object.create(board) as CpuBus, ports);
  }

  /** Loads the kernel and its parameters and leaves the processor at the 32-bit entry point. */
  load(image: Uint8Array, commandLine: string, initramfs: Uint8Array): void {
    const { ram } = this.machine;
    const { cpu } = this.processor;
    const setupSectors = image[0x1f1]! || 4;
    ram.mem.u8.set(image.subarray((setupSectors + 1) * 512), ram.base + KERNEL);
    ram.mem.u8.set(image.subarray(0x1f1, 0x202 + image[0x201]!), ram.base + ZERO_PAGE + 0x1f1);
    ram.mem.u8.set(Buffer.from(`${commandLine}\0`), ram.base + COMMAND_LINE);
    const page = new DataView(ram.memory.buffer, ram.base + ZERO_PAGE, 4096);
    page.setUint8(0x210, 0xff);                                   // type_of_loader: none of the known ones
    page.setUint8(0x211, page.getUint8(0x211) | 0x81);            // loadflags: loaded high, may use the heap
    page.setUint32(0x228, COMMAND_LINE, true);
    ram.mem.u8.set(initramfs, ram.base + INITRD);
    page.setUint32(0x218, initramfs.length > 0 ? INITRD : 0, true);
    page.setUint32(0x21c, initramfs.length, true);
    const regions = [[0, LOW_MEMORY], [KERNEL, MEMORY - KERNEL]] as const;
    page.setUint8(0x1e8, regions.length);
    regions.forEach(([start, size], i) => {
      page.setBigUint64(0x2d0 + 20 * i, BigInt(start), true);
      page.setBigUint64(0x2d8 + 20 * i, BigInt(size), true);
      page.setUint32(0x2e0 + 20 * i, 1, true);
    });
    ram.mem.u64[(ram.base + GDT) / 8 + 2] = 0x00cf9b000000ffffn;
    ram.mem.u64[(ram.base + GDT) / 8 + 3] = 0x00cf93000000ffffn;
    cpu.state.gdtr_base = BigInt(GDT);
    cpu.state.gdtr_limit = 0x1f;
    for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x18, 0n, 0xffff_ffff, 0xc093);
    cpu.setSegment(CS, 0x10, 0n, 0xffff_ffff, 0xc09b);
    cpu.state.cr0 = 0x11n;
    cpu.rip = BigInt(KERNEL);
    cpu.gpr[RSI] = BigInt(ZERO_PAGE);
    cpu.gpr[RSP] = 0x9_0000n;
    updateMode(cpu);
  }
}

const [file, extra = '', initramfs] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write("usage: node --import tsx bench/linux.ts VMLINUZ ['extra kernel parameters' [INITRAMFS]]\n");
  process.exit(2);
}
const pc = new Pc((bytes) => { process.stdout.write(bytes); });
pc.load(readFileSync(file), `${PARAMETERS} ${extra}`, initramfs === undefined ? new Uint8Array(0) : readFileSync(initramfs));
const began = process.cpuUsage();
for (let until = SLICE; !pc.ended; until += SLICE) pc.machine.run(until);
const used = process.cpuUsage(began);
const retired = Number(pc.processor.cpu.state.retired);
process.stdout.write(`\n${retired} instructions, ${(retired / (used.user + used.system)).toFixed(1)} MIPS\n`);
