/**
 * The machine under test: runs a case as the recorder does, in ring 3 of a bare processor with the recorder's pages,
 * segments and selectors, and answers in the recorder's form. Code is put on a physical page of its own for each encoding, so that
 * nothing translated is ever rewritten; when the pages are used up, a new machine is taken.
 *
 * For the hot tier three NOPs go in front of the instruction, with which it is long enough to be made a region at its
 * first execution.
 */
import { BareMachine } from '../../bench/bare-machine.ts';
import { CS, type CpuState, DS, ES, FS, GS, LDTR, SS, TR, updateMode } from '../../machine/cpu/state.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { STOP_EVENT, STOP_FAULT } from '../../machine/engine/stop.ts';
import {
  ANSWER, Answer, CASE, CODE, CODE_PAGES, CODE_SIZE, type Case, DATA, DATA_PAGES, DATA_SIZE, FS_BASE, FXSAVE, GS_BASE, LDT, PAGE, PATCH_SIZE, TIMED_OUT, USER32_CS, USER_CS, WRITABLE_PAGES, WRITABLE_SIZE, pristine,
} from './layout.ts';

const NX = 1n << 63n;
const TABLES = 0x10_0000, PT_CODE = 0x10_4000, PT_DATA = 0x10_5000, SYSTEM = 0x20_0000, DATA_AT = 0x30_0000, CODE_AT = 0x40_0000, MEMORY = 16 << 20;
const CODE_FRAMES = (MEMORY - CODE_AT) / PAGE - 512;
/** Where the kernel's tables are mapped: in the upper half, which user programs cannot see into. */
const SYSTEM_LINEAR = 0xffff_ff80_0000_0000n;
export const NOPS = 3;
const BUDGET = 200_000;

const packed = (base: number, limit: number, access: number): bigint =>
  BigInt(limit & 0xffff) | BigInt(base & 0xff_ffff) << 16n | BigInt(access & 0xff) << 40n | BigInt(limit >>> 16 & 0xf) << 48n | BigInt(access >>> 12 & 0xf) << 52n | BigInt(base >>> 24) << 56n;
/** Linux's GDT, as far as its user segments go. */
const GDT: Readonly<Record<number, bigint>> = { 4: 0x00cf_fb00_0000_ffffn, 5: 0x00cf_f300_0000_ffffn, 6: 0x00af_fb00_0000_ffffn };
const FLAT_DATA = { base: 0, limit: 0xffff_ffff, access: 0xc0f3 }, FLAT_CODE = { base: 0, limit: 0xffff_ffff, access: 0xc0fb }, LONG_CODE = { base: 0, limit: 0xffff_ffff, access: 0xa0fb };

export class MachineUnderTest {
  /** Regions made by machines given up already. */
  private regionsBefore = 0;
  private m!: BareMachine;
  private cpu!: CpuState;
  /** Physical pages of the code, counted from CODE_AT; how many have been used. */
  private readonly frames = [0, 0];
  private used = 0;
  private loaded: Uint8Array | undefined;
  private loadedAt = -1;
  private loadedMode = 0;
  private readonly hot: boolean;
  private readonly answer = new Answer(ANSWER.change + 4 * (CODE_SIZE + DATA_SIZE));
  private readonly before = new Uint8Array(DATA_SIZE);
  private readonly codeBefore = new Uint8Array(CODE_SIZE);

  constructor(hot: boolean) {
    this.hot = hot;
    this.renew();
  }

  get regions(): number { return this.regionsBefore + this.m.engine.code.hot.regions; }

