/**
 * A bare processor with one of the random programs of programs.ts in it: in every mode, with segments that lie anywhere, handlers that
 * change what they interrupt, and page tables that lack a page now and then.
 */
import { BareMachine } from '../../bench/bare-machine.ts';
import { CS, DS, ES, FS, GS, RSP, SS, STATE, TR, updateMode } from '../../machine/cpu/state.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { generator } from '../support/random.ts';
import { le16, le32, program } from './programs.ts';

/** Physical memory: interrupt table of real mode, descriptors, handlers, code, data, stack, the area of system management. */
const GDT = 0x600, TSS = 0x900, IDT = 0x4000, HANDLERS = 0x5000, INNER_STACK = 0x7000, CODE = 0x1_0000, DATA = 0x1_8000, EXTRA = 0x1_c000, STACK = 0x2_0000;
const SMM_HANDLER = 0x3_8000, TABLES = 0x10_0000, PAGED = 0x20_0000;
const COMPARED = [[0, 0x4_0000], [TABLES, 0x4000], [PAGED, 0x4000]] as const;
const TOP = 0x1000, COUNTER = 0x1800, VM = 1 << 17;
const FLAT_STACK = 0x9000, PAGED_DATA = 0x40_0000;

type Kind = 'real' | 'protected' | 'vm86' | 'long';
interface Mode { readonly kind: Kind; readonly width: 16 | 32 | 64; readonly flat: boolean; readonly ring: 0 | 3; readonly gate: 4 | 8 | 16 }
const modes: Readonly<Record<string, Mode>> = {
  'real mode':                            { kind: 'real',      width: 16, flat: false, ring: 0, gate: 4 },
  '16-bit protected mode':                { kind: 'protected', width: 16, flat: false, ring: 0, gate: 8 },
  'virtual-8086 mode':                    { kind: 'vm86',      width: 16, flat: false, ring: 3, gate: 8 },
  'protected mode':                       { kind: 'protected', width: 32, flat: true,  ring: 0, gate: 8 },
  'protected mode with segments':         { kind: 'protected', width: 32, flat: false, ring: 0, gate: 8 },
  'protected mode at ring 3 with paging': { kind: 'protected', width: 32, flat: true,  ring: 3, gate: 8 },
  'compatibility mode':                   { kind: 'long',      width: 32, flat: true,  ring: 0, gate: 16 },
  'long mode':                            { kind: 'long',      width: 64, flat: true,  ring: 0, gate: 16 },
  'long mode at ring 3':                  { kind: 'long',      width: 64, flat: true,  ring: 3, gate: 16 },
};
export const modeNames = Object.keys(modes);

const FLAT = 8, FLAT_DATA = 0x10, LONG = 0x18, CODE16 = 0x20, USER = 0x33, USER_DATA = 0x3b, USER_LONG = 0x43, TASK = 0x48;
/** The program's own, at whatever base. */
const OWN_CODE = 0x58, OWN_DATA = 0x60, OWN_EXTRA = 0x68, OWN_STACK = 0x70, OWN_ALIAS = 0x78;

interface Segment { readonly selector: number; readonly base: number; readonly limit: number; readonly access: number }
const descriptor = ({ base, limit, access }: Segment): number[] => {
  const pages = limit > 0xf_ffff;
  const l = pages ? limit >>> 12 : limit;
  return [...le16(l), ...le16(base), base >>> 16 & 0xff, access & 0xff, access >>> 8 & 0x70 | (pages ? 0x80 : 0) | l >>> 16, base >>> 24];
};

