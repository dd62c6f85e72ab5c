/**
 * The instruction engine: runs a processor's machine code for a number of cycles and says why it stopped.
 *
 * One engine serves all processors of a machine; they share its translated code. TypeScript is entered from emitted code
 * for what is rare: TLB misses and accesses no single host address can serve, code not yet decoded, exec rows. What
 * those throw never travels through WebAssembly: it is kept in `fault` and the emitted code leaves by a return code.
 */
import { DE_VECTOR, Fault, GP_VECTOR, AC_VECTOR, SS_VECTOR, PFERR_FETCH, PFERR_USER, PFERR_WRITE, XM_VECTOR, raise, simdVector } from '../cpu/exceptions.ts';
import { breakpointsArmed, noteAccess } from '../cpu/debug.ts';
import { type EngineHooks, QUICK_ALL, VM_EXIT } from '../cpu/hooks.ts';
import { linearAddress, readPhysical, writePhysical } from '../cpu/memory.ts';
import type { Exec, Insn } from '../cpu/opcode-row.ts';
import { opcodeTable } from '../cpu/opcode-table.ts';
import { callSimd } from '../cpu/simd-call.ts';
import { CS, type CpuState, MODE_64, MODE_ALIGN, MODE_SIZE, MODE_USER, SEGMENT_SIZE, SS, STATE, updateMode } from '../cpu/state.ts';
import type { Ram } from '../ram.ts';
import { CodeCache } from './code-cache.ts';
import { readFlags, writeFlags } from './flags.ts';
import { Handlers } from './handlers.ts';
import { ENGINE } from './layout.ts';
import { ACCESS_MODIFY, ACCESS_SEGMENT, ACCESS_WRITE, REC_END, REC_IMM, REC_LINK, REC_SEG } from './record.ts';
import { type HostImports, JUMP_LAST, JUMP_LINEAR, JUMP_RECORD, JUMP_TAG, runtimeModule } from './runtime.ts';
import { STOP_EVENT, STOP_EXIT, STOP_FAULT, STOP_LIMIT, type StopReason, elapsed, stopSoon } from './stop.ts';
import { Transfers } from './transfers.ts';
import { JUMP_ENTRIES, JUMP_ENTRY_SHIFT, Tlb, type TlbCosts } from './tlb.ts';

const FOUR_GIB = 0x1_0000_0000;
const MAX_BUDGET = 0x4000_0000;

const BUDGET = STATE.budget >>> 2, RETIRED = STATE.retired >>> 2, RIP = STATE.rip >>> 2, MODE = STATE.mode >>> 2;
const GRANTED = ENGINE.granted >>> 2, BEGAN = ENGINE.began >>> 2, HELD = ENGINE.held >>> 2, CHARGED = ENGINE.charged >>> 2;
const ADDRESS = ENGINE.access_address >>> 2, BOUNDARY = ENGINE.boundary >>> 2, WINDOW_SIZE = ENGINE.window_size >>> 2, RIP_PAGE = ENGINE.rip_page >>> 2;
const CS_BASE = (STATE.seg + CS * SEGMENT_SIZE) >>> 2, CS_LIMIT = (STATE.seg + CS * SEGMENT_SIZE + 8) >>> 2;

export class Engine implements EngineHooks {
  /** Why the last run stopped with STOP_FAULT. Valid until the next exception is raised anywhere. */
  fault: Fault | undefined;
  /** Cycles the last run used, charges included. */
  used = 0;
  /** The charges among them; the rest is what retired. */
  charged = 0;
  retired = 0;
  readonly tlb: Tlb;
  readonly code: CodeCache;
  readonly transfers: Transfers;
  private readonly ram: Ram;
  private readonly runCode: (cpu: number) => void;
  /** The processor that runs. */
  private cpu!: CpuState;
  private thrown: unknown;
  /** Of the write that lies in the window: how many bytes are on the first page, and both physical addresses. */
  private windowHere = 0;
  private windowFirst = 0;
  private windowSecond = 0;

