/**
 * The form of a row of the opcode tables, and the decoded instruction its meaning is given. One row an instruction
 * form, one line a row; decoder, engine, disassembly test and operand tests all read the same rows. SDM Vol. 2,
 * ch. 2 (formats), app. A (the notation of operands and of the 64-bit superscripts).
 *
 *   row('00',          'ADD',    'Eb Gb', 'lock w:oszapc',   emit(…))
 *   row('0F A2',       'CPUID',  '',      '',                exec(cpuid))
 *   row('0F 01 /2 m',  'LGDT',   'Ms',    'f64',             exec(lgdt))
 *   row('0F 01 F8',    'SWAPGS', '',      'o64',             exec(swapgs))
 *   row('F3 0F B8',    'POPCNT', 'Gv Ev', 'w:oszapc',        emit(…))
 *
 * opcode      [NP|66|F3|F2] [0F|0F38|0F3A] byte[+r] [/digit] [m|r] [byte]
 *             A leading prefix is part of the opcode; NP: none of 66, F3 and F2. +r: the low three bits name a register.
 *             /digit: the reg field of ModRM. m or r: memory or register forms only. A second byte: that very ModRM byte.
 *             VEX.[128|256|LIG|LZ].[NP|66|F3|F2].[0F|0F38|0F3A].[W0|W1|WIG] byte … for the VEX forms.
 * mnemonic    as Intel spells it
 * operands    app. A.2 notation: Eb Ev Gv Gy By Iz Ib Jz Jb Ob M Ma Mp Mq Rd Cd Dd Sw Ap Xb Yv Vx Wx AL eAX rAX DX 1 … ; '' none
 * attributes  separated by blanks:
 *   lock      LOCK is allowed when the destination is memory
 *   i64 o64   invalid in 64-bit mode, only in 64-bit mode
 *   rexb0     only without REX.B;  o16: the mandatory 66 is the operand-size prefix too
 *   d64 f64   64-bit operand size by default, always, in 64-bit mode
 *   rep       F3 and F2 are REP/REPE and REPNE
 *   r:… w:…   flags read and written, letters of o d i s z a p c; u:… left undefined by the SDM
 *   straight  an exec row after which the block goes on: it changes neither control flow nor mode nor paging
 *   sse fpu   raises #UD or #NM by CR0 and CR4 before anything else
 */
import type { VmExit } from './hooks.ts';
import type { CpuState } from './state.ts';
import type { HotTranslation } from '../engine/hot-translation.ts';
import type { Translation } from '../engine/translation.ts';

/**
 * A decoded instruction. Register numbers have their REX bits applied; an instruction is immutable and is shared by
 * every processor that executes it.
 */
export interface Insn {
  readonly row: Row;
  /** Bytes, prefixes included. */
  readonly length: number;
  /** Size in bytes of `v` operands, 2, 4 or 8; attributes d64 and f64 are applied. */
  readonly opSize: 2 | 4 | 8;
  readonly addrSize: 2 | 4 | 8;
  /** Default size of the code it was decoded for. */
  readonly codeSize: 2 | 4 | 8;
  readonly lock: boolean;
  /** 0xf3, 0xf2, or 0: the prefix as far as it is not part of the opcode. */
  readonly rep: number;
  /** The REX byte, or 0. */
  readonly rex: number;
  /** ModRM; mod is 3 for register operands, also for rows whose register is in the opcode. */
  readonly mod: number;
  readonly reg: number;
  readonly rm: number;
  /** Third register operand of VEX forms. */
  readonly vvvv: number;
  /** The memory operand: segment register number (override or default), base and index register or -1, base RIP_BASE for RIP-relative. */
  readonly seg: number;
  readonly base: number;
  readonly index: number;
  /** 0 to 3: the index is shifted left so far. */
  readonly scale: number;
  /** Signed; RIP-relative forms count from the end of the instruction. */
  readonly disp: number;
  /** Immediate, sign-extended where the form says so; relative branches: displacement; moffs: the offset; far pointers: the offset. */
  readonly imm: bigint;
  /** ENTER's nesting level, a far pointer's selector. */
  readonly imm2: number;
}

export const RIP_BASE = 16;

/**
 * Emits the instruction once: `t` gives operands, flags and memory, whatever the tier.
 * State may be written only after the last memory access that can fault.
 */
export type Emit = (t: Translation) => void;

/**
 * Executes the instruction. On entry cpu.rip is that of the next instruction; a control transfer stores a new one.
 * To fault, throw Fault before any state is changed: the engine puts cpu.rip back. VM_EXIT may be thrown too, or be
 * returned where exits are frequent, for a throw costs more than all the rest of an exit.
 */
export type Exec = (cpu: CpuState, insn: Insn) => undefined | VmExit | void;

/**
 * What a region of 16-bit code does instead of an exec row where real and virtual-8086 mode need no more; it leaves the region in front of the
 * instruction in all other cases. Not for the cold tier: such a row may change the mode that the rest of a block depends on.
 */
export type EmitReal = (t: HotTranslation) => void;

/** Both: emitted code for the ordinary case, which calls Translation.execute() or unless() in all others. */
export type Meaning = { readonly emit: Emit } | { readonly exec: Exec; readonly real?: EmitReal } | { readonly emit: Emit; readonly exec: Exec };
export const emit = (f: Emit): Meaning => ({ emit: f });
export const exec = (f: Exec, real?: EmitReal): Meaning => (real ? { exec: f, real } : { exec: f });
export const either = (ordinary: Emit, f: Exec): Meaning => ({ emit: ordinary, exec: f });

export interface Row {
  readonly opcode: string;
  readonly mnemonic: string;
  readonly operands: readonly string[];
  readonly attributes: ReadonlySet<string>;
  /** Flags read, written, undefined: letters of oszapcdi. */
  readonly reads: string;
  readonly writes: string;
  readonly undefined: string;
  readonly meaning: Meaning;
}

export function row(opcode: string, mnemonic: string, operands: string, attributes: string, meaning: Meaning): Row {
  const words = attributes.split(' ').filter((w) => w !== '');
  const flags = (key: string) => words.find((w) => w.startsWith(key))?.slice(key.length) ?? '';
  return {
    opcode, mnemonic, meaning,
    operands: operands.split(' ').filter((w) => w !== ''),
    attributes: new Set(words.filter((w) => !w.includes(':'))),
    reads: flags('r:'), writes: flags('w:'), undefined: flags('u:'),
  };
}
