/**
 * The local APIC: accepts interrupt messages, keeps them by priority, offers the processor the highest one, sends
 * interprocessor interrupts and has a timer. SDM 3A chapter 11; x2APIC registers in 11.12.
 *
 * Registers lie in a page of the architectural layout (offset = register), so that the whole state can be copied.
 * The hard part is the timer: it never counts. `deadline` is the cycle at which it will fire, and whoever provides
 * the clock must call `expire` then; the current count is computed when it is read.
 */
import * as R from './apic-registers.ts';
import type { ApicBus, ApicMessage } from './apic-bus.ts';

/** What a local APIC needs of the processor it belongs to. */
export interface LapicHost {
  /** Cycles of this processor. */
  now(): number;
  /** `deadline` moved. */
  deadlineChanged(): void;
  /** The deliverable vector changed, see `pendingVector`. */
  pendingChanged(vector: number): void;
  nmi(): void;
  /** undefined: there is no system management mode behind it. */
  smi?(): void;
  init(): void;
  startup(vector: number): void;
  /** The guest ended an interrupt. */
  ended?(vector: number): void;
  /** A message with ExtINT delivery: the vector is to be asked of the 8259. */
  extint(): void;
}

const REGISTERS = 0x400 >> 2;
const at = (offset: number): number => offset >> 2;
const LVT_ENTRIES = [R.APIC_LVTCMCI, R.APIC_LVTT, R.APIC_LVTTHMR, R.APIC_LVTPC, R.APIC_LVT0, R.APIC_LVT1, R.APIC_LVTERR];
const MAX_LVT = 6;
const VERSION = 0x15;
/** Registers that can be written, with the bits that stay; x2APIC raises #GP for the rest. */
const WRITABLE = new Map<number, number>([
  [R.APIC_TASKPRI, 0xff], [R.APIC_EOI, 0xffff_ffff], [R.APIC_LDR, 0xff00_0000], [R.APIC_DFR, 0xf000_0000], [R.APIC_SPIV, 0x1fff], [R.APIC_ESR, 0],
  [R.APIC_ICR, 0x000c_cfff], [R.APIC_ICR2, 0xff00_0000], [R.APIC_TMICT, 0xffff_ffff], [R.APIC_TDCR, 0xb],
  [R.APIC_LVTT, 0x0007_00ff], [R.APIC_LVTTHMR, 0x0001_07ff], [R.APIC_LVTPC, 0x0001_07ff], [R.APIC_LVTCMCI, 0x0001_07ff],
  [R.APIC_LVT0, 0x0001_a7ff], [R.APIC_LVT1, 0x0001_a7ff], [R.APIC_LVTERR, 0x0001_00ff], [R.APIC_ID, 0xff00_0000],
]);

export class LocalApic {
  readonly id: number;
  /** The register page, 4 bytes at each 16-byte step, as memory at IA32_APIC_BASE shows it. */
  readonly registers = new Uint32Array(REGISTERS);
  /** Cycle at which the timer fires, Infinity when it is off. */
  deadline = Number.POSITIVE_INFINITY;
  /** In x2APIC mode ids have 32 bits and the MMIO page is gone; set through IA32_APIC_BASE by the processor. */
  x2apic = false;
  private readonly host: LapicHost;
  private readonly bus: ApicBus;
  /** Cycles of one count at divide value 1: how much slower the APIC timer's crystal is than the TSC. */
  private readonly timerPeriod: number;
  private deliverable = -1;
  private pendingErrors = 0;

  constructor(id: number, host: LapicHost, bus: ApicBus, timerPeriod = 1) {
    this.id = id;
    this.host = host;
    this.bus = bus;
    this.timerPeriod = timerPeriod;
    bus.lapics.push(this);
    this.reset();
  }

  /** Power-up and INIT state; the id stays. */
  reset(): void {
    const regs = this.registers;
    regs.fill(0);
    regs[at(R.APIC_ID)] = this.id << 24;
    regs[at(R.APIC_LVR)] = VERSION | (MAX_LVT << 16) | R.APIC_LVR_DIRECTED_EOI;
    regs[at(R.APIC_DFR)] = R.APIC_DFR_FLAT;
    regs[at(R.APIC_SPIV)] = 0xff;
    for (const entry of LVT_ENTRIES) regs[at(entry)] = R.APIC_LVT_MASKED;
    this.pendingErrors = 0;
    this.setDeadline(Number.POSITIVE_INFINITY);
    this.update();
  }

