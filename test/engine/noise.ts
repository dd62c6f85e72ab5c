/**
 * A bare processor fed with random machine code in each of its modes. Exceptions lead back into the code, and so do the interrupts,
 * NMIs and SMIs that come at random counts; so one program goes on for as long as it is let, and nothing outside tells it where it
 * may reach.
 */
import { createHash } from 'node:crypto';
import { BareMachine } from '../../bench/bare-machine.ts';
import { ACTIVITY_ACTIVE, ACTIVITY_HLT, CS, DS, ES, FS, GS, SS, STATE, TR, updateMode } from '../../machine/cpu/state.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { Dice, le, reach } from '../support/hostile-code.ts';
import { generator } from '../support/random.ts';

const MEMORY = 1 << 20, CODE = 0x3000, CODE_SIZE = 0x300, IDT = 0x1000, GDT = 0x600, TSS = 0x700, HANDLERS = 0x8000, STACK = 0x7000, TABLES = 0x4_0000, SMM_HANDLER = 0x3_8000;
const VM = 1 << 17;

interface Mode { readonly width: 16 | 32 | 64; readonly enter: (m: BareMachine) => void; readonly gate: 4 | 8 | 16; readonly selector: number; readonly flags: number; readonly back?: { readonly code: number; readonly data: number } }

/** Code and data of each width at ring 0, the same at ring 3, a TSS. */
const DESCRIPTORS = [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00af9b000000ffffn, 0x00009b000000ffffn, 0x000093000000ffffn,
  0x00cffb000000ffffn, 0x00cff3000000ffffn, 0x00affb000000ffffn, 0x00008b000700006cn | 0n, 0n];
const FLAT = 8, DATA = 0x10, LONG = 0x18, CODE16 = 0x20, DATA16 = 0x28, USER = 0x33, USER_DATA = 0x3b, USER_LONG = 0x43, TASK = 0x48;

function segments(m: BareMachine, code: number, codeAttributes: number, data: number, dataAttributes: number, limit = 0xffff_ffff): void {
  for (const seg of [ES, SS, DS, FS, GS]) m.cpu.setSegment(seg, data, 0n, limit, dataAttributes);
  m.cpu.setSegment(CS, code, 0n, limit, codeAttributes);
  m.cpu.setSegment(TR, TASK, BigInt(TSS), 0x6c, 0x8b);
}
/** 32-bit page tables: all of memory to itself, for the user too. */
function pages32(m: BareMachine): void {
  const w = m.ram.mem.u32;
  for (let i = 0; i < 1024; i++) w[((m.ram.base + TABLES) >>> 2) + i] = (i & 3) << 22 | 0x87;
  m.cpu.state.cr3 = BigInt(TABLES);
  m.cpu.state.cr4 = 0x10n;
}
const long = (m: BareMachine): void => { m.longMode(CODE, TABLES); };

const modes: Readonly<Record<string, Mode>> = {
  'real mode': { width: 16, gate: 4, selector: 0, flags: 0, enter: (m) => { m.realMode(CODE); } },
  '16-bit protected mode': { width: 16, gate: 8, selector: CODE16, flags: 0, enter: (m) => { m.protectedMode(CODE); segments(m, CODE16, 0x9b, DATA16, 0x93, 0xffff); } },
  'protected mode': { width: 32, gate: 8, selector: FLAT, flags: 0, enter: (m) => { m.protectedMode(CODE); segments(m, FLAT, 0xc09b, DATA, 0xc093); } },
  'protected mode at ring 3 with paging': { width: 32, gate: 8, selector: FLAT, flags: 0x3000, back: { code: USER, data: USER_DATA }, enter: (m) => {
    m.protectedMode(CODE);
    pages32(m);
    m.cpu.state.cr0 = 0x8001_0033n;
    segments(m, USER, 0xc0fb, USER_DATA, 0xc0f3);
  } },
  'virtual-8086 mode': { width: 16, gate: 8, selector: FLAT, flags: VM | 0x3000, back: { code: 0, data: 0 }, enter: (m) => {
    m.protectedMode(CODE);
    segments(m, 0, 0xf3, 0, 0xf3, 0xffff);
  } },
  'compatibility mode': { width: 32, gate: 16, selector: LONG, flags: 0, enter: (m) => { long(m); segments(m, FLAT, 0xc09b, DATA, 0xc093); } },
  'long mode': { width: 64, gate: 16, selector: LONG, flags: 0, enter: (m) => { long(m); segments(m, LONG, 0xa09b, DATA, 0xc093); } },
  'long mode at ring 3': { width: 64, gate: 16, selector: LONG, flags: 0x3000, back: { code: USER_LONG, data: USER_DATA }, enter: (m) => { long(m); segments(m, USER_LONG, 0xa0fb, USER_DATA, 0xc0f3); } },
};
export const modeNames = Object.keys(modes);

/** Code at `at` that goes on at `target`: by a jump, or by IRET to the ring the program began in. */
function handlerCode(mode: Mode, at: number, target: number): number[] {
  const wide = mode.gate === 4 || mode.selector === CODE16 ? 2 : 4;
  const stack = [0xbc, ...le(STACK).slice(0, wide)];
  if (mode.back === undefined) return [...stack, 0xe9, ...le(target - at - stack.length - 1 - wide).slice(0, wide)];
  const push = (value: number): number[] => [0x68, ...le(value)];
  const segments = mode.flags & VM ? [0, 0, 0, 0] : [];
  return [...stack, ...[...segments, mode.back.data, STACK, 0x202 | mode.flags, mode.back.code, target].flatMap(push), ...(mode.gate === 16 ? [0x48] : []), 0xcf];
}

