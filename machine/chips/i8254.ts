/**
 * The 8254 programmable interval timer: three counters, six modes, latch and read-back. Intel 8254 data sheet (231164).
 *
 * Nothing ticks: a counter knows when it was loaded, and what it holds or puts out at any time is computed. Only a
 * counter whose output somebody listens to sets timers, one for each edge.
 */
import type { Clock, Line, Timer } from './wires.ts';

export const PIT_FREQ = 1_193_182;
export const PIT_PORT = 0x40;
export const PIT_CONTROL_PORT = 0x43;
/** Port B of the keyboard controller: gate of counter 2, speaker data, and outputs that can be read. */
export const PIT_PORT_B = 0x61;

const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_WORD = 3;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;
const REFRESH_CYCLES = 15;

/** One counter. Time is in ticks of its input, as a real number; the pair (loadedAt, count) says everything. */
class Counter {
  mode = 0;
  bcd = false;
  access = ACCESS_WORD;
  gate: boolean;
  /** Initial count, 1 to 0x10000 (10000 in BCD); 0 until one is written. */
  count = 0;
  /** Tick at which counting began, or the count was frozen by the gate. */
  loadedAt = 0;
  private frozenAt = Number.NaN;
  private lowByte = 0;
  private writeHigh = false;
  private readHigh = false;
  private latched: number[] = [];
  private status = -1;
  private nullCount = true;
  /** Modes 1 and 5 wait for a rising gate. */
  private triggered = false;

  constructor(gate: boolean) {
    this.gate = gate;
  }

  get modulus(): number {
    return this.bcd ? 10_000 : 0x1_0000;
  }

  program(control: number, now: number): void {
    this.mode = (control >> 1) & 7;
    if (this.mode > 5) this.mode -= 4;
    this.bcd = (control & 1) !== 0;
    this.access = (control >> 4) & 3;
    this.writeHigh = false;
    this.readHigh = false;
    this.latched = [];
    this.status = -1;
    this.count = 0;
    this.nullCount = true;
    this.triggered = false;
    this.frozenAt = Number.NaN;
    this.loadedAt = now;
  }

  /** True once a whole count has been written. */
  write(value: number, now: number): boolean {
    switch (this.access) {
      case ACCESS_LOW: this.load(value, now); return true;
      case ACCESS_HIGH: this.load(value << 8, now); return true;
      default:
        this.writeHigh = !this.writeHigh;
        if (this.writeHigh) {
          this.lowByte = value;
          // The first byte of a new count stops mode 0.
          if (this.mode === 0) this.count = 0;
          return this.mode === 0;
        }
        this.load((value << 8) | this.lowByte, now);
        return true;
    }
  }

  private load(written: number, now: number): void {
    const value = this.bcd ? fromBcd(written) : written;
    this.count = value === 0 ? this.modulus : value;
    this.nullCount = false;
    if (this.mode === 1 || this.mode === 5) return;
    this.loadedAt = now;
    this.frozenAt = this.gate ? Number.NaN : now;
  }

  setGate(level: boolean, now: number): void {
    const rose = level && !this.gate;
    const fell = !level && this.gate;
    this.gate = level;
    if (this.mode === 1 || this.mode === 5) {
      if (!rose) return;
      this.triggered = true;
      this.loadedAt = now;
    } else if (fell) {
      this.frozenAt = now;
    } else if (rose) {
      // Modes 2 and 3 start over, 0 and 4 go on.
      if (this.mode === 2 || this.mode === 3) this.loadedAt = now;
      else if (!Number.isNaN(this.frozenAt)) this.loadedAt += now - this.frozenAt;
      this.frozenAt = Number.NaN;
    }
  }

  /** Whole ticks counted so far; -1 if it does not count. */
  private elapsed(now: number): number {
    if (this.count === 0 || ((this.mode === 1 || this.mode === 5) && !this.triggered)) return -1;
    return Math.floor((Number.isNaN(this.frozenAt) ? now : this.frozenAt) - this.loadedAt);
  }

  output(now: number): boolean {
    const t = this.elapsed(now);
    switch (this.mode) {
      case 0: return this.count !== 0 && t >= this.count;
      case 1: return t < 0 || t >= this.count;
      case 2: return t < 0 || !this.gate || t % this.count !== this.count - 1;
      case 3: return t < 0 || !this.gate || t % this.count < (this.count + 1) >> 1;
      default: return t !== this.count;
    }
  }

  /** Tick of the next change of the output after `now`, Infinity if there is none to come. */
  nextEdge(now: number): number {
    const t = this.elapsed(now);
    if (t < 0 || !Number.isNaN(this.frozenAt)) return Number.POSITIVE_INFINITY;
    const { count } = this;
    const start = this.loadedAt;
    const period = t - (t % count);
    switch (this.mode) {
      case 0:
      case 1: return t < count ? start + count : Number.POSITIVE_INFINITY;
      case 2: return count === 1 ? Number.POSITIVE_INFINITY : start + (t % count < count - 1 ? period + count - 1 : period + count);
      case 3: {
        const half = (count + 1) >> 1;
        return count === 1 ? Number.POSITIVE_INFINITY : start + (t % count < half ? period + half : period + count);
      }
      default: return t < count ? start + count : t === count ? start + count + 1 : Number.POSITIVE_INFINITY;
    }
  }

