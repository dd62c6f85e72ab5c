/**
 * Translated code: basic blocks of records, found by the physical address they were decoded from and the mode bits that
 * decoding depends on, so that switching address spaces throws nothing away and all processors share them.
 *
 * A block lies in one page of code and follows not-taken branches; an instruction that crosses into the next page is a
 * block of its own. A write to a page that has blocks goes through codeWritten(): where it hits one, all blocks of
 * the page get the handler that looks the code up again, in every record; so even the instruction after a store into
 * its own block is the new one. Records are freed all at once, when the area is full.
 */
import { buildMaps } from '../cpu/opcode-map.ts';
import { opcodeTable } from '../cpu/opcode-table.ts';
import { Decoder } from '../cpu/decoder.ts';
import { type Insn, RIP_BASE, type Row, exec, row } from '../cpu/opcode-row.ts';
import { NM_VECTOR, UD_VECTOR, raise } from '../cpu/exceptions.ts';
import {
  CS, MODE_32, MODE_64, MODE_FLAT, MODE_FPU, MODE_PROTECTED, MODE_SIZE, MODE_SSE, MODE_STACK32, MODE_VM86, SEGMENT_SIZE, FS, STATE,
} from '../cpu/state.ts';
import type { Ram } from '../ram.ts';
import { HANDLER_END, HANDLER_END_NEAR, HANDLER_EXEC, HANDLER_INTERRUPT, HANDLER_RETURN32, HANDLER_RETURN64, HANDLER_STALE, HANDLER_STRAIGHT, type Handlers } from './handlers.ts';
import { HotTier } from './hot-tier.ts';
import { ENGINE } from './layout.ts';
import { parseOperand } from './operand.ts';
import {
  RECORD_SIZE, REC_AUX, REC_DISP, REC_END, REC_HANDLER, REC_IMM, REC_INDEX, REC_LINK, REC_REG, REC_RM, REC_SCALE, REC_SEG, REC_START, REC_VVVV,
} from './record.ts';
import type { SegmentUse, Shape } from './shape.ts';

/** The mode bits that blocks are keyed by. Privilege is not among them: it is the TLB's business. */
export const CODE_MODE = MODE_SIZE | MODE_STACK32 | MODE_FLAT | MODE_PROTECTED | MODE_VM86 | MODE_SSE | MODE_FPU;
const AREA_BYTES = 48 * 1024 * 1024;
const MAX_INSTRUCTIONS = 64;
const PAGE = 4096;
const BLOCK_BYTES = (MAX_INSTRUCTIONS + 3) * RECORD_SIZE;
/** Blocks translated beyond the one asked for. */
const MAX_AHEAD = 32;

export interface Block {
  readonly record: number;
  readonly records: number;
  /** Offsets in the page of its first byte and behind its last. */
  readonly start: number;
  readonly end: number;
  /** Physical page of the bytes past the end of the first page, or -1. */
  readonly secondPage: number;
  valid: boolean;
  /** Number of the region whose code this stands for, or 0. */
  region: number;
}

/** Rows whose registers the machine has not switched on. */
const unavailable: Row = row('', '(unavailable)', '', '', exec((cpu, insn) => {
  const sse = insn.row.attributes.has('sse');
  if ((cpu.u32[STATE.cr0 >>> 2]! & 4) !== 0 && sse) raise(cpu, UD_VECTOR);
  if (sse && (cpu.u32[STATE.cr4 >>> 2]! & 0x200) === 0) raise(cpu, UD_VECTOR);
  raise(cpu, NM_VECTOR);
}));

const gpr = (n: number): number => STATE.gpr + 8 * n;
/** Byte registers 4 to 7 without REX are AH, CH, DH, BH. */
const byteRegister = (n: number, rex: number): number => (rex === 0 && n >= 4 && n < 8 ? gpr(n - 4) + 1 : gpr(n));
const xmm = (n: number): number => STATE['fpu.xmm']! + 16 * n;

