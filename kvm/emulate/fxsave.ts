/**
 * FXSAVE and FXRSTOR in real, virtual-8086 and 32-bit code. In 64-bit code they are the processor's, as in Linux.
 *
 * Linux: arch/x86/kvm/emulate.c (em_fxsave, em_fxrstor, fxstate_size). SDM Vol. 1 ch. 10.5
 */
import { emulate_exception, emulate_gp, emulate_ud, linear, linearize } from './memory.ts';
import { NM_VECTOR, X86EMUL_CONTINUE, X86EMUL_MODE_PROT64, X86EMUL_UNHANDLEABLE, type x86_emulate_ctxt } from './types.ts';

const CPUID_FXSR = 1 << 24, CR0_EM_TS = 0xcn, CR4_OSFXSR = 0x200n;
/** In the image: where the pointers' upper halves are, MXCSR and its mask, the registers. */
const FIP_HIGH = 12, FDP_HIGH = 20, MXCSR = 24, MXCSR_MASK = 28, ST = 32, XMM = 160;
const FCW_BITS = 0x1f3f, FCW_ONES = 0x40, FOP_BITS = 0x7ff, EXCEPTIONS = 0x3f, SUMMARY = 0x8080;

/** What keeps the instruction from being emulated; else the operand lies at `linear`, `size` bytes of it. */
function check(ctxt: x86_emulate_ctxt, size: number, write: boolean): number {
  if (ctxt.op_prefix || ctxt.rep_prefix !== 0 || ((ctxt.ops.get_cpuid(1, 0)?.edx ?? 0) & CPUID_FXSR) === 0) return emulate_ud(ctxt);
  if ((ctxt.ops.get_cr(0) & CR0_EM_TS) !== 0n) return emulate_exception(ctxt, NM_VECTOR);
  if (ctxt.mode === X86EMUL_MODE_PROT64) return X86EMUL_UNHANDLEABLE;
  const rc = linearize(ctxt, ctxt.src.seg, ctxt.src.ea, size, write, false);
  return rc === X86EMUL_CONTINUE && (linear & 15n) !== 0n ? emulate_gp(ctxt, 0) : rc;
}
/** XMM registers belong to the image once the guest's system says that it knows of them. */
const size_of = (ctxt: x86_emulate_ctxt): number => XMM + ((ctxt.ops.get_cr(4) & CR4_OSFXSR) !== 0n ? 8 * 16 : 0);

export function em_fxsave(ctxt: x86_emulate_ctxt): number {
  const size = size_of(ctxt);
  const rc = check(ctxt, size, true);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const image = ctxt.ops.fpu_image().slice(0, size);
  image.fill(0, FIP_HIGH, FIP_HIGH + 4);
  image.fill(0, FDP_HIGH, FDP_HIGH + 4);
  image.set([0xff, 0xff, 0, 0], MXCSR_MASK);
  return ctxt.ops.write_std(ctxt, linear, image);
}

export function em_fxrstor(ctxt: x86_emulate_ctxt): number {
  const size = size_of(ctxt);
  let rc = check(ctxt, size, false);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const image = new Uint8Array(size);
  rc = ctxt.ops.read_std(ctxt, linear, image);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const view = new DataView(image.buffer);
  if (view.getUint32(MXCSR, true) >>> 16 !== 0) return emulate_gp(ctxt, 0);
  const fcw = view.getUint16(0, true) & FCW_BITS | FCW_ONES, fsw = view.getUint16(2, true) & ~SUMMARY;
  view.setUint16(0, fcw, true);
  view.setUint16(2, (fsw & ~fcw & EXCEPTIONS) !== 0 ? fsw | SUMMARY : fsw, true);
  image[5] = 0;
  view.setUint16(6, view.getUint16(6, true) & FOP_BITS, true);
  image.fill(0, FIP_HIGH, FIP_HIGH + 4);
  image.fill(0, FDP_HIGH, FDP_HIGH + 4);
  const fpu = ctxt.ops.fpu_image();
  fpu.set(image.subarray(0, MXCSR + 4));
  fpu.set(image.subarray(ST), ST);
  return X86EMUL_CONTINUE;
}