  get enabled(): boolean {
    return (this.registers[at(R.APIC_SPIV)]! & R.APIC_SPIV_APIC_ENABLED) !== 0;
  }

  get taskPriority(): number {
    return this.registers[at(R.APIC_TASKPRI)]!;
  }

  /** CR8 is bits 7:4 of the task priority. */
  set taskPriority(value: number) {
    this.registers[at(R.APIC_TASKPRI)] = value & 0xff;
    this.update();
  }

  // -------------------------------------------------------------- vectors

  /** Highest vector above the processor's priority, -1 if there is none. */
  pendingVector(): number {
    return this.deliverable;
  }

  /** Interrupt acknowledge: moves the pending vector from IRR to ISR. Without one, the spurious vector, which needs no EOI. */
  acknowledge(): number {
    const vector = this.deliverable;
    if (vector < 0) return this.registers[at(R.APIC_SPIV)]! & 0xff;
    this.clearBit(R.APIC_IRR, vector);
    this.setBit(R.APIC_ISR, vector);
    this.update();
    return vector;
  }

  /** Ends the highest vector in service and returns it; -1 without one. */
  eoi(): number {
    const vector = this.highest(R.APIC_ISR);
    if (vector < 0) return -1;
    this.clearBit(R.APIC_ISR, vector);
    this.host.ended?.(vector);
    this.update();
    if (this.testBit(R.APIC_TMR, vector) && (this.registers[at(R.APIC_SPIV)]! & R.APIC_SPIV_DIRECTED_EOI) === 0) this.bus.onEoi(vector);
    return vector;
  }

  /** Of the vectors that wait, deliverable or not, -1 none. */
  highestRequested(): number {
    return this.highest(R.APIC_IRR);
  }
  highestInService(): number {
    return this.highest(R.APIC_ISR);
  }

  isRequested(vector: number): boolean {
    return this.testBit(R.APIC_IRR, vector);
  }

  /** The vector came from a level-triggered line. */
  isLevel(vector: number): boolean {
    return this.testBit(R.APIC_TMR, vector);
  }

  isInService(vector: number): boolean {
    return this.testBit(R.APIC_ISR, vector);
  }

  /** A message from the bus; also how the chip delivers its own timer and error interrupts. */
  receive(message: ApicMessage): void {
    switch (message.deliveryMode) {
      case R.APIC_DM_FIXED:
      case R.APIC_DM_LOWEST:
        this.accept(message.vector, message.level);
        break;
      case R.APIC_DM_NMI: this.host.nmi(); break;
      case R.APIC_DM_SMI: this.host.smi?.(); break;
      case R.APIC_DM_INIT: if (message.assert) this.host.init(); break;
      case R.APIC_DM_STARTUP: this.host.startup(message.vector); break;
      case R.APIC_DM_EXTINT: this.host.extint(); break;
    }
  }

  /** Sets a vector in IRR. A software-disabled APIC accepts nothing; vectors below 16 are errors. */
  accept(vector: number, level: boolean): void {
    if (!this.enabled) return;
    if (vector < 16) {
      this.error(R.APIC_ESR_RECVILL);
      return;
    }
    if (level) this.setBit(R.APIC_TMR, vector);
    else this.clearBit(R.APIC_TMR, vector);
    this.setBit(R.APIC_IRR, vector);
    this.update();
  }

  /** After registers were copied in: the timer goes on from the count it stood at. */
  restored(currentCount: number): void {
    const initial = this.registers[at(R.APIC_TMICT)]!;
    if (this.timerMode() !== R.APIC_LVT_TIMER_TSCDEADLINE) {
      const left = currentCount !== 0 ? Math.min(currentCount, initial) : this.timerMode() === R.APIC_LVT_TIMER_PERIODIC ? initial : 0;
      this.setDeadline(left === 0 ? Number.POSITIVE_INFINITY : this.host.now() + left * this.cyclesPerCount());
    }
    this.update();
  }

