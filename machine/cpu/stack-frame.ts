/**
 * Several values pushed at once: the frames of interrupts, far calls and their like. Values are added from the lowest
 * address up (the last one pushed first) and written together, so that a frame within one page costs one translation
 * and a fault finds the stack pointer unchanged.
 */
import { PFERR_WRITE, SS_VECTOR, raise } from './exceptions.ts';
import { checkAlignment, explicit, isCanonical, toLinear, translate, writeLinear } from './memory.ts';
import { type Descriptor, descriptorBase, descriptorLimit, descriptorType } from './segments.ts';
import { type CpuState, MODE_64, MODE_SIZE, RSP, SEG_DB, SEG_TYPE, SEG_UNUSABLE, SS, TYPE_EXPAND_DOWN } from './state.ts';

export class StackFrame {
  private readonly bytes = new Uint8Array(128);
  private readonly u16 = new Uint16Array(this.bytes.buffer);
  private readonly u32 = new Uint32Array(this.bytes.buffer);
  private readonly u64 = new BigUint64Array(this.bytes.buffer);
  private slot: 2 | 4 | 8 = 8;
  private count = 0;

  begin(slot: 2 | 4 | 8): void {
    this.slot = slot;
    this.count = 0;
  }
  add(value: bigint): void {
    const i = this.count++;
    if (this.slot === 8) this.u64[i] = value;
    else if (this.slot === 4) this.u32[i] = Number(value & 0xffff_ffffn);
    else this.u16[i] = Number(value & 0xffffn);
  }
  addNumber(value: number): void {
    const i = this.count++;
    if (this.slot === 8) {
      this.u32[2 * i] = value;
      this.u32[2 * i + 1] = 0;
    } else if (this.slot === 4) this.u32[i] = value;
    else this.u16[i] = value;
  }
  /** A 64-bit slot by its halves. */
  addWords(low: number, high: number): void {
    const i = this.count++;
    this.u32[2 * i] = low;
    this.u32[2 * i + 1] = high;
  }
  get size(): number { return this.count * this.slot; }

  /** Pushes on the current stack and moves the stack pointer by what SS and the mode make of it. `long`: as 64-bit mode does. */
  pushOnCurrent(cpu: CpuState, ext = 0, long = (cpu.mode & MODE_SIZE) === MODE_64): void {
    if (long) {
      const rsp = BigInt.asUintN(64, cpu.gpr[RSP]! - BigInt(this.size));
      if (!isCanonical(rsp) || !isCanonical(rsp + BigInt(this.size - 1))) raise(cpu, SS_VECTOR, ext);
      this.writeAt(cpu, toLinear(rsp), explicit(cpu));
      cpu.gpr[RSP] = rsp;
      return;
    }
    const access = cpu.segAccess(SS);
    if (access & SEG_UNUSABLE) raise(cpu, SS_VECTOR, ext);
    const wide = (access & SEG_DB) !== 0;
    const base = Number(BigInt.asUintN(32, cpu.segBase(SS)));
    cpu.gpr[RSP] = this.push(cpu, base, cpu.segLimit(SS), access & SEG_TYPE, wide, cpu.gpr[RSP]!, explicit(cpu), ext);
  }

  /** Pushes on a stack that is not current yet and returns the stack pointer to load with it. */
  pushOnNew(cpu: CpuState, ss: Descriptor, pointer: number, access: number, error: number): bigint {
    return this.push(cpu, descriptorBase(ss), descriptorLimit(ss), descriptorType(ss), (ss.high & 0x40_0000) !== 0, BigInt(pointer), access, error);
  }

  private push(cpu: CpuState, base: number, limit: number, type: number, wide: boolean, rsp: bigint, access: number, error: number): bigint {
    const { size, slot } = this;
    const mask = wide ? 0xffff_ffff : 0xffff;
    const old = Number(rsp & 0xffff_ffffn);
    const esp = ((old - size) & mask) >>> 0;
    const straight = esp + size - 1 <= mask;
    for (let i = 0; i < size; i += slot) {
      const first = ((esp + i) & mask) >>> 0;
      const last = first + slot - 1;
      if (type & TYPE_EXPAND_DOWN ? first <= limit || last > mask : last > limit) raise(cpu, SS_VECTOR, error);
    }
    if (straight) this.writeAt(cpu, (base + esp) >>> 0, access);
    else for (let i = 0; i < size; i += slot) writeLinear(cpu, (base + (((esp + i) & mask) >>> 0)) >>> 0, slot, this.value(i / slot), access);
    return wide ? BigInt(esp) : rsp & ~0xffffn | BigInt(esp);
  }

  private value(i: number): bigint {
    return this.slot === 8 ? this.u64[i]! : BigInt(this.slot === 4 ? this.u32[i]! : this.u16[i]!);
  }

  /** Writes the frame at a linear address. A fault names the highest slot it meets: that is the one pushed first. */
  writeAt(cpu: CpuState, linear: number, access: number): void {
    const { size, slot } = this;
    checkAlignment(cpu, linear, slot, access);
    if (((linear >>> 0) & 0xfff) + size <= 4096) {
      const physical = translate(cpu, linear + size - slot, access | PFERR_WRITE) - (size - slot);
      if (physical + size <= cpu.ramSize) {
        cpu.engine.codeWritten(cpu, physical, size);
        const at = cpu.ram + physical;
        if (at % 4 === 0 && slot !== 2) for (let i = 0; i < size / 4; i++) cpu.mem.u32[at / 4 + i] = this.u32[i]!;
        else for (let i = 0; i < size; i++) cpu.mem.u8[at + i] = this.bytes[i]!;
        return;
      }
    }
    for (let i = this.count - 1; i >= 0; i--) writeLinear(cpu, linear + i * slot, slot, this.value(i), access);
  }
}
