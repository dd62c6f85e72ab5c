/**
 * One processor of bare silicon and nothing around it but the ports the benchmark guests use: the engine without kernel and
 * KVM. Loads a multiboot ELF as a boot loader does and runs it until it leaves by isa-debug-exit.
 */
import '../cli/v8-flags.ts';
import { readFileSync } from 'node:fs';
import { type Outcome, deliverFault, singleStepping, stepOne, takeEvents } from '../machine/cpu/interrupts.ts';
import { resetCpu } from '../machine/cpu/reset.ts';
import {
  ACTIVITY_HLT, ACTIVITY_SHUTDOWN, CS, type CpuBus, CpuState, DS, ES, EVENT_INTERRUPT, EVENT_NMI, EVENT_SMI, FS, GS, RAX, RBX, SS, STATE, cpu_state, updateMode,
} from '../machine/cpu/state.ts';
import { Engine } from '../machine/engine/engine.ts';
import { ENGINE } from '../machine/engine/layout.ts';
import { STOP_FAULT, type StopReason, elapsed, stopSoon } from '../machine/engine/stop.ts';
import type { TlbCosts } from '../machine/engine/tlb.ts';
import { Ram } from '../machine/ram.ts';
import { loadMultiboot } from '../qemu-lite/boot/multiboot.ts';

const MiB = 1024 * 1024;
const DATA32 = 0xc093, CODE32 = 0xc09b, CODE64 = 0xa09b;

export class BareMachine {
  readonly ram: Ram;
  readonly engine: Engine;
  readonly cpu: CpuState;
  /** Cycles since the start. */
  clock = 0;
  /** What the guest wrote to COM1. */
  output = '';
  /** Vectors at the interrupt pin, not acknowledged yet. */
  private readonly interrupts: number[] = [];
  private chargedBefore = 0;
  private stopped = false;
  /** isa-debug-exit's status, once the guest has left. */
  status: number | undefined;

  constructor(memory = 64 * MiB, costs: TlbCosts = { pageWalk: 0, nestedPageWalk: 0 }, codeBytes?: number) {
    this.ram = new Ram(memory);
    this.engine = new Engine(this.ram, costs, codeBytes);
    this.cpu = new CpuState(this.ram.mem, this.ram.reserve(cpu_state.size, 64), 0, this.ram.base, this.ram.size);
    this.cpu.bus = this.bus();
    this.engine.attach(this.cpu);
    resetCpu(this.cpu);
  }

  /** Cycles charged so far beyond retired instructions. */
  get charged(): number { return this.chargedBefore + this.cpu.u32[ENGINE.charged >>> 2]!; }
  /** Ends run() at the next instruction. */
  stop(): void {
    this.stopped = true;
    stopSoon(this.cpu);
  }

  /** An external interrupt, an NMI, an SMI: taken before the next instruction that lets them in. Between runs only. */
  interrupt(vector: number): void {
    this.interrupts.push(vector);
    this.cpu.pending |= EVENT_INTERRUPT;
  }
  nmi(): void { this.cpu.pending |= EVENT_NMI; }
  smi(): void { this.cpu.pending |= EVENT_SMI; }
  /** Forgets what has not been taken. */
  clearEvents(): void {
    this.interrupts.length = 0;
    this.cpu.pending = 0;
  }
  private acknowledge(): number {
    const vector = this.interrupts.shift() ?? -1;
    if (this.interrupts.length === 0) this.cpu.pending &= ~EVENT_INTERRUPT;
    return vector;
  }

  private bus(): CpuBus {
    return {
      readTsc: () => this.clock + elapsed(this.cpu),
      portIn: (_cpu, port) => (port === 0x3fd ? 0x60 : 0xff),
      portOut: (cpu, port, _size, value) => {
        if (port === 0x3f8) this.output += String.fromCharCode(value & 0xff);
        if (port === 0xf4) {
          this.status = (value << 1 | 1) & 0xff;
          stopSoon(cpu);
        }
      },
      mmioRead: () => 0xffff_ffff_ffff_ffffn,
      mmioWrite: () => {},
      random: () => 4n,
      acknowledge: () => this.acknowledge(),
      readApicMsr: () => undefined,
      writeApicMsr: () => false,
      cr8: () => 0,
      setCr8: () => {},
      pause: () => {},
      timeAlone: () => this.clock,
    };
  }