  private current(now: number): number {
    const t = this.elapsed(now);
    const { modulus } = this;
    let value: number;
    if (t < 0) value = this.count;
    else if (this.mode === 2) value = this.count - (t % this.count);
    else if (this.mode === 3) value = this.count - ((2 * t) % this.count);
    else value = (((this.count - t) % modulus) + modulus) % modulus;
    value %= modulus;
    return this.bcd ? toBcd(value) : value;
  }

  latch(now: number): void {
    if (this.latched.length > 0) return;
    const value = this.current(now);
    if (this.access === ACCESS_LOW) this.latched = [value & 0xff];
    else if (this.access === ACCESS_HIGH) this.latched = [value >> 8];
    else this.latched = [value & 0xff, value >> 8];
  }

  latchStatus(now: number): void {
    if (this.status < 0) this.status = (this.output(now) ? STATUS_OUT : 0) | (this.nullCount ? STATUS_NULL_COUNT : 0) | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  /** Status first if it was latched, then a latched count, then the count as it runs. */
  read(now: number): number {
    if (this.status >= 0) {
      const { status } = this;
      this.status = -1;
      return status;
    }
    const latched = this.latched.shift();
    if (latched !== undefined) return latched;
    const value = this.current(now);
    if (this.access === ACCESS_LOW) return value & 0xff;
    if (this.access === ACCESS_HIGH) return value >> 8;
    this.readHigh = !this.readHigh;
    return this.readHigh ? value & 0xff : value >> 8;
  }
}

const fromBcd = (v: number): number => (v & 15) + 10 * ((v >> 4) & 15) + 100 * ((v >> 8) & 15) + 1000 * ((v >> 12) & 15);
const toBcd = (v: number): number => (v % 10) | ((Math.floor(v / 10) % 10) << 4) | ((Math.floor(v / 100) % 10) << 8) | (Math.floor(v / 1000) << 12);

export class I8254<T extends Timer = Timer> {
  readonly counters = [new Counter(true), new Counter(true), new Counter(false)] as const;
  private readonly clock: Clock<T>;
  private readonly irq: Line;
  private readonly ticksPerCycle: number;
  private timer: T | undefined;
  private speakerData = 0;

  /** `irq` is counter 0's output. `cyclesPerSecond` is the clock's rate. */
  constructor(clock: Clock<T>, cyclesPerSecond: number, irq: Line) {
    this.clock = clock;
    this.irq = irq;
    this.ticksPerCycle = PIT_FREQ / cyclesPerSecond;
  }

  private ticks(): number {
    return this.clock.now() * this.ticksPerCycle;
  }

  read(port: number): number {
    if (port === PIT_PORT_B) return this.readPortB();
    const counter = this.counters[(port - PIT_PORT) as 0 | 1 | 2];
    return counter === undefined ? 0 : counter.read(this.ticks());
  }

  write(port: number, value: number): void {
    value &= 0xff;
    const now = this.ticks();
    if (port === PIT_PORT_B) {
      this.speakerData = value & 2;
      this.counters[2].setGate((value & 1) !== 0, now);
    } else if (port === PIT_CONTROL_PORT) {
      this.control(value, now);
    } else {
      const n = port - PIT_PORT;
      if (this.counters[n as 0 | 1 | 2]?.write(value, now) && n === 0) this.schedule();
    }
  }

  private control(value: number, now: number): void {
    const n = value >> 6;
    if (n === 3) {
      this.readBack(value, now);
      return;
    }
    const counter = this.counters[n as 0 | 1 | 2];
    if (((value >> 4) & 3) === ACCESS_LATCH) {
      counter.latch(now);
      return;
    }
    counter.program(value, now);
    if (n === 0) this.schedule();
  }

  private readBack(value: number, now: number): void {
    for (let n = 0; n < 3; n++) {
      if ((value & (2 << n)) === 0) continue;
      const counter = this.counters[n as 0 | 1 | 2];
      if ((value & 0x20) === 0) counter.latch(now);
      if ((value & 0x10) === 0) counter.latchStatus(now);
    }
  }

  private readPortB(): number {
    const now = this.ticks();
    const refresh = Math.floor(now / REFRESH_CYCLES) & 1;
    return (this.counters[2].gate ? 1 : 0) | this.speakerData | (refresh << 4) | (this.counters[2].output(now) ? 0x20 : 0);
  }

  /** Tells the line the output of counter 0 and comes back when it changes. */
  private schedule(): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
    const now = this.ticks();
    this.irq(this.counters[0].output(now));
    const edge = this.counters[0].nextEdge(now);
    if (edge === Number.POSITIVE_INFINITY) return;
    // Rounding may put the edge into this very cycle; time must go on.
    this.timer = this.clock.at(Math.max(Math.ceil(edge / this.ticksPerCycle), this.clock.now() + 1), () => this.schedule());
  }
}