  /** Recomputes the processor priority and what may be delivered. Also to be called after registers were copied in. */
  update(): void {
    const regs = this.registers;
    const inService = this.highest(R.APIC_ISR);
    const task = regs[at(R.APIC_TASKPRI)]!;
    const priority = (task & 0xf0) >= (inService & 0xf0) || inService < 0 ? task : inService & 0xf0;
    regs[at(R.APIC_PROCPRI)] = priority;
    const requested = this.highest(R.APIC_IRR);
    const deliverable = requested >= 0 && (requested & 0xf0) > (priority & 0xf0) ? requested : -1;
    if (deliverable === this.deliverable) return;
    this.deliverable = deliverable;
    this.host.pendingChanged(deliverable);
  }

  // -------------------------------------------------------------- addressing

  matchesPhysical(destination: number): boolean {
    return this.x2apic ? destination === this.id || destination === 0xffff_ffff : destination === (this.registers[at(R.APIC_ID)]! >>> 24) || destination === 0xff;
  }

  matchesLogical(destination: number): boolean {
    const ldr = this.logicalId();
    if (this.x2apic) return (destination >>> 16) === (ldr >>> 16) && (destination & ldr & 0xffff) !== 0;
    const mine = ldr >>> 24;
    if (this.registers[at(R.APIC_DFR)]! === R.APIC_DFR_FLAT) return (mine & destination) !== 0;
    return ((destination >> 4) === (mine >> 4) || (destination >> 4) === 0xf) && (mine & destination & 0xf) !== 0;
  }

  private logicalId(): number {
    return this.x2apic ? (((this.id >> 4) << 16) | (1 << (this.id & 0xf))) >>> 0 : this.registers[at(R.APIC_LDR)]!;
  }

  /** A fixed interrupt to the local APIC of that id. */
  sendIpi(destination: number, vector: number): void {
    this.bus.send({ vector, deliveryMode: R.APIC_DM_FIXED, logical: false, destination, level: false, assert: true }, 0, this);
  }

  sendNmi(destination: number): void {
    this.bus.send({ vector: 0, deliveryMode: R.APIC_DM_NMI, logical: false, destination, level: false, assert: true }, 0, this);
  }

  private sendCommand(low: number, destination: number): void {
    const deliveryMode = (low >> 8) & 7;
    const vector = low & 0xff;
    if ((deliveryMode === R.APIC_DM_FIXED || deliveryMode === R.APIC_DM_LOWEST) && vector < 16) {
      this.error(R.APIC_ESR_SENDILL);
      return;
    }
    this.bus.send({
      vector, deliveryMode, destination,
      logical: (low & 0x800) !== 0,
      level: false,
      assert: (low & R.APIC_ICR_LEVEL_ASSERT) !== 0 || deliveryMode !== R.APIC_DM_INIT,
    }, (low >> 18) & 3, this);
  }

  // -------------------------------------------------------------- registers

  /** A 32-bit read of the MMIO page, at a multiple of 16. */
  read(offset: number): number {
    switch (offset) {
      case R.APIC_TMCCT: return this.currentCount();
      case R.APIC_ICR: return this.registers[at(R.APIC_ICR)]! & ~R.APIC_SEND_PENDING;
      case R.APIC_LDR: return this.logicalId();
      case R.APIC_EOI: return 0;
      default:
        if (offset >= 0x400 || (offset & 15) !== 0) {
          this.error(R.APIC_ESR_ILLREGA);
          return 0;
        }
        return this.registers[at(offset)]!;
    }
  }