  /** Flat 32-bit protected mode without paging. */
  protectedMode(rip: number): void {
    const { cpu } = this;
    for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x10, 0n, 0xffff_ffff, DATA32);
    cpu.setSegment(CS, 8, 0n, 0xffff_ffff, CODE32);
    cpu.state.cr0 = 0x11n;
    cpu.rip = BigInt(rip);
    updateMode(cpu);
  }

  /** 64-bit mode, the first GiB mapped to itself with 2 MiB pages whose tables lie at `tables`; user-accessible. */
  longMode(rip: number, tables = 0x10_0000, cpu = this.cpu): void {
    const { ram } = this;
    const { u64 } = ram.mem;
    const at = (ram.base + tables) >>> 3;
    u64[at] = BigInt(tables + 0x1007);
    u64[at + 512] = BigInt(tables + 0x2007);
    for (let i = 0; i < 512; i++) u64[at + 1024 + i] = BigInt(i * 0x20_0000 + 0x87);
    for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0x10, 0n, 0xffff_ffff, DATA32);
    cpu.setSegment(CS, 8, 0n, 0xffff_ffff, CODE64);
    const { state } = cpu;
    state.cr0 = 0x8001_0033n;
    state.cr3 = BigInt(tables);
    state.cr4 = 0x620n;
    state.efer = 0xd01n;
    cpu.rip = BigInt(rip);
    cpu.engine.flushTlb(cpu, true);
    updateMode(cpu);
  }
  /** 16-bit code at segment 0. */
  realMode(rip: number): void {
    for (const seg of [ES, SS, DS, FS, GS]) this.cpu.setSegment(seg, 0, 0n, 0xffff, 0x93);
    this.cpu.setSegment(CS, 0, 0n, 0xffff, 0x9b);
    this.cpu.rip = BigInt(rip);
    updateMode(this.cpu);
  }
  /** Stores machine code, given in hex. */
  poke(address: number, hex: string): number {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    this.ram.mem.u8.set(bytes, this.ram.base + address);
    this.engine.code.written(address, bytes.length);
    return address + bytes.length;
  }

  /** A multiboot kernel, at its entry point. */
  loadElf(path: string): void {
    const kernel = loadMultiboot(readFileSync(path), { memorySize: this.ram.size, append: undefined, path });
    if (kernel === undefined) throw new Error(`${path}: not a multiboot kernel`);
    for (const { address, bytes } of kernel.chunks) this.ram.mem.u8.set(bytes, this.ram.base + address);
    const { rip, rax = 0, rbx = 0 } = kernel.registers;
    this.protectedMode(rip);
    this.cpu.gpr[RAX] = BigInt(rax);
    this.cpu.gpr[RBX] = BigInt(rbx);
  }

  private execute(cycles: number): StopReason {
    const why = this.engine.run(this.cpu, cycles);
    this.clock += this.engine.used;
    this.chargedBefore += this.engine.charged;
    return why;
  }
  private readonly one = (): StopReason => this.execute(1);

  /** Runs until the guest has left, halts, or `cycles` have passed. Events are looked at before each slice and wherever code lets them in. */
  run(cycles: number, slice = 10_000_000): void {
    const { cpu } = this;
    const end = this.clock + cycles;
    this.stopped = false;
    while (this.clock < end && !this.stopped && this.status === undefined) {
      let outcome: Outcome = cpu.pending === 0 ? 'none' : takeEvents(cpu);
      if (outcome === 'none') {
        if (cpu.u32[STATE.activity >>> 2] === ACTIVITY_HLT) return;
        outcome = singleStepping(cpu) ? stepOne(cpu, this.one) : this.execute(Math.min(slice, end - this.clock)) === STOP_FAULT ? deliverFault(cpu) : 'none';
      }
      if (outcome === 'shutdown' || cpu.u32[STATE.activity >>> 2] === ACTIVITY_SHUTDOWN) throw new Error(`triple fault at rip ${cpu.rip.toString(16)}`);
    }
  }
}