export class CodeCache {
  /** One byte for each physical page: 1 when it has blocks. */
  readonly codePages: Uint8Array;
  /** Called when a page gets its first block. */
  onTranslated: (page: number) => void = () => {};
  /** Called when all records are about to be reused. */
  onReset: () => void = () => {};
  /** Insns of exec records, by the number in the record. */
  insns: Insn[] = [];
  /** Blocks translated so far and their instructions, and how often a page lost its blocks to a write. */
  readonly translated = { blocks: 0, instructions: 0 };
  invalidated = 0;
  /** Moves with each reset. */
  epoch = 0;
  /** Blocks that are there, also those that a write made stale. */
  get size(): number { return this.blocks.size; }
  /** For each page a bit for every 128 bytes that some block covers. */
  private readonly covered: Uint32Array;
  private readonly ram: Ram;
  private readonly decoder = new Decoder(buildMaps(opcodeTable));
  handlers!: Handlers;
  readonly hot: HotTier;
  private readonly area: number;
  private readonly areaBytes: number;
  private next: number;
  private readonly blocks = new Map<number, Block>();
  private readonly pages = new Map<number, Block[]>();
  /** Offsets in the page that direct jumps of the blocks at hand lead to, or that calls return to. */
  private readonly ahead: number[] = [];
  private readonly crossing = new Uint8Array(32);

  constructor(ram: Ram, areaBytes = AREA_BYTES) {
    this.ram = ram;
    this.hot = new HotTier(ram);
    const pages = Math.ceil(ram.size / PAGE);
    this.codePages = new Uint8Array(ram.memory.buffer, ram.reserve(pages), pages);
    this.covered = new Uint32Array(this.codePages.length);
    this.areaBytes = areaBytes;
    this.area = ram.reserve(areaBytes, PAGE);
    this.next = this.area;
  }

  /**
   * The block at a physical address for a mode, decoded if need be. `secondPage` gives the physical page that follows
   * in linear memory, should the first instruction need it; it may throw.
   */
  find(physical: number, mode: number, secondPage: () => number): Block {
    const key = physical * 2048 + (mode & CODE_MODE);
    const known = this.blocks.get(key);
    if (known?.valid && (known.secondPage < 0 || known.secondPage === secondPage())) return known;
    if (this.next + (MAX_AHEAD + 1) * BLOCK_BYTES > this.area + this.areaBytes) this.reset();
    this.ahead.length = 0;
    const block = this.translate(physical, mode, secondPage, MAX_INSTRUCTIONS);
    this.remember(key, physical, mode, block);
    if (this.handlers.waiting && block.secondPage < 0 && physical < this.ram.size) this.translateAhead(physical - physical % PAGE, mode);
    this.handlers.compile();
    return block;
  }

  /**
   * Translates what direct jumps lead to in the same page when handlers must be compiled anyway, so that those of many blocks
   * become one module. Nothing here may walk page tables: a block that needs the next page waits until it is run.
   */
  private translateAhead(page: number, mode: number): void {
    for (let i = 0, done = 0; i < this.ahead.length && done < MAX_AHEAD; i++) {
      const physical = page + this.ahead[i]!;
      const key = physical * 2048 + (mode & CODE_MODE);
      if (this.blocks.get(key)?.valid || this.crossesPage(physical, mode)) continue;
      this.remember(key, physical, mode, this.translate(physical, mode, noSecondPage, MAX_INSTRUCTIONS));
      done++;
    }
  }
  private crossesPage(physical: number, mode: number): boolean {
    const at = this.ram.base + physical;
    return physical % PAGE > PAGE - 16 && this.decoder.decode(this.ram.mem.u8, at, at + PAGE - physical % PAGE, codeSizeOf(mode), hasVex(mode)) === undefined;
  }

  private remember(key: number, physical: number, mode: number, block: Block): void {
    if (block.secondPage < 0 && physical < this.ram.size) this.hot.watch(block.record, Math.floor(physical / PAGE), mode & CODE_MODE);
    this.blocks.set(key, block);
    this.enter(Math.floor(physical / PAGE), block);
    if (block.secondPage >= 0) this.enter(block.secondPage, block);
  }

  /** The one instruction at a physical address, for once. */
  single(physical: number, mode: number, secondPage: () => number): Block {
    if (this.next + BLOCK_BYTES > this.area + this.areaBytes) this.reset();
    const block = this.translate(physical, mode, secondPage, 1);
    this.handlers.compile();
    return block;
  }

  /** The watched block at a record has been entered often: a region may take its place. */
  heat(record: number): void {
    const { page, mode } = this.hot.key(record);
    const codeSize = codeSizeOf(mode), vex = hasVex(mode);
    const from = this.ram.base + page * PAGE;
    const made = this.hot.heat(record, {
      fetch: (offset) => {
        const insn = this.decoder.decode(this.ram.mem.u8, from + offset, from + PAGE, codeSize, vex);
        const form = insn && formOf(insn.row);
        return insn && form && isAvailable(form, mode) ? { insn, shape: shapeOf(insn, form, mode, offset + insn.length, true) } : undefined;
      },
      block: (offset) => {
        const b = this.blocks.get((page * PAGE + offset) * 2048 + mode);
        return b?.valid && b.secondPage < 0 ? b.record : 0;
      },
    }, codeSize === 8, this.handlers);
    if (!made) return;
    for (const [start, end] of made.ranges) this.enter(page, { record: 0, records: 0, start, end, secondPage: -1, valid: true, region: made.region });
  }

