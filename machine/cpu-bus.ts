/**
 * What a processor's core finds at its pins on this board: ports, device memory, its own local APIC, the TSC.
 * Kernel code calls the chips directly; this is the way of machine code.
 */
import { APIC_DEFAULT_PHYS_BASE } from './chips/apic-registers.ts';
import { IOAPIC_DEFAULT_BASE } from './chips/ioapic.ts';
import { COM1_PORT, PM1A_CNT_PORT } from './board.ts';
import type { CpuBus, CpuState } from './cpu/state.ts';
import type { Machine } from './machine.ts';
import type { Processor } from './processor.ts';

const MSR_IA32_TSC_DEADLINE = 0x6e0;
const ONES = 0xffff_ffff;

export class ProcessorBus implements CpuBus {
  private readonly processor: Processor;
  private readonly machine: Machine;
  constructor(processor: Processor) {
    this.processor = processor;
    this.machine = processor.machine;
  }

  readTsc(): number {
    return this.processor.readTsc();
  }

  /** A port nobody answers reads as ones. */
  portIn(_cpu: CpuState, port: number, size: 1 | 2 | 4): number {
    if (port >= COM1_PORT && port < COM1_PORT + 8 && size === 1) return this.machine.uart.read(port - COM1_PORT);
    if (port === PM1A_CNT_PORT && size === 2) return this.machine.acpi.readControl();
    return size === 4 ? ONES : (1 << (8 * size)) - 1;
  }

  portOut(_cpu: CpuState, port: number, size: 1 | 2 | 4, value: number): void {
    if (port >= COM1_PORT && port < COM1_PORT + 8 && size === 1) this.machine.uart.write(port - COM1_PORT, value);
    else if (port === PM1A_CNT_PORT && size === 2) this.machine.acpi.writeControl(value);
  }

  mmioRead(_cpu: CpuState, address: number, size: number): bigint {
    const page = address - (address % 4096);
    if (size === 4 && page === APIC_DEFAULT_PHYS_BASE) return BigInt(this.processor.lapic.read(address - page) >>> 0);
    if (size === 4 && page === IOAPIC_DEFAULT_BASE) return BigInt(this.machine.ioapic.read(address - page) >>> 0);
    return (1n << BigInt(8 * size)) - 1n;
  }

  mmioWrite(_cpu: CpuState, address: number, size: number, value: bigint): void {
    const page = address - (address % 4096);
    if (size !== 4) return;
    if (page === APIC_DEFAULT_PHYS_BASE) this.processor.lapic.write(address - page, Number(value));
    else if (page === IOAPIC_DEFAULT_BASE) this.machine.ioapic.write(address - page, Number(value));
  }

  pause(): void {
    this.processor.pause();
  }
  timeAlone(): number { return this.processor.timeAlone(); }

  random(): bigint {
    return this.machine.random.next64();
  }

  acknowledge(): number {
    const { lapic } = this.processor;
    return lapic.pendingVector() < 0 ? -1 : lapic.acknowledge();
  }

  readApicMsr(_cpu: CpuState, msr: number): bigint | undefined {
    const { lapic } = this.processor;
    if (msr === MSR_IA32_TSC_DEADLINE) return BigInt(lapic.tscDeadline);
    return lapic.x2apic ? lapic.readX2apic(msr) : undefined;
  }

  writeApicMsr(_cpu: CpuState, msr: number, value: bigint): boolean {
    const { lapic } = this.processor;
    if (msr === MSR_IA32_TSC_DEADLINE) {
      lapic.tscDeadline = Number(value);
      return true;
    }
    return lapic.x2apic && lapic.writeX2apic(msr, value);
  }

  cr8(): number {
    return this.processor.lapic.taskPriority >> 4;
  }

  setCr8(_cpu: CpuState, value: number): void {
    this.processor.lapic.taskPriority = value << 4;
  }
}
