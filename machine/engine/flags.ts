/**
 * RFLAGS between the form the engine keeps (engine-state.ts) and the one software sees. SDM Vol. 1, 3.4.3.
 */
import {
  type CpuState, STATE, X86_EFLAGS_AF, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_CF, X86_EFLAGS_FIXED, X86_EFLAGS_OF, X86_EFLAGS_PF, X86_EFLAGS_SF, X86_EFLAGS_ZF,
} from '../cpu/state.ts';
import { ENGINE } from './layout.ts';

const RES = ENGINE.flags_res >>> 2, CARRY = (ENGINE.flags_carry >>> 2) + 1, ADJUST = ENGINE.flags_adjust >>> 2;
const RFLAGS = STATE.rflags >>> 2;
/** Bits of flags_adjust that invert what flags_res says. */
export const INVERT_SF = X86_EFLAGS_SF, INVERT_PF = X86_EFLAGS_PF;

const oddParity = (byte: number): number => (0x6996 >>> ((byte ^ byte >>> 4) & 0xf)) & 1;

export function readFlags(cpu: CpuState): number {
  const w = cpu.u32;
  const low = w[RES]!, high = w[RES + 1]!, carry = w[CARRY]!, adjust = w[ADJUST]!;
  let flags = (w[RFLAGS]! & ~X86_EFLAGS_ARITHMETIC) | X86_EFLAGS_FIXED | (adjust & X86_EFLAGS_AF);
  if ((low | high) === 0) flags |= X86_EFLAGS_ZF;
  flags |= ((high >>> 31) * X86_EFLAGS_SF) ^ (adjust & INVERT_SF);
  flags |= ((oddParity(low & 0xff) ^ 1) * X86_EFLAGS_PF) ^ (adjust & INVERT_PF);
  flags |= carry >>> 31;
  if (((carry ^ carry << 1) & 0x8000_0000) !== 0) flags |= X86_EFLAGS_OF;
  return flags;
}

/** Stores all of RFLAGS as given. */
export function writeFlags(cpu: CpuState, flags: number): void {
  const w = cpu.u32;
  w[RFLAGS] = (flags & ~X86_EFLAGS_ARITHMETIC) | X86_EFLAGS_FIXED;
  // The result that says ZF as wanted is 0 or 1; it has SF clear and PF as ZF.
  const zero = (flags & X86_EFLAGS_ZF) !== 0;
  w[RES] = zero ? 0 : 1;
  w[RES + 1] = 0;
  const cf = flags & X86_EFLAGS_CF;
  const of = (flags & X86_EFLAGS_OF) !== 0 ? 1 : 0;
  w[CARRY - 1] = 0;
  w[CARRY] = cf << 31 | (cf ^ of) << 30;
  w[ADJUST] = (flags & (X86_EFLAGS_AF | X86_EFLAGS_SF)) | ((flags & X86_EFLAGS_PF) ^ (zero ? X86_EFLAGS_PF : 0));
}