  private reset(): void {
    for (const blocks of this.pages.values()) this.hot.drop(undefined, blocks, this.handlers);
    this.onReset();
    this.blocks.clear();
    this.pages.clear();
    this.codePages.fill(0);
    this.covered.fill(0);
    this.insns = [];
    this.next = this.area;
    this.epoch++;
  }

  private enter(page: number, block: Block): void {
    if (page >= this.codePages.length) return;
    this.covered[page] = this.covered[page]! | (page === block.secondPage ? chunks(0, block.end - PAGE) : chunks(block.start, Math.min(block.end, PAGE)));
    const list = this.pages.get(page);
    if (list) { list.push(block); return; }
    this.pages.set(page, [block]);
    this.codePages[page] = 1;
    this.onTranslated(page);
  }

  /** Whether the block that starts with this record reaches into a second page: nothing may be linked to it. */
  crosses(record: number): boolean {
    return this.ram.mem.u16[(record + REC_END) >>> 1]! > PAGE;
  }

  /** The bytes at a physical address were written. */
  written(physical: number, size: number): void {
    for (let page = Math.floor(physical / PAGE), last = Math.floor((physical + size - 1) / PAGE); page <= last; page++) {
      if (this.codePages[page] === 1) this.pageWritten(page, Math.max(physical - page * PAGE, 0), Math.min(physical + size - page * PAGE, PAGE));
    }
  }

  /** A page's contents are of no use to anybody any more, and nor is what was learnt about it. */
  forget(physical: number): void {
    const page = Math.floor(physical / PAGE);
    if (this.codePages[page] === 1) this.pageWritten(page, 0, PAGE);
    this.hot.forget(page);
  }

  /** Whether some block lies on these bytes of one page: a write to them must go through written(). */
  covers(physical: number, size: number): boolean {
    const page = Math.floor(physical / PAGE);
    return this.hit(page, physical - page * PAGE, physical - page * PAGE + size);
  }
  private hit(page: number, from: number, to: number): boolean {
    if ((this.covered[page]! & chunks(from, to)) === 0) return false;
    return this.pages.get(page)!.some((b) => b.valid && (b.secondPage === page ? from < b.end - PAGE : b.start < to && b.end > from));
  }

  private pageWritten(page: number, from: number, to: number): void {
    if (!this.hit(page, from, to)) return;
    this.invalidated++;
    const blocks = this.pages.get(page)!;
    for (const b of blocks) {
      b.valid = false;
      for (let i = 0; i < b.records; i++) this.ram.mem.u32[(b.record + i * RECORD_SIZE + REC_HANDLER) >>> 2] = HANDLER_STALE;
    }
    this.pages.delete(page);
    this.codePages[page] = this.covered[page] = 0;
    this.hot.drop(page, blocks, this.handlers);
  }

  // ---------------------------------------------------------------- translation

  private translate(physical: number, mode: number, secondPage: () => number, most: number): Block {
    const { ram } = this;
    const codeSize = codeSizeOf(mode), vex = hasVex(mode);
    const page = Math.floor(physical / PAGE);
    const start = physical % PAGE;
    this.next += RECORD_SIZE;
    const record = this.next;
    const pageAt = ram.base + page * PAGE;
    const inRam = physical < ram.size;
    let offset = start;
    let second = -1;
    let records = 0;
    for (;;) {
      let insn = inRam ? this.decoder.decode(ram.mem.u8, pageAt + offset, pageAt + PAGE, codeSize, vex) : this.decoder.decode(ALL_ONES, 0, 16, codeSize);
      if (!insn) {
        if (records > 0) break;
        second = secondPage();
        insn = this.decodeCrossing(pageAt + offset, PAGE - offset, second, codeSize, vex);
      }
      this.write(insn, offset, mode);
      records++;
      offset += insn.length;
      const form = formOf(insn.row);
      if (offset < PAGE && form.comesBack) this.ahead.push(offset);
      if (form.endsBlock || offset >= PAGE || records === most) break;
    }
    const near = offset < PAGE && second < 0 && (mode & MODE_FLAT) !== 0;
    this.fill(near ? HANDLER_END_NEAR : HANDLER_END, offset, offset);
    ram.mem.u64[(this.next - RECORD_SIZE + REC_IMM) >>> 3] = 0n;
    ram.mem.u32[(this.next - RECORD_SIZE + REC_LINK) >>> 2] = 0;
    this.translated.blocks++;
    this.translated.instructions += records;
    return { record, records: records + 1, start, end: offset, secondPage: second, valid: true, region: 0 };
  }

