/**
 * Saving and restoring x87 and SSE state: FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, LDMXCSR, STMXCSR. SDM Vol. 1 ch. 10.5, 13.
 * The register file holds exactly the 64-bit FXSAVE image, so most of this is a copy.
 */
import { AC_VECTOR, GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { explicit, probeWrite, readBlock, readLinear, writeBlock, writeLinear } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { operandAddress } from './operands.ts';
import { type CpuState, MODE_ALIGN, RAX, STATE, X86_CR4_OSXSAVE, fpu_state } from './state.ts';
import { x87 as x87Of } from './x87/stack.ts';

const MXCSR_MASK = 0xffff, MXCSR_RESET = 0x1f80, FCW_RESET = 0x37f;
const OFF = fpu_state.offset;
/** What FXSAVE fills; the last 96 bytes of the image are software's. */
const LEGACY_SIZE = 416;
const XMM_LEGACY = 8 * 16;

/** State after reset and FNINIT (which leaves SSE alone). */
function resetX87(fpu: Uint8Array): void {
  fpu.fill(0, 0, OFF.mxcsr);
  new DataView(fpu.buffer, fpu.byteOffset).setUint16(OFF.fcw, FCW_RESET, true);
}
export function resetFpu(fpu: Uint8Array): void {
  fpu.fill(0);
  resetX87(fpu);
  const view = new DataView(fpu.buffer, fpu.byteOffset);
  view.setUint32(OFF.mxcsr, MXCSR_RESET, true);
  view.setUint32(OFF.mxcsr_mask, MXCSR_MASK, true);
}

/** The segment's limit is looked at for the first byte, then alignment, then the rest. */
function aligned(cpu: CpuState, insn: Insn, size: number, align: number, write: boolean): number {
  const linear = operandAddress(cpu, insn, 4, write);
  if ((linear >>> 0) % align !== 0) raise(cpu, cpu.mode & MODE_ALIGN && linear & 3 ? AC_VECTOR : GP_VECTOR);
  return operandAddress(cpu, insn, size, write);
}
const mxcsrOf = (image: Uint8Array, at = OFF.mxcsr) => new DataView(image.buffer, image.byteOffset).getUint32(at, true);
function checkMxcsr(cpu: CpuState, value: number): void {
  if (value & ~MXCSR_MASK) raise(cpu, GP_VECTOR);
}

/** The image as this instruction writes it: 32-bit pointers without REX.W, eight XMM registers outside 64-bit mode. */
function image(cpu: CpuState, insn: Insn): Uint8Array {
  const bytes = cpu.fpu.slice(0, LEGACY_SIZE);
  if ((insn.rex & 8) === 0) {
    bytes.fill(0, OFF.fip + 4, OFF.fip + 8);
    bytes.fill(0, OFF.fdp + 4, OFF.fdp + 8);
  }
  new DataView(bytes.buffer).setUint32(OFF.mxcsr_mask, MXCSR_MASK, true);
  return insn.codeSize === 8 ? bytes : bytes.subarray(0, OFF.xmm + XMM_LEGACY);
}

export function fxsave(cpu: CpuState, insn: Insn): void {
  const linear = aligned(cpu, insn, 512, 16, true);
  // Silicon looks at the last byte of the area first.
  probeWrite(cpu, linear + 511, 1, explicit(cpu));
  writeBlock(cpu, linear, image(cpu, insn), explicit(cpu));
}

export function fxrstor(cpu: CpuState, insn: Insn): void {
  const linear = aligned(cpu, insn, 512, 16, false);
  readLinear(cpu, linear + 511, 1, explicit(cpu));
  const bytes = readBlock(cpu, linear, LEGACY_SIZE, explicit(cpu));
  checkMxcsr(cpu, mxcsrOf(bytes));
  load(cpu, insn, bytes, true, true);
}

function load(cpu: CpuState, insn: Insn, bytes: Uint8Array, x87: boolean, sse: boolean): void {
  const { fpu } = cpu;
  if (x87) {
    fpu.set(bytes.subarray(0, OFF.mxcsr), 0);
    if ((insn.rex & 8) === 0) {
      fpu.fill(0, OFF.fip + 4, OFF.fip + 8);
      fpu.fill(0, OFF.fdp + 4, OFF.fdp + 8);
    }
    fpu.set(bytes.subarray(OFF.st, OFF.xmm), OFF.st);
    // Bits that are not there are not loaded, and whether an exception waits is found out anew.
    const view = new DataView(fpu.buffer, fpu.byteOffset);
    fpu[OFF.reserved0] = 0;
    view.setUint16(OFF.fop, view.getUint16(OFF.fop, true) & 0x7ff, true);
    view.setUint16(OFF.fcw, view.getUint16(OFF.fcw, true) & 0x1f3f | 0x40, true);
    x87Of(cpu).summarize();
  }
  if (sse) {
    fpu.set(bytes.subarray(OFF.mxcsr, OFF.mxcsr + 4), OFF.mxcsr);
    fpu.set(bytes.subarray(OFF.xmm, insn.codeSize === 8 ? LEGACY_SIZE : OFF.xmm + XMM_LEGACY), OFF.xmm);
  }
}

export function ldmxcsr(cpu: CpuState, insn: Insn): void {
  const value = readLinear(cpu, operandAddress(cpu, insn, 4), 4, explicit(cpu));
  checkMxcsr(cpu, Number(value));
  new DataView(cpu.fpu.buffer, cpu.fpu.byteOffset).setUint32(OFF.mxcsr, Number(value), true);
}
export const stmxcsr = (cpu: CpuState, insn: Insn): void =>
  writeLinear(cpu, operandAddress(cpu, insn, 4, true), 4, BigInt(mxcsrOf(cpu.fpu)), explicit(cpu));

// ---------------------------------------------------------------- XSAVE, XRSTOR: components 0 (x87) and 1 (SSE)

const HEADER = 512, AREA = HEADER + 64, XSAVE_X87 = 1, XSAVE_SSE = 2;
const XCOMP_BV_COMPACTED = 1n << 63n;

/** Components asked for and enabled. */
function components(cpu: CpuState): number {
  if (!(cpu.u64[STATE.cr4 >>> 3]! & X86_CR4_OSXSAVE)) raise(cpu, UD_VECTOR);
  return cpu.gpr32[2 * RAX]! & cpu.u32[STATE.xcr0 >>> 2]!;
}
/** XINUSE: x87 state always counts as changed, as on the Xeon that was asked; SSE state when a register is not 0. MXCSR is not looked at. */
const inUse = (cpu: CpuState): number => XSAVE_X87 | (cpu.fpu.subarray(OFF.xmm, LEGACY_SIZE).some((b) => b !== 0) ? XSAVE_SSE : 0);
/** What XGETBV gives for ECX = 1, and XSAVEC goes by: here MXCSR counts. */
export const modifiedComponents = (cpu: CpuState): number => inUse(cpu) | (mxcsrOf(cpu.fpu) !== MXCSR_RESET ? XSAVE_SSE : 0);

/**
 * XSAVE writes all components that are asked for, XSAVEOPT and XSAVEC those of them that are in use. MXCSR goes with SSE: XSAVE and
 * XSAVEOPT write it in any case. XSAVEC writes a header of its own; the others change XSTATE_BV's bits of what is asked for.
 */
const save = (optimized: boolean, compacted: boolean) => (cpu: CpuState, insn: Insn): void => {
  const wanted = components(cpu);
  const linear = aligned(cpu, insn, AREA, 64, true);
  const access = explicit(cpu);
  const bytes = image(cpu, insn);
  const present = wanted & (compacted ? modifiedComponents(cpu) : inUse(cpu));
  const written = optimized ? present : wanted;
  probeWrite(cpu, linear, AREA, access);
  const put = (from: number, to: number) => writeBlock(cpu, linear + from, bytes.subarray(from, to), access);
  if (written & XSAVE_X87) {
    put(0, OFF.mxcsr);
    put(OFF.st, OFF.xmm);
  }
  if (compacted ? written & XSAVE_SSE : wanted & XSAVE_SSE) put(OFF.mxcsr, OFF.st);
  if (written & XSAVE_SSE) put(OFF.xmm, bytes.length);
  const before = compacted ? 0n : readLinear(cpu, linear + HEADER, 8, access);
  writeLinear(cpu, linear + HEADER, 8, before & ~BigInt(wanted) | BigInt(present), access);
  if (compacted) writeLinear(cpu, linear + HEADER + 8, 8, XCOMP_BV_COMPACTED | BigInt(wanted), access);
};
export const xsave = save(false, false), xsaveopt = save(true, false), xsavec = save(true, true);

export function xrstor(cpu: CpuState, insn: Insn): void {
  const wanted = components(cpu);
  const linear = aligned(cpu, insn, AREA, 64, false);
  const access = explicit(cpu);
  const enabled = BigInt(cpu.u32[STATE.xcr0 >>> 2]!);
  const header = Array.from({ length: 8 }, (_, i) => readLinear(cpu, linear + HEADER + 8 * i, 8, access));
  const [xstate, xcomp] = header as [bigint, bigint];
  const compacted = (xcomp & XCOMP_BV_COMPACTED) !== 0n;
  // The compacted form must say which components it has room for, and reserves all of the header's rest; the other form its next two words.
  const malformed = compacted ? (xcomp & ~XCOMP_BV_COMPACTED & ~enabled) !== 0n || (xstate & ~xcomp) !== 0n || header.slice(2).some((word) => word !== 0n)
    : (xstate & ~enabled) !== 0n || xcomp !== 0n || header[2] !== 0n;
  if (malformed) raise(cpu, GP_VECTOR);
  const bytes = readBlock(cpu, linear, LEGACY_SIZE, access);
  const present = Number(xstate & 3n);
  // MXCSR is loaded from the image whether SSE is in use or not, but not from a compacted one.
  const ownMxcsr = (wanted & XSAVE_SSE) !== 0 && (!compacted || (present & XSAVE_SSE) !== 0);
  if (ownMxcsr) checkMxcsr(cpu, mxcsrOf(bytes));
  // A component that is not in use comes back as after reset.
  const fresh = new Uint8Array(512);
  resetFpu(fresh);
  if (ownMxcsr) fresh.set(bytes.subarray(OFF.mxcsr, OFF.mxcsr + 4), OFF.mxcsr);
  load(cpu, insn, present & XSAVE_X87 ? bytes : fresh, (wanted & XSAVE_X87) !== 0, false);
  load(cpu, insn, present & XSAVE_SSE ? bytes : fresh, false, (wanted & XSAVE_SSE) !== 0);
}