  private renew(): void {
    if (this.used > 0) this.regionsBefore += this.m.engine.code.hot.regions;
    const m = this.m = new BareMachine(MEMORY);
    const cpu = this.cpu = m.cpu;
    m.engine.code.hot.threshold = this.hot ? 1 : Infinity;
    this.used = 1;
    this.loaded = undefined;
    const { u64, u16, u8 } = m.ram.mem;
    const word = (address: number, v: bigint) => { u64[(m.ram.base + address) >>> 3] = v; };
    m.longMode(CODE, TABLES);
    for (let i = 0; i < 512; i++) word(TABLES + 0x2000 + 8 * i, 0n);
    word(TABLES + 0x2000 + 8 * (CODE >>> 21), BigInt(PT_CODE | 7));
    word(TABLES + 0x2000 + 8 * (DATA >>> 21), BigInt(PT_DATA | 7));
    word(TABLES + 8 * 511, BigInt(PT_DATA + 0x1000 | 3));
    word(PT_DATA + 0x1000, BigInt(PT_DATA + 0x2000 | 3));
    word(PT_DATA + 0x2000, BigInt(SYSTEM | 0x83) | NX);
    for (let i = 0; i < DATA_PAGES; i++) word(PT_DATA + 8 * i, BigInt(DATA_AT + i * PAGE | (i < WRITABLE_PAGES ? 7 : 5)) | NX);
    for (const [i, d] of Object.entries(GDT)) word(SYSTEM + 8 * Number(i), d);
    LDT.forEach(({ base, limit, access }, i) => word(SYSTEM + 0x1000 + 8 * i, packed(base, limit, access)));
    cpu.state.gdtr_base = SYSTEM_LINEAR;
    cpu.state.gdtr_limit = 0x7f;
    cpu.setSegment(LDTR, 0x50, SYSTEM_LINEAR + 0x1000n, 8 * LDT.length - 1, 0x82);
    // A TSS without an I/O bitmap.
    cpu.setSegment(TR, 0x40, SYSTEM_LINEAR + 0x2000n, 0x67, 0x8b);
    u16[(m.ram.base + SYSTEM + 0x2066) >>> 1] = 0x68;
    // What Linux sets, as far as user programs can tell: AM, FSGSBASE, UMIP, OSXSAVE, OSXMMEXCPT.
    cpu.state.cr0 = 0x8005_0033n;
    cpu.state.cr4 = 0x5_0e20n;
    cpu.state.xcr0 = 3n;
    cpu.door = 'kernel';
    u8.set(pristine, m.ram.base + DATA_AT);
  }

  /** Host offset of a page of the code. */
  private host(page: number): number { return this.m.ram.base + CODE_AT + this.frames[page]! * PAGE; }

  private segment(cpu: CpuState, seg: number, selector: number): void {
    const { base, limit, access } = selector & 4 ? LDT[selector >> 3]! : selector === USER_CS ? LONG_CODE : selector === USER32_CS ? FLAT_CODE : FLAT_DATA;
    cpu.setSegment(seg, selector, BigInt(base), limit, access);
  }

  /** A physical page for code that has not been there, filled with INT3. */
  private load(test: Case): void {
    const { code, codeAt, mode } = test;
    const { loaded } = this;
    if (loaded && this.loadedAt === codeAt && this.loadedMode === mode && loaded.length === code.length && loaded.every((b, i) => b === code[i])) return;
    if (this.used + CODE_PAGES > CODE_FRAMES) this.renew();
    this.loaded = code.slice();
    this.loadedAt = codeAt;
    this.loadedMode = mode;
    const { m, frames } = this;
    const { u8, u64 } = m.ram.mem;
    const offset = codeAt - CODE;
    // The first frame is what follows code that does not reach the second page: INT3 throughout.
    frames[0] = this.used++;
    frames[1] = offset + code.length + 1 > PAGE ? this.used++ : 0;
    for (let i = 0; i < CODE_PAGES; i++) {
      u8.fill(0xcc, this.host(i), this.host(i) + PAGE);
      u64[(m.ram.base + PT_CODE + 8 * i) >>> 3] = BigInt(CODE_AT + frames[i]! * PAGE | 7);
    }
    code.forEach((byte, i) => { u8[this.host(offset + i >>> 12) + (offset + i & 0xfff)] = byte; });
    if (this.hot) u8.fill(0x90, this.host(0) + offset - NOPS, this.host(0) + offset);
    for (let i = 0; i < CODE_PAGES; i++) this.codeBefore.set(u8.subarray(this.host(i), this.host(i) + PAGE), i * PAGE);
    m.engine.flushTlb(m.cpu);
  }