/** One program's memory: code, descriptors, gates and handlers that go on with the code. */
function lay(m: BareMachine, d: Dice, mode: Mode): void {
  const { base, mem: { u8 } } = m.ram;
  const put = (at: number, bytes: readonly number[]): void => { u8.set(bytes, base + at); };
  const put64 = (at: number, value: bigint): void => { put(at, [...le(Number(value & 0xffff_ffffn)), ...le(Number(value >> 32n))]); };
  u8.fill(0, base, base + MEMORY);
  const code: number[] = [];
  while (code.length < CODE_SIZE) code.push(...(d.below(3) === 0 ? d.bytes(1 + d.below(9)) : reach(d, mode.width)));
  put(CODE, code);
  DESCRIPTORS.forEach((value, i) => { put64(GDT + 8 * i, value); });
  put(TSS + 4, [...le(STACK), ...le(mode.gate === 16 ? 0 : DATA)]);
  for (let vector = 0; vector < 256; vector++) {
    const handler = HANDLERS + vector * 64;
    put(handler, handlerCode(mode, handler, CODE + d.below(CODE_SIZE)));
    const gate = BigInt(handler & 0xffff) | BigInt(mode.selector) << 16n | (mode.selector === CODE16 ? 0x86n : 0x8en) << 40n | BigInt(handler >>> 16) << 48n;
    if (mode.gate === 4) put(vector * 4, le(handler));
    else put64(IDT + vector * mode.gate, gate);
  }
  put(SMM_HANDLER, [0x66, 0x2e, 0xff, 0x06, 0, 0x90, 0x0f, 0xaa]);      // counts; RSM
  m.engine.code.written(0, MEMORY);
}

export interface Noise { instructions: number; programs: number; tripleFaults: number; halts: number; readonly digests: string[] }

/**
 * Runs programs of `mode` until `instructions` have retired, each for `slice` cycles on average. `digests`: of registers
 * wherever an event came, and of registers and memory at the end of each.
 * @param threshold entries after which a block is hot; Infinity leaves all to the cold tier
 */
export function noise(name: string, seed: number, instructions: number, threshold: number, slice = 5_000): Noise {
  const mode = modes[name]!;
  const m = new BareMachine(MEMORY);
  m.engine.code.hot.threshold = threshold;
  const d = new Dice(seed);
  /** Where runs are cut differs between tiers: nothing may depend on it. */
  const cuts = generator(seed + Math.min(threshold, 1e6));
  const { cpu } = m;
  const result: Noise = { instructions: 0, programs: 0, tripleFaults: 0, halts: 0, digests: [] };
  while (result.instructions < instructions) {
    result.programs++;
    lay(m, d, mode);
    for (let r = 0; r < 16; r++) cpu.gpr[r] = BigInt(d.address());
    cpu.gpr[4] = BigInt(STACK);
    Object.assign(cpu.state, { cr0: 0x11n, cr2: 0n, cr3: 0n, cr4: 0n, efer: 0n, gdtr_base: BigInt(GDT), gdtr_limit: 8 * DESCRIPTORS.length - 1, idtr_base: BigInt(mode.gate === 4 ? 0 : IDT), idtr_limit: 256 * mode.gate - 1 });
    if (mode.gate === 4) cpu.state.cr0 = 0x10n;
    writeFlags(cpu, 2 | mode.flags & VM);
    mode.enter(m);
    writeFlags(cpu, 2 | mode.flags | (d.below(8) === 0 ? 0x100 : 0));
    updateMode(cpu);
    cpu.engine.flushTlb(cpu, true);
    cpu.u32[STATE.activity >>> 2] = ACTIVITY_ACTIVE;
    cpu.state.nmi_blocked = cpu.state.shadow = 0;
    Object.assign(cpu.smm, { inside: false, base: SMM_HANDLER - 0x8000 });
    m.clearEvents();
    m.status = undefined;
    const before = cpu.state.retired;
    const stretches = 1 + d.below(4);
    let text = '';
    try {
      for (let i = 0; i < stretches; i++) {
        m.run(1 + d.below(Math.ceil(2 * slice / stretches)), 1 + cuts(5000));
        text += [...cpu.gpr, cpu.rip, BigInt(readFlags(cpu)), cpu.state.retired - before, cpu.pending, cpu.mode].join();
        const event = d.below(8);
        if (event < 4) m.interrupt(d.below(256));
        if (event === 4) m.nmi();
        if (event === 5) m.smi();
      }
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('triple fault')) throw error;
      result.tripleFaults++;
    }
    if (cpu.u32[STATE.activity >>> 2] === ACTIVITY_HLT) result.halts++;
    // A program that faults without end retires nothing, and has run all the same.
    result.instructions += Math.max(Number(cpu.state.retired - before), 100);
    const hash = createHash('sha1').update(m.ram.mem.u8.subarray(m.ram.base, m.ram.base + MEMORY));
    hash.update(text + [...cpu.gpr, cpu.rip, BigInt(readFlags(cpu)), cpu.state.retired - before, cpu.state.cr0, cpu.state.cr3, cpu.state.efer].join());
    result.digests.push(hash.digest('hex'));
  }
  return result;
}
