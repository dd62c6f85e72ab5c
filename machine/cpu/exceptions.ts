/**
 * Exceptions as values: what an instruction throws, and the rules by which two of them become a double fault and
 * three a shutdown. SDM Vol. 3 ch. 6. The walk through the IDT itself is in interrupts.ts.
 *
 * A fault is thrown before the instruction has changed any state; RIP still points at it. One object serves all
 * throws, for only one processor runs at a time and a fault is taken up before the next can be raised.
 */
import { type CpuState, STATE } from './state.ts';

export const DE_VECTOR = 0, DB_VECTOR = 1, NMI_VECTOR = 2, BP_VECTOR = 3, OF_VECTOR = 4, BR_VECTOR = 5, UD_VECTOR = 6, NM_VECTOR = 7, DF_VECTOR = 8;
export const TS_VECTOR = 10, NP_VECTOR = 11, SS_VECTOR = 12, GP_VECTOR = 13, PF_VECTOR = 14, MF_VECTOR = 16, AC_VECTOR = 17, MC_VECTOR = 18, XM_VECTOR = 19;

/** Bits of a page fault's error code; the walker's `access` argument uses the same ones. */
export const PFERR_PRESENT = 1, PFERR_WRITE = 2, PFERR_USER = 4, PFERR_RSVD = 8, PFERR_FETCH = 16, PFERR_PK = 32;

/** Error code field of exceptions that push none. */
export const NO_ERROR = -1;

export class Fault {
  vector = 0;
  /** NO_ERROR when the exception pushes none. */
  error = NO_ERROR;
  /** Of a page fault: the linear address, canonical, as a signed number. */
  address = 0;
  /** Of a debug exception: the bits to set in DR6. */
  dr6 = 0;
  /** INTR_TYPE_*: hardware exception, or what a software interrupt is; and its length: the handler returns behind it. */
  type: 3 | 4 | 5 | 6 = 3;
  length = 0;

  copy(from: Fault): void {
    this.type = from.type;
    this.length = from.length;
    this.vector = from.vector;
    this.error = from.error;
    this.address = from.address;
    this.dr6 = from.dr6;
  }
}

/** The object that every raise throws; it holds its values until the next raise. */
export const thrownFault = new Fault();

/** Of the interruption types, those that stand for exceptions, which the double-fault rules look at. */
export const isException = (type: number): boolean => type === 3 || type === 5 || type === 6;

/** Vectors that push an error code: #DF #TS #NP #SS #GP #PF #AC. */
export const pushesError = (vector: number): boolean => (0x27d00 >>> vector & 1) !== 0 && vector < 32;

function set(fault: Fault, vector: number, error: number, address: number, dr6: number, type: 3 | 4 | 5 | 6, length: number): Fault {
  fault.vector = vector;
  fault.error = error;
  fault.address = address;
  fault.dr6 = dr6;
  fault.type = type;
  fault.length = length;
  return fault;
}

/** Throws the exception. The error code is taken only where the vector has one. */
export function raise(_cpu: CpuState, vector: number, error = 0): never {
  throw set(thrownFault, vector, pushesError(vector) ? error : NO_ERROR, 0, 0, 3, 0);
}

export function raisePageFault(_cpu: CpuState, linear: number, error: number): never {
  throw set(thrownFault, PF_VECTOR, error, linear, 0, 3, 0);
}

/** A debug exception that DR6 explains. */
export function raiseDebug(_cpu: CpuState, dr6: number): never {
  throw set(thrownFault, DB_VECTOR, NO_ERROR, 0, dr6, 3, 0);
}

/** What an unmasked SIMD floating-point exception is: #XM, if the system has said that it handles it (CR4.OSXMMEXCPT). */
export const simdVector = (cpu: CpuState): number => (cpu.u32[STATE.cr4 >>> 2]! & 0x400 ? XM_VECTOR : UD_VECTOR);

/** A software interrupt that someone above the instruction is to take. */
export function raiseTrap(_cpu: CpuState, vector: number, type: 4 | 5 | 6, length: number): never {
  throw set(thrownFault, vector, NO_ERROR, 0, 0, type, length);
}
/** The same as a value, not thrown; valid until the next raise. */
export const softwareFault = (vector: number, type: 4 | 5 | 6, length: number): Fault => set(thrownFault, vector, NO_ERROR, 0, 0, type, length);

const CONTRIBUTORY = (1 << DE_VECTOR) | (1 << TS_VECTOR) | (1 << NP_VECTOR) | (1 << SS_VECTOR) | (1 << GP_VECTOR);
const isContributory = (vector: number) => vector < 32 && (CONTRIBUTORY >>> vector & 1) !== 0;

/**
 * What a fault during the delivery of an exception becomes (SDM table 6-5): the second itself, #DF, or, when it
 * was #DF that could not be delivered, a shutdown (-1). The first is -1 when it was an interrupt or a software INT.
 */
export function combine(first: number, second: number): number {
  if (first === DF_VECTOR) return isContributory(second) || second === PF_VECTOR ? -1 : second;
  if (first === PF_VECTOR && (second === PF_VECTOR || isContributory(second))) return DF_VECTOR;
  if (isContributory(first) && isContributory(second)) return DF_VECTOR;
  return second;
}