  /** Runs a case. The answer is valid until the next. */
  run(test: Case): Answer {
    this.load(test);
    const { m, cpu, answer, before } = this;
    const { u8 } = m.ram.mem;
    const data = m.ram.base + DATA_AT;
    before.set(pristine);
    const length = test.u32[CASE.patchLength / 4]!;
    for (let i = 0; i < 2; i++) {
      const at = test.u32[CASE.patchAt / 4 + i]! - DATA;
      before.set(test.u8.subarray(CASE.patch + PATCH_SIZE * i, CASE.patch + PATCH_SIZE * i + length), at);
    }
    u8.set(before.subarray(0, WRITABLE_SIZE), data);
    const nops = this.hot ? NOPS : 0;

    for (const [seg, at] of [[CS, CASE.cs], [DS, CASE.ds], [ES, CASE.es], [SS, CASE.ss]] as const) this.segment(cpu, seg, test.u16[at / 2]!);
    cpu.setSegment(FS, 0, BigInt(FS_BASE), 0, 0x1_0000);
    cpu.setSegment(GS, 0, BigInt(GS_BASE), 0, 0x1_0000);
    for (let i = 0; i < 16; i++) cpu.gpr[i] = test.gpr(i);
    cpu.fpu.set(test.u8.subarray(CASE.fxsave, CASE.fxsave + FXSAVE.end));
    cpu.rip = test.rip - BigInt(nops);
    writeFlags(cpu, test.rflags | (test.stepped ? 0x100 : 0));
    cpu.pending = 0;
    updateMode(cpu);
    let why = m.engine.run(cpu, test.stepped ? 1 + nops : BUDGET);
    // An interrupt shadow ends a run before the next instruction.
    while (why === STOP_EVENT && !test.stepped) {
      cpu.pending = 0;
      why = m.engine.run(cpu, BUDGET);
    }

    const { fault } = m.engine;
    const failed = why === STOP_FAULT;
    answer.u8.fill(0, 0, ANSWER.change);
    answer.u32[ANSWER.trap / 4] = failed ? fault!.vector : test.stepped ? 1 : TIMED_OUT;
    if (failed) {
      answer.u64[ANSWER.error / 8] = BigInt(Math.max(fault!.error, 0));
      if (fault!.vector === 14) answer.u64[ANSWER.cr2 / 8] = BigInt.asUintN(64, BigInt(fault!.address));
    }
    answer.u64[ANSWER.rip / 8] = cpu.rip + (failed && fault!.type !== 3 ? BigInt(fault!.length) : 0n);
    answer.u32[ANSWER.rflags / 4] = readFlags(cpu);
    for (let i = 0; i < 16; i++) answer.u64[ANSWER.gpr / 8 + i] = cpu.gpr[i]!;
    for (const [seg, at] of [[CS, ANSWER.cs], [DS, ANSWER.ds], [ES, ANSWER.es], [SS, ANSWER.ss], [FS, ANSWER.fs], [GS, ANSWER.gs]] as const) answer.u16[at / 2] = cpu.selector(seg);
    answer.u64[ANSWER.fsBase / 8] = cpu.segBase(FS);
    answer.u64[ANSWER.gsBase / 8] = cpu.segBase(GS);
    answer.u8.set(cpu.fpu.subarray(0, FXSAVE.end), ANSWER.fxsave);
    let changes = 0;
    const compare = (now: number, old: Uint8Array, size: number, base: number) => {
      if (Buffer.compare(u8.subarray(now, now + size), old.subarray(0, size)) === 0) return false;
      for (let i = 0; i < size; i++) if (u8[now + i] !== old[i]) answer.u32[ANSWER.change / 4 + changes++] = (base + i) << 8 | u8[now + i]!;
      return true;
    };
    for (let i = 0; i < CODE_PAGES; i++) {
      if (compare(this.host(i), this.codeBefore.subarray(i * PAGE), PAGE, i * PAGE)) this.used = CODE_FRAMES;
    }
    if (this.used === CODE_FRAMES) this.loaded = undefined;
    compare(data, before, DATA_SIZE, CODE_SIZE);
    answer.u32[ANSWER.changes / 4] = changes;
    answer.u32[ANSWER.size / 4] = ANSWER.change + (changes * 4 + 7 & ~7);
    return answer;
  }
}