  /** `codeBytes`: room for translated code, if not the usual. */
  constructor(ram: Ram, costs: TlbCosts, codeBytes?: number) {
    this.ram = ram;
    const pages = ram.memory.buffer.byteLength / 65536;
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1024 });
    const imports: WebAssembly.ModuleImports = { memory: ram.memory, table, ...this.hostImports() };
    this.code = new CodeCache(ram, codeBytes);
    const frames = this.code.codePages.length;
    const writers = new Uint16Array(ram.memory.buffer, ram.reserve(2 * frames, 2), frames);
    const layout = { pages, ramBase: ram.base, ramSize: ram.size, codePages: this.code.codePages.byteOffset, writers: writers.byteOffset };
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(runtimeModule(layout)), { e: imports });
    Object.assign(imports, exports);
    this.runCode = exports['run'] as (cpu: number) => void;
    this.code.handlers = new Handlers(table, pages, imports, opcodeTable[0]!);
    this.tlb = new Tlb(ram, this.code.codePages, writers, costs);
    this.transfers = new Transfers(ram, this.tlb);
    this.code.onTranslated = (page) => { this.tlb.codeAppeared(page); ram.onTranslated(page * 4096); };
    this.code.onReset = () => this.tlb.clearAllJumps();
  }

  /** Takes a processor in. Its registers may be set before or after. */
  attach(cpu: CpuState): void {
    cpu.u32[ENGINE.sixty_four_k >>> 2] = 0x1_0000;
    cpu.u32[ENGINE.rdtsc_cost >>> 2] = cpu.costs.rdtsc;
    cpu.u32[ENGINE.rdtscp_cost >>> 2] = cpu.costs.rdtscp;
    cpu.u32[ENGINE.pause_cost >>> 2] = cpu.costs.pause;
    this.tlb.attach(cpu);
    this.transfers.attach(cpu);
    cpu.engine = this;
    updateMode(cpu);
  }

  /**
   * Runs until `cycles` are used up, stopSoon() is called, or an exception or VM exit is raised. The last instruction may
   * go beyond by what it is charged. cpu.rip and cpu.state.retired are exact afterwards, `used` says what time passed.
   */
  run(cpu: CpuState, cycles: number): StopReason {
    const w = cpu.u32;
    this.cpu = cpu;
    this.thrown = undefined;
    const budget = Math.min(cycles, MAX_BUDGET);
    w[GRANTED] = w[BUDGET] = budget;
    w[HELD] = w[CHARGED] = 0;
    const now = cpu.bus.timeAlone();
    w[BEGAN] = now;
    w[BEGAN + 1] = now / FOUR_GIB;
    w[ENGINE.quick >>> 2] = now < 0 ? 0 : w[STATE.in_guest >>> 2] !== 0 ? cpu.vmx.quick() : QUICK_ALL;
    w[ENGINE.delivers >>> 2] = cpu.door === 'architectural' || w[STATE.in_guest >>> 2] !== 0 ? 1 : 0;
    this.tlb.select(cpu);
    this.runCode(cpu.base);
    const { thrown } = this;
    // An instruction that raised a fault has not retired.
    if (thrown !== undefined && w[BOUNDARY] === 0) w[BUDGET] = w[BUDGET]! + 1;
    this.used = elapsed(cpu);
    this.charged = w[CHARGED]!;
    this.retired = this.used - this.charged;
    const low = w[RETIRED]! + this.retired;
    w[RETIRED] = low;
    if (low >= FOUR_GIB) w[RETIRED + 1] = w[RETIRED + 1]! + 1;
    const held = w[HELD]!;
    w[BUDGET] = w[HELD] = w[GRANTED] = w[CHARGED] = 0;
    if (thrown === undefined) return held > 0 ? STOP_EVENT : STOP_LIMIT;
    if (thrown === VM_EXIT) return STOP_EXIT;
    if (thrown instanceof Fault) {
      this.fault = thrown;
      return STOP_FAULT;
    }
    throw thrown;
  }

  // ---------------------------------------------------------------- EngineHooks
  readFlags(cpu: CpuState): number { return readFlags(cpu); }
  writeFlags(cpu: CpuState, flags: number): void { writeFlags(cpu, flags); }
  flushTlb(cpu: CpuState, global = true): void { this.tlb.flush(cpu, global); }
  flushPcid(cpu: CpuState, pcid: number): void { this.tlb.flushPcid(cpu, pcid); }
  translate(cpu: CpuState, linear: number, access: number): number { return this.tlb.translate(cpu, linear, (access & PFERR_WRITE) !== 0, (access & PFERR_USER) !== 0); }
  instruction(cpu: CpuState): Insn | undefined {
    const mode = cpu.u32[MODE]!, long = (mode & MODE_SIZE) === MODE_64;
    const linear = long ? Number(BigInt.asIntN(64, cpu.rip)) : (Number(cpu.rip) + cpu.u32[CS_BASE]!) >>> 0;
    const access = PFERR_FETCH | (mode & MODE_USER ? PFERR_USER : 0);
    const next = (Math.floor(linear / 4096) + 1) * 4096;
    try {
      return this.code.decode(this.tlb.fetch(cpu, linear, access), mode, () => Math.floor(this.tlb.fetch(cpu, long ? next : next >>> 0, access) / 4096));
    } catch { return undefined; }
  }
  flushPage(cpu: CpuState, linear: number): void { this.tlb.flushPage(cpu, linear); }
  modeChanged(cpu: CpuState): void { this.tlb.select(cpu); }
  stopSoon(cpu: CpuState): void { stopSoon(cpu); }
  codeWritten(_cpu: CpuState, address: number, size: number): void { this.code.written(address, size); }

  // ---------------------------------------------------------------- what emitted code calls

  private hostImports(): HostImports {
    return {
      hostAccess: (_cpu, record, access) => {
        try { return this.access(record!, access!); } catch (e) {
          this.cpu.returnsExits = false;
          this.thrown = e;
          return 0;
        }
      },
      commit: () => { this.commit(); },
      raise: (_cpu, vector) => {
        try { raise(this.cpu, vector === XM_VECTOR ? simdVector(this.cpu) : vector!); } catch (e) { this.thrown = e; }
      },
      segmentSlow: (_cpu, offset, access) => {
        try {
          const seg = (offset! - STATE.seg) / SEGMENT_SIZE;
          linearAddress(this.cpu, seg, this.cpu.u64[ADDRESS >>> 1]!, access! & 0xff, (access! & ACCESS_WRITE) !== 0);
          return 1;
        } catch (e) { this.thrown = e; return 0; }
      },
      lookup: () => this.lookup(),
      link: (_cpu, record) => this.link(record!),
      execute: (_cpu, record) => this.execute(record!),
      transfer: (_cpu, record) => this.transfer(record!),
      heat: (_cpu, record) => this.code.heat(record!),
      divide: (_cpu, signed) => this.divide(signed !== 0),
      simd: (_cpu, n) => (callSimd(n!, this.cpu) ? 1 : 0),
    };
  }

  private execute(record: number): number {
    const { cpu } = this;
    const insn = this.code.insns[this.ram.mem.u32[(record + REC_IMM) >>> 2]!]!;
    const { meaning } = insn.row;
    try {
      const exit = (meaning as { exec: Exec }).exec(cpu, insn);
      if (exit !== undefined) {
        this.thrown = exit;
        return 0;
      }
    } catch (e) {
      this.thrown = e;
      return 0;
    }
    this.tlb.select(cpu);
    return 1;
  }

  /** An exec row whose transfer the emitted code did not know, and is told of for the next time. */
  private transfer(record: number): number {
    const { cpu, transfers } = this;
    const prepared = transfers.prepare(cpu, this.code.insns[this.ram.mem.u32[(record + REC_IMM) >>> 2]!]!);
    if (this.execute(record) === 0) return 0;
    if (prepared) transfers.made(cpu);
    return 1;
  }

  /** The code at RIP access_address. A fault there is raised between two instructions. */
  private lookup(): number {
    const { cpu } = this;
    const w = cpu.u32;
    const ripLow = w[ADDRESS]!, ripHigh = w[ADDRESS + 1]!;
    // The run ends here: whatever is due now comes before a fault of the next fetch.
    if ((w[BUDGET]! | 0) <= 0) return this.leaveAt(ripLow, ripHigh);
    try {
      const mode = w[MODE]!;
      const access = PFERR_FETCH | (mode & MODE_USER ? PFERR_USER : 0);
      let linear: number;
      if ((mode & MODE_SIZE) === MODE_64) {
        linear = (ripHigh | 0) * FOUR_GIB + ripLow;
        if (linear >= 2 ** 47 || linear < -(2 ** 47)) raise(cpu, GP_VECTOR);
      } else {
        linear = (ripLow + w[CS_BASE]!) >>> 0;
        if (ripLow > w[CS_LIMIT]!) raise(cpu, GP_VECTOR);
      }
      const physical = this.tlb.fetch(cpu, linear, access);
      const nextPage = () => {
        const next = (Math.floor(linear / 4096) + 1) * 4096;
        return Math.floor(this.tlb.fetch(cpu, (mode & MODE_SIZE) === MODE_64 ? next : next >>> 0, access) / 4096);
      };
      let block = this.code.find(physical, mode, nextPage);
      const last = block.end - block.start - 1;
      if ((mode & MODE_SIZE) !== MODE_64 && ripLow + last > w[CS_LIMIT]!) {
        // The bytes beyond the limit must not be executed: one instruction at a time.
        block = this.code.single(physical, mode, nextPage);
        if (ripLow + block.end - block.start - 1 > w[CS_LIMIT]!) raise(cpu, GP_VECTOR);
      } else this.cacheJump(cpu, linear, block.record, last);
      cpu.u64[RIP_PAGE >>> 1] = (BigInt(ripHigh) << 32n | BigInt(ripLow)) - BigInt((linear >>> 0) & 0xfff);
      return block.record;
    } catch (e) {
      this.thrown = e;
      return this.leaveAt(ripLow, ripHigh);
    }
  }

  /** Leaves between two instructions. */
  private leaveAt(ripLow: number, ripHigh: number): 0 {
    const w = this.cpu.u32;
    w[RIP] = ripLow;
    w[RIP + 1] = ripHigh;
    w[BOUNDARY] = 1;
    return 0;
  }

  private cacheJump(cpu: CpuState, linear: number, record: number, last: number): void {
    const w = cpu.u32;
    const { u32 } = this.ram.mem;
    const low = linear >>> 0, high = Math.floor(linear / FOUR_GIB) >>> 0;
    const index = (low ^ (low >>> 12 | high << 20)) & (JUMP_ENTRIES - 1);
    const at = (w[ENGINE.jump_cache >>> 2]! + (index << JUMP_ENTRY_SHIFT)) >>> 2;
    u32[at + JUMP_LINEAR / 4] = low;
    u32[at + JUMP_LINEAR / 4 + 1] = high;
    u32[at + JUMP_TAG / 4] = w[ENGINE.jump_tag >>> 2]!;
    u32[at + JUMP_TAG / 4 + 1] = w[(ENGINE.jump_tag >>> 2) + 1]!;
    u32[at + JUMP_RECORD / 4] = record;
    u32[at + JUMP_LAST / 4] = last;
  }

  /** Where a direct jump in its page leads; remembered in its record. */
  private link(record: number): number {
    const { cpu } = this;
    const { mem } = this.ram;
    const { epoch } = this.code;
    const offset = mem.u16[(record + REC_END) >>> 1]! + (mem.u32[(record + REC_IMM) >>> 2]! | 0);
    const page = cpu.u64[RIP_PAGE >>> 1]!;
    cpu.u64[ADDRESS >>> 1] = page + BigInt(offset);
    const target = this.lookup();
    if (target !== 0 && this.code.epoch === epoch && cpu.u64[RIP_PAGE >>> 1] === page && !this.code.crosses(target)) mem.u32[(record + REC_LINK) >>> 2] = target;
    return target;
  }

  // ---------------------------------------------------------------- memory

  /** Host address for an access emitted code could not make by itself. Sets the window up where there is none. */
  private access(record: number, access: number): number {
    const { cpu, ram } = this;
    const w = cpu.u32;
    const size = access & 0xff;
    const write = (access & ACCESS_WRITE) !== 0;
    const low = w[ADDRESS]!;
    const mode = w[MODE]!;
    let linear: number, wide = false;
    if ((mode & MODE_SIZE) === MODE_64) {
      linear = (w[ADDRESS + 1]! | 0) * FOUR_GIB + low;
      wide = true;
      if (linear < -(2 ** 47) || linear + size - 1 >= 2 ** 47) {
        raise(cpu, this.segmentOf(record, access) === SS ? SS_VECTOR : GP_VECTOR);
      }
    } else linear = low;      // A flat segment has no end: an access over 4 GiB goes on at 0.
    if (breakpointsArmed(cpu)) noteAccess(cpu, linear, size, write);
    if (mode & MODE_ALIGN && size <= 8 && (low & (size - 1)) !== 0) raise(cpu, AC_VECTOR);
    const here = 4096 - (low & 0xfff);
    cpu.returnsExits = true;
    const first = this.tlb.translate(cpu, linear, write);
    if (first < 0) return this.exited();
    if (size <= here && first < ram.size && !(write && this.code.codePages[Math.floor(first / 4096)] === 1 && this.code.covers(first, size))) {
      // The store goes to its place at once; the window keeps an older access.
      if (write) w[WINDOW_SIZE] = 0;
      cpu.returnsExits = false;
      return ram.base + first;
    }

    let second = 0;
    if (size > here) second = this.tlb.translate(cpu, wide ? linear + here : (linear + here) >>> 0, write);
    if (second < 0) return this.exited();
    cpu.returnsExits = false;
    const window = cpu.base + ENGINE.window;
    if (!write || access & ACCESS_MODIFY) {
      this.readBytes(first, Math.min(size, here), window);
      if (size > here) this.readBytes(second, size - here, window + here);
    }
    if (write) {
      w[WINDOW_SIZE] = size;
      this.windowHere = here;
      this.windowFirst = first;
      this.windowSecond = second;
    }
    return window;
  }

  /** The guest exited while an address of its was translated. */
  private exited(): 0 {
    this.cpu.returnsExits = false;
    this.thrown = VM_EXIT;
    return 0;
  }

  /** The segment register an access goes through. */
  private segmentOf(record: number, access: number): number {
    return access & ACCESS_SEGMENT ? access >> 12 & 7 : (this.ram.mem.u16[(record + REC_SEG) >>> 1]! - STATE.seg) / SEGMENT_SIZE;
  }

  private commit(): void {
    const { cpu, windowHere } = this;
    const windowSize = cpu.u32[WINDOW_SIZE]!;
    if (windowSize === 0) return;
    const window = cpu.base + ENGINE.window;
    this.writeBytes(this.windowFirst, Math.min(windowSize, windowHere), window);
    if (windowSize > windowHere) this.writeBytes(this.windowSecond, windowSize - windowHere, window + windowHere);
  }

  private readBytes(physical: number, n: number, to: number): void {
    const { u8 } = this.ram.mem;
    if (physical + n <= this.ram.size) {
      u8.copyWithin(to, this.ram.base + physical, this.ram.base + physical + n);
      return;
    }
    for (let i = 0; i < n; i += 8) {
      const size = Math.min(8, n - i);
      const v = readPhysical(this.cpu, physical + i, size);
      for (let j = 0; j < size; j++) u8[to + i + j] = Number(v >> BigInt(8 * j) & 0xffn);
    }
  }

  private writeBytes(physical: number, n: number, from: number): void {
    const { u8 } = this.ram.mem;
    if (physical + n <= this.ram.size) {
      u8.copyWithin(this.ram.base + physical, from, from + n);
      this.code.written(physical, n);
      return;
    }
    for (let i = 0; i < n; i += 8) {
      const size = Math.min(8, n - i);
      let v = 0n;
      for (let j = size - 1; j >= 0; j--) v = v << 8n | BigInt(u8[from + i + j]!);
      writePhysical(this.cpu, physical + i, size, v);
    }
  }

  // ---------------------------------------------------------------- arithmetic

  /** DIV and IDIV of 128 bits by the 64 in access_address. 0: #DE was raised. */
  private divide(signed: boolean): number {
    const { cpu } = this;
    const g = cpu.gpr;
    const divisor = signed ? BigInt.asIntN(64, cpu.u64[ADDRESS >>> 1]!) : cpu.u64[ADDRESS >>> 1]!;
    const dividend = (signed ? BigInt.asIntN(64, g[2]!) : g[2]!) << 64n | g[0]!;
    const quotient = divisor === 0n ? 0n : dividend / divisor;
    if (divisor === 0n || quotient !== (signed ? BigInt.asIntN(64, quotient) : BigInt.asUintN(64, quotient))) {
      try { raise(cpu, DE_VECTOR); } catch (e) { this.thrown = e; }
      return 0;
    }
    g[0] = BigInt.asUintN(64, quotient);
    g[2] = BigInt.asUintN(64, dividend % divisor);
    return 1;
  }
}