  /** The instruction at a physical address, to be looked at only. */
  decode(physical: number, mode: number, secondPage: () => number): Insn {
    const { ram } = this;
    const codeSize = codeSizeOf(mode), vex = hasVex(mode);
    if (physical >= ram.size) return this.decoder.decode(ALL_ONES, 0, 16, codeSize)!;
    const at = ram.base + physical, here = PAGE - physical % PAGE;
    return this.decoder.decode(ram.mem.u8, at, at + here, codeSize, vex) ?? this.decodeCrossing(at, here, secondPage(), codeSize, vex);
  }

  private decodeCrossing(at: number, here: number, second: number, codeSize: 2 | 4 | 8, vex: boolean): Insn {
    const { u8 } = this.ram.mem;
    const bytes = this.crossing;
    bytes.set(u8.subarray(at, at + here), 0);
    if (second * PAGE < this.ram.size) bytes.set(u8.subarray(this.ram.base + second * PAGE, this.ram.base + second * PAGE + 16), here);
    else bytes.fill(0xff, here);
    return this.decoder.decode(bytes, 0, 32, codeSize, vex)!;
  }

  private fill(handler: number, start: number, end: number): number {
    const { mem } = this.ram;
    const at = this.next;
    this.next += RECORD_SIZE;
    mem.u32[(at + REC_HANDLER) >>> 2] = handler;
    mem.u16[(at + REC_START) >>> 1] = start;
    mem.u16[(at + REC_END) >>> 1] = end;
    return at;
  }

  /** One record. */
  private write(insn: Insn, start: number, mode: number): void {
    const { mem } = this.ram;
    const end = start + insn.length;
    const { row: r } = insn;
    const f = formOf(r);
    const off = !isAvailable(f, mode);
    if (f.exec || off) {
      const at = this.fill(off ? HANDLER_EXEC : f.straight ? HANDLER_STRAIGHT : transferHandler(insn), start, end);
      mem.u8[at + REC_AUX] = Number(insn.imm & 0xffn);
      mem.u64[(at + REC_IMM) >>> 3] = BigInt(this.insns.push(off ? { ...insn, row: { ...r, meaning: unavailable.meaning } } : insn) - 1);
      return;
    }
    const shape = shapeOf(insn, f, mode, end);
    if (shape.near) this.ahead.push(end + Number(insn.imm));
    const at = this.fill(this.handlers.index(shape), start, end);
    // Forms that may be left to exec have no immediate.
    mem.u64[(at + REC_IMM) >>> 3] = 'exec' in r.meaning ? BigInt(this.insns.push(insn) - 1) : BigInt.asUintN(64, insn.imm);
    const rm = shape.memory ? insn.base === RIP_BASE ? ENGINE.rip_page : insn.base < 0 ? ENGINE.zero : gpr(insn.base)
      : f.xmmRm ? xmm(insn.rm) : f.byteRm ? byteRegister(insn.rm, insn.rex) : gpr(insn.rm);
    let index = insn.index < 0 ? ENGINE.zero : gpr(insn.index);
    let disp = insn.disp;
    let scale = insn.scale;
    if (insn.base === RIP_BASE) {
      disp += end;
      if (disp > 0x7fff_ffff) {
        disp -= 0x1_0000;
        index = ENGINE.sixty_four_k;
        scale = 0;
      }
    }
    mem.u32[(at + REC_DISP) >>> 2] = disp;
    if (shape.near) mem.u32[(at + REC_LINK) >>> 2] = 0;
    mem.u16[(at + REC_REG) >>> 1] = f.xmmReg ? xmm(insn.reg) : f.byteReg ? byteRegister(insn.reg, insn.rex) : gpr(insn.reg);
    mem.u16[(at + REC_RM) >>> 1] = rm;
    mem.u16[(at + REC_INDEX) >>> 1] = index;
    mem.u16[(at + REC_SEG) >>> 1] = STATE.seg + insn.seg * SEGMENT_SIZE;
    mem.u8[at + REC_SCALE] = scale;
    mem.u8[at + REC_AUX] = insn.imm2;
    mem.u16[(at + REC_VVVV) >>> 1] = f.xmmVvvv ? xmm(insn.vvvv) : gpr(insn.vvvv);
  }
}