  /** A 32-bit write of the MMIO page. Writes to read-only registers are dropped. */
  write(offset: number, value: number): void {
    const mask = WRITABLE.get(offset);
    if (mask === undefined) {
      if (!isRegister(offset)) this.error(R.APIC_ESR_ILLREGA);
      return;
    }
    const regs = this.registers;
    let kept = (value & mask) >>> 0;
    switch (offset) {
      case R.APIC_EOI:
        this.eoi();
        return;
      case R.APIC_TASKPRI:
        this.taskPriority = kept;
        return;
      case R.APIC_DFR:
        kept = (kept | 0x0fff_ffff) >>> 0;
        break;
      case R.APIC_ESR:
        kept = this.pendingErrors;
        this.pendingErrors = 0;
        break;
      case R.APIC_SPIV:
        regs[at(offset)] = kept;
        if ((kept & R.APIC_SPIV_APIC_ENABLED) === 0) for (const entry of LVT_ENTRIES) regs[at(entry)]! |= R.APIC_LVT_MASKED;
        return;
      case R.APIC_ICR:
        regs[at(offset)] = kept;
        this.sendCommand(kept, regs[at(R.APIC_ICR2)]! >>> 24);
        return;
      case R.APIC_TMICT:
        if (this.timerMode() === R.APIC_LVT_TIMER_TSCDEADLINE) return;
        regs[at(offset)] = kept;
        this.armCount();
        return;
      case R.APIC_TDCR: {
        const left = this.currentCount();
        regs[at(offset)] = kept;
        if (this.deadline !== Number.POSITIVE_INFINITY && this.timerMode() !== R.APIC_LVT_TIMER_TSCDEADLINE) this.setDeadline(this.host.now() + left * this.cyclesPerCount());
        return;
      }
      case R.APIC_LVTT: {
        const before = this.timerMode();
        regs[at(offset)] = this.enabled ? kept : kept | R.APIC_LVT_MASKED;
        const after = this.timerMode();
        if (before !== after && (before === R.APIC_LVT_TIMER_TSCDEADLINE || after === R.APIC_LVT_TIMER_TSCDEADLINE)) {
          regs[at(R.APIC_TMICT)] = 0;
          this.setDeadline(Number.POSITIVE_INFINITY);
        }
        return;
      }
      case R.APIC_ID:
        if (this.x2apic) return;
        break;
      default:
        if (LVT_ENTRIES.includes(offset) && !this.enabled) kept |= R.APIC_LVT_MASKED;
    }
    regs[at(offset)] = kept;
  }

  /** RDMSR of 0x800 + register/16. undefined: #GP. */
  readX2apic(msr: number): bigint | undefined {
    const offset = (msr - 0x800) << 4;
    if (offset === R.APIC_ID) return BigInt(this.id);
    if (offset === R.APIC_ICR) return (BigInt(this.registers[at(R.APIC_ICR2)]!) << 32n) | BigInt(this.registers[at(R.APIC_ICR)]!);
    if (offset === R.APIC_DFR || offset === R.APIC_ARBPRI || offset === R.APIC_RRR || offset === R.APIC_ICR2 || offset === R.APIC_EOI || offset === R.APIC_SELF_IPI || !isRegister(offset)) return undefined;
    return BigInt(this.read(offset) >>> 0);
  }

  /** WRMSR of 0x800 + register/16. false: #GP. */
  writeX2apic(msr: number, value: bigint): boolean {
    const offset = (msr - 0x800) << 4;
    const low = Number(value & 0xffff_ffffn);
    const high = Number(value >> 32n);
    if (offset === R.APIC_ICR) {
      if ((low & ~WRITABLE.get(R.APIC_ICR)!) !== 0) return false;
      this.registers[at(R.APIC_ICR)] = low;
      this.registers[at(R.APIC_ICR2)] = high;
      this.sendCommand(low, high);
      return true;
    }
    if (high !== 0) return false;
    if (offset === R.APIC_SELF_IPI) {
      if (low > 0xff) return false;
      this.sendCommand((R.APIC_DEST_SELF << 18) | low, 0);
      return true;
    }
    if (offset === R.APIC_EOI || offset === R.APIC_ESR) {
      if (low !== 0) return false;
    } else {
      const mask = WRITABLE.get(offset);
      if (mask === undefined || offset === R.APIC_ID || offset === R.APIC_LDR || offset === R.APIC_DFR || offset === R.APIC_ICR2 || (low & ~mask) !== 0) return false;
    }
    this.write(offset, low);
    return true;
  }

  // -------------------------------------------------------------- timer

  /** IA32_TSC_DEADLINE in this processor's cycles; 0 disarms. Ignored unless the timer is in TSC-deadline mode. */
  get tscDeadline(): number {
    return this.timerMode() === R.APIC_LVT_TIMER_TSCDEADLINE && this.deadline !== Number.POSITIVE_INFINITY ? this.deadline : 0;
  }