/** One machine; `threshold` as of HotTier. Two of the same seed and mode differ in nothing else. */
export function programMachine(name: string, seed: number, threshold: number): BareMachine {
  const mode = modes[name]!;
  const { width, flat, ring, gate, kind } = mode;
  const random = generator(seed ^ 0x5555);
  const m = new BareMachine(8 << 20, { pageWalk: 3 + seed % 40, nestedPageWalk: 0 });
  m.engine.code.hot.threshold = threshold;
  const { cpu } = m;
  const { u8, u32, u64 } = m.ram.mem;
  const put = (at: number, bytes: ArrayLike<number>): void => { u8.set(bytes, m.ram.base + at); };

  // Where the program is: its code at an offset that real mode can express, over a page's end in most cases.
  const linear = CODE + random(4) * 0x400, shift = flat ? 0 : random(0x40) * 16;
  const base = flat ? 0 : CODE - shift;
  const origin = linear - base;
  const own = (selector: number, at: number, limit: number, access: number): Segment => {
    const big = access === 0x9b || access === 0x93 ? width === 32 ? 0x4000 : 0 : 0;
    return kind === 'real' || kind === 'vm86' ? { selector: at >>> 4, base: at, limit: 0xffff, access: kind === 'vm86' ? 0xf3 : access } : { selector, base: at, limit, access: access | big };
  };
  const plain = (selector: number, access: number): Segment => ({ selector, base: 0, limit: 0xffff_ffff, access });
  const user = ring === 3 ? 0x60 : 0;
  const data = flat ? plain(ring === 3 ? USER_DATA : FLAT_DATA, 0x4093 | user) : own(OWN_DATA, DATA + random(3) * 16, [0x7fff, 0x20ff, 0x1f00][seed % 3]!, 0x93);
  const stack = flat ? data : own(OWN_STACK, STACK, 0xffff, 0x93);
  const extra = flat ? data : own(OWN_EXTRA, EXTRA + random(16) * 16, [0x3fff, 0x17ff][seed % 2]!, 0x93);
  const alias = flat ? data : own(OWN_ALIAS, base, 0x7fff, 0x93);
  const code = !flat ? own(OWN_CODE, base, [0xffff, 0x3fff][seed % 2]!, 0x9b)
    : width === 64 ? plain(ring === 3 ? USER_LONG : LONG, 0x209b | user) : plain(ring === 3 ? USER : FLAT, 0x409b | user);
  const segments = [[CS, code], [DS, data], [ES, flat ? data : extra], [SS, stack], [FS, extra], [GS, alias]] as const;

  const top = flat ? FLAT_STACK : TOP, counter = ring === 3 ? FLAT_STACK + 0x800 : flat ? FLAT_STACK + 0x800 : COUNTER;
  const { code: bytes, numbers } = program(seed, { width, origin, flat, ring0: ring === 0, reloads: kind !== 'vm86', real: kind === 'real' || kind === 'vm86' });
  put(linear, bytes);
  const spot = (): number => linear + (numbers[random(Math.max(numbers.length, 1))] ?? 0);

  const handlerWidth = gate === 16 ? 64 : kind === 'real' || (kind === 'protected' && width === 16) ? 16 : 32;
  const flags = (kind === 'vm86' ? VM : 0) | (ring === 3 ? 0x3000 : 0);
  /** Begins the program again with other registers. */
  const restart = (): number[] => {
    const change = [0x05, ...(handlerWidth === 16 ? le16(12345) : le32(12345)), 0xba, ...(handlerWidth === 16 ? le16(1) : le32(1))];
    const push = (v: number): number[] => (handlerWidth === 16 ? [0x68, ...le16(v)] : [0x68, ...le32(v)]);
    const outer = kind === 'vm86' ? [alias.selector, extra.selector, data.selector, extra.selector] : [];
    const frame = [...outer, ...(ring === 3 || gate === 16 ? [stack.selector, top] : []), 2 | flags | random(2) << 9 | (handlerWidth === 16 ? 0 : random(2) << 16), code.selector, origin];
    return [...change, 0xbc, ...(handlerWidth === 16 ? le16(top) : le32(ring === 3 ? INNER_STACK : top)), ...frame.flatMap(push), ...(gate === 16 ? [0x48] : []), 0xcf];
  };
  /** Counts, changes the flags of what it interrupted (not ZF, which loops live by) and at times a register or its code; returns. */
  const answer = (): number[] => {
    const number = handlerWidth === 16 ? le16(random(0x1_0000)) : le32(random(0x7fff_ffff));
    const load = { 16: [0x36, 0xa1, ...le16(counter)], 32: [0x36, 0xa1, ...le32(counter)], 64: [0x8b, 0x04, 0x25, ...le32(counter)] }[handlerWidth];
    const store = { 16: [0x36, 0xa3, ...le16(counter)], 32: [0x36, 0xa3, ...le32(counter)], 64: [0x89, 0x04, 0x25, ...le32(counter)] }[handlerWidth];
    const flip = { 16: [0x55, 0x89, 0xe5, 0x80, 0x76, 8, 0x95, 0x5d], 32: [0x80, 0x74, 0x24, 12, 0x95], 64: [0x80, 0x74, 0x24, 24, 0x95] }[handlerWidth];
    const at = spot();
    const patch = kind === 'vm86' ? [0x36, 0xfe, 5, ...le32(at)] : !flat ? [0x65, 0xfe, ...(handlerWidth === 16 ? [6, ...le16(at - base)] : [5, ...le32(at - base)])]
      : handlerWidth === 64 ? [0xfe, 4, 0x25, ...le32(at)] : [0xfe, 5, ...le32(at)];
    return [0x50, ...load, 0x05, ...number, ...store, ...(random(2) ? flip : []), 0x58, ...(random(2) ? [0x83, 0xc2, random(256)] : []), ...(random(4) === 0 ? patch : []),
      ...(random(3) === 0 ? [0xfb] : []), ...(handlerWidth === 64 ? [0x48] : []), 0xcf];
  };
  const gateSelector = gate === 16 ? LONG : handlerWidth === 16 ? CODE16 : FLAT;
  for (let vector = 0; vector < 64; vector++) {
    const at = HANDLERS + vector * 96;
    put(at, vector < 32 && vector !== 2 ? restart() : answer());
    if (gate === 4) put(vector * 4, le32(at));
    else put(IDT + vector * gate, [...le16(at), ...le16(gateSelector), 0, handlerWidth === 16 ? 0xe6 : 0xee, 0, 0]);
  }
  put(SMM_HANDLER, [0x66, 0x2e, 0xff, 0x06, ...le16(0x9000), 0x66, 0x2e, 0xff, 0x06, ...le16(0xffe8), 0x0f, 0xaa]);      // counts; RDX in the save area too; RSM
  const table: readonly Segment[] = [
    plain(FLAT, 0x409b), plain(FLAT_DATA, 0x4093), plain(LONG, 0x209b), { ...plain(CODE16, 0x9b), limit: 0xffff }, { ...plain(0x28, 0x93), limit: 0xffff },
    plain(USER, 0x40fb), plain(USER_DATA, 0x40f3), plain(USER_LONG, 0x20fb), { selector: TASK, base: TSS, limit: 0x6c, access: 0x8b },
    ...(kind === 'protected' && !flat ? segments.map(([, s]) => s) : []),
  ];
  for (const s of table) put(GDT + (s.selector & 0xfff8), descriptor(s));
  put(TSS + 4, [...le32(INNER_STACK), ...le32(gate === 16 ? 0 : FLAT_DATA)]);

  // Data, and page tables.
  for (const at of [DATA, EXTRA, PAGED]) for (let i = 0; i < 4096; i++) u32[((m.ram.base + at) >>> 2) + i] = random(0x1_0000_0000);
  Object.assign(cpu.state, { gdtr_base: BigInt(GDT), gdtr_limit: 0xff, idtr_base: BigInt(gate === 4 ? 0 : IDT), idtr_limit: 64 * gate - 1, cr0: kind === 'real' ? 0x10n : 0x11n });
  if (kind === 'long') {
    m.longMode(linear, TABLES);
    const last = TABLES + 0x3000;
    u64[(m.ram.base + TABLES + 0x2000 + 2 * 8) >>> 3] = BigInt(last | 7);
    // Eight pages of data, of which some seeds lack one and some cannot write another.
    for (let i = 0; i < 8; i++) u64[((m.ram.base + last) >>> 3) + i] = seed % 3 === 0 && i === 1 ? 0n : BigInt(PAGED + i * 4096 | (seed % 5 === 0 && i === 1 ? 5 : 7));
  } else if (flat && ring === 3) {
    for (let i = 0; i < 1024; i++) u32[((m.ram.base + TABLES) >>> 2) + i] = i << 22 | 0x87;
    const last = TABLES + 0x1000;
    u32[((m.ram.base + TABLES) >>> 2) + 1] = last | 7;
    for (let i = 0; i < 8; i++) u32[((m.ram.base + last) >>> 2) + i] = seed % 3 === 0 && i === 1 ? 0 : PAGED + i * 4096 | (seed % 5 === 0 && i === 1 ? 5 : 7);
    Object.assign(cpu.state, { cr0: 0x8001_0033n, cr3: BigInt(TABLES), cr4: 0x10n });
  }
  for (const [seg, s] of segments) cpu.setSegment(seg, s.selector, BigInt(s.base), s.limit, s.access | (s.limit > 0xf_ffff ? 0x8000 : 0));
  cpu.setSegment(TR, TASK, BigInt(TSS), 0x6c, 0x8b);
  for (let i = 0; i < 8; i++) cpu.gpr[i] = BigInt(random(0x1_0000_0000));
  cpu.gpr[RSP] = width === 16 && kind !== 'vm86' ? BigInt(0x7654_0000 | top) : BigInt(top);
  cpu.gpr[7] = BigInt(flat ? kind === 'long' || ring === 3 ? PAGED_DATA : PAGED : 0x100);
  cpu.rip = BigInt(origin);
  writeFlags(cpu, 0x202 | flags);
  updateMode(cpu);
  cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
  m.engine.code.written(0, m.ram.size);
  return m;
}