/** The bits of the 128-byte pieces that bytes from..to-1 of a page touch. */
const chunks = (from: number, to: number): number => {
  const first = from >>> 7, last = to - 1 >>> 7;
  return (last === 31 ? -1 : (2 << last) - 1) & ~((1 << first) - 1);
};
const codeSizeOf = (mode: number): 2 | 4 | 8 => (mode & MODE_SIZE) === MODE_64 ? 8 : (mode & MODE_SIZE) === MODE_32 ? 4 : 2;
/** VEX prefixes are LES and LDS in real and virtual-8086 mode. */
const hasVex = (mode: number): boolean => (mode & (MODE_PROTECTED | MODE_VM86)) === MODE_PROTECTED;
/** The handler of an exec row: that of transfers, for those that may be remembered. */
const transferHandler = ({ row: { mnemonic }, opSize }: Insn): number =>
  mnemonic === 'INT' ? HANDLER_INTERRUPT : mnemonic === 'IRET' && opSize !== 2 ? opSize === 8 ? HANDLER_RETURN64 : HANDLER_RETURN32 : HANDLER_EXEC;
const noSecondPage = (): number => { throw new Error('a block translated ahead never crosses its page'); };
/** Whether the registers of a row are switched on. */
const isAvailable = (f: Form, mode: number): boolean => !(f.sse && !(mode & MODE_SSE) || f.fpu && !(mode & MODE_FPU));
const ALL_ONES = new Uint8Array(16).fill(0xff);

/** What translation asks of a row again and again. */
interface Form {
  readonly exec: boolean;
  readonly straight: boolean;
  readonly sse: boolean;
  readonly fpu: boolean;
  /** The reg, r/m and vvvv fields name byte registers or XMM registers, not general ones. */
  readonly byteReg: boolean;
  readonly byteRm: boolean;
  readonly xmmReg: boolean;
  readonly xmmRm: boolean;
  readonly xmmVvvv: boolean;
  /** String instructions and moffs: memory without ModRM. */
  readonly implicitMemory: boolean;
  readonly relative: boolean;
  /** Control never falls through it. */
  readonly endsBlock: boolean;
  /** It ends its block, and yet what follows it runs sooner or later. */
  readonly comesBack: boolean;
}
const forms = new Map<Row, Form>();
function formOf(r: Row): Form {
  let f = forms.get(r);
  if (!f) {
    const operands = r.operands.map(parseOperand);
    const has = (kinds: string, type = '') => operands.some((o) => o.kind.length === 1 && kinds.includes(o.kind) && (type === '' || o.type === type));
    const isExec = !('emit' in r.meaning), straight = r.attributes.has('straight');
    forms.set(r, f = {
      exec: isExec, straight, sse: r.attributes.has('sse'), fpu: r.attributes.has('fpu'),
      byteReg: has('G', 'b'), byteRm: has('EZR', 'b'), xmmReg: has('V'), xmmRm: has('WU'), xmmVvvv: has('H'),
      implicitMemory: has('XYO'), relative: has('J'),
      endsBlock: isExec ? !straight : /^(JMP|CALL|RET)$/.test(r.mnemonic),
      comesBack: r.mnemonic === 'CALL' || isExec && !/^(UD.|\(.*|IRET|RETF|JMPF|SYSRET|SYSEXIT)$/.test(r.mnemonic),
    });
  }
  return f;
}

/** `hot`: for a region, which has looked at the code segment's limit and at where RIP wraps. */
function shapeOf(insn: Insn, f: Form, mode: number, end: number, hot = false): Shape {
  const { row: r, opSize, addrSize, codeSize } = insn;
  const flat = (mode & MODE_FLAT) !== 0;
  const memory = insn.mod !== 3 || f.implicitMemory;
  const segment: SegmentUse = codeSize === 8 ? (insn.seg >= FS ? 'base' : 'none') : flat && insn.seg < FS && insn.seg !== CS ? 'none' : 'checked';
  const target = f.relative ? end + Number(insn.imm) : 0;
  return {
    row: r, opSize, codeSize, flat, memory, addrSize, segment, rep: insn.rep,
    stackSize: codeSize === 8 ? 8 : mode & MODE_STACK32 ? 4 : 2,
    indexed: memory && (insn.index >= 0 || insn.base === RIP_BASE && insn.disp + end > 0x7fff_ffff),
    near: f.relative && (opSize >= 4 ? flat || hot : hot && codeSize === 2) && end <= PAGE && target >= 0 && target < PAGE,
  };
}