  set tscDeadline(cycles: number) {
    if (this.timerMode() !== R.APIC_LVT_TIMER_TSCDEADLINE) return;
    this.setDeadline(cycles === 0 ? Number.POSITIVE_INFINITY : cycles);
  }

  /** Called once `now` has reached `deadline`: fires, and arms the next period of a periodic timer. */
  expire(now: number): void {
    if (now < this.deadline) return;
    const period = this.registers[at(R.APIC_TMICT)]! * this.cyclesPerCount();
    if (this.timerMode() === R.APIC_LVT_TIMER_PERIODIC && period > 0) {
      this.setDeadline(this.deadline + (Math.floor((now - this.deadline) / period) + 1) * period);
    } else {
      this.setDeadline(Number.POSITIVE_INFINITY);
    }
    this.fireLocal(R.APIC_LVTT);
  }

  private timerMode(): number {
    return this.registers[at(R.APIC_LVTT)]! & R.APIC_LVT_TIMER_MODE;
  }

  private cyclesPerCount(): number {
    const code = this.registers[at(R.APIC_TDCR)]!;
    const shift = ((code & 3) | ((code & 8) >> 1)) + 1;
    return this.timerPeriod * (1 << (shift & 7));
  }

  private armCount(): void {
    const count = this.registers[at(R.APIC_TMICT)]!;
    this.setDeadline(count === 0 ? Number.POSITIVE_INFINITY : this.host.now() + count * this.cyclesPerCount());
  }

  private currentCount(): number {
    if (this.deadline === Number.POSITIVE_INFINITY || this.timerMode() === R.APIC_LVT_TIMER_TSCDEADLINE) return 0;
    return Math.max(0, Math.ceil((this.deadline - this.host.now()) / this.cyclesPerCount()));
  }

  private setDeadline(cycles: number): void {
    if (cycles === this.deadline) return;
    this.deadline = cycles;
    this.host.deadlineChanged();
  }

  // -------------------------------------------------------------- local interrupts

  /** The pins LINT0 and LINT1 go through their LVT entries. */
  setLint(pin: 0 | 1, level: boolean): void {
    if (level) this.fireLocal(pin === 0 ? R.APIC_LVT0 : R.APIC_LVT1);
  }

  /** A machine check that was corrected, or needs no action. */
  machineCheck(): void {
    this.fireLocal(R.APIC_LVTCMCI);
  }

  private fireLocal(entry: number): void {
    const lvt = this.registers[at(entry)]!;
    if ((lvt & R.APIC_LVT_MASKED) !== 0) return;
    const deliveryMode = entry === R.APIC_LVTT || entry === R.APIC_LVTERR ? R.APIC_DM_FIXED : (lvt >> 8) & 7;
    this.receive({ vector: lvt & 0xff, deliveryMode, logical: false, destination: this.id, level: false, assert: true });
  }

  private error(bit: number): void {
    const known = this.pendingErrors;
    this.pendingErrors |= bit;
    if (known === 0) this.fireLocal(R.APIC_LVTERR);
  }

  // -------------------------------------------------------------- 256-bit sets

  private highest(base: number): number {
    const regs = this.registers;
    for (let word = 7; word >= 0; word--) {
      const bits = regs[at(base) + word * 4]!;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  private setBit(base: number, vector: number): void {
    this.registers[at(base) + (vector >> 5) * 4]! |= 1 << (vector & 31);
  }

  private clearBit(base: number, vector: number): void {
    this.registers[at(base) + (vector >> 5) * 4]! &= ~(1 << (vector & 31));
  }

  private testBit(base: number, vector: number): boolean {
    return (this.registers[at(base) + (vector >> 5) * 4]! & (1 << (vector & 31))) !== 0;
  }
}

/** Whether the architecture has a register there. */
function isRegister(offset: number): boolean {
  if (offset >= R.APIC_ISR && offset < R.APIC_ESR) return (offset & 15) === 0;
  return WRITABLE.has(offset) || offset === R.APIC_LVR || offset === R.APIC_PROCPRI || offset === R.APIC_ARBPRI || offset === R.APIC_RRR || offset === R.APIC_TMCCT;
}