const MEMBERS = ['rflags', 'shadow', 'activity', 'nmi_blocked', 'pending', 'mode'] as const;
/** Registers, clocks and what is pending. */
export function registers(m: BareMachine): string {
  const { cpu } = m;
  const hex = (v: bigint) => v.toString(16);
  return JSON.stringify([hex(cpu.rip), Array.from(cpu.gpr, hex), readFlags(cpu).toString(16), hex(cpu.state.retired), m.clock, m.charged, hex(cpu.u64[STATE.cr2 >>> 3]!),
    MEMBERS.map((name) => cpu.u32[STATE[name] >>> 2]), [ES, CS, SS, DS, FS, GS].map((s) => [cpu.selector(s), hex(cpu.segBase(s)), cpu.segLimit(s), cpu.segAccess(s)]), cpu.smm.inside, Buffer.from(cpu.fpu.subarray(0, 160)).toString('hex')]);
}
/** The first physical address at which two machines' memories differ, or -1. */
export function firstDifference(a: BareMachine, b: BareMachine): number {
  for (const [at, size] of COMPARED) {
    const [x, y] = [a, b].map((m) => Buffer.from(m.ram.memory.buffer, m.ram.base + at, size)) as [Buffer, Buffer];
    if (x.compare(y) !== 0) return at + x.findIndex((v, i) => v !== y[i]);
  }
  return -1;
}
