/**
 * What the recorder (test/recorder/silicon.c) is given and what it answers: the bytes of a case and of an answer, and where
 * code, data and segments lie, the same on silicon and in the machine under test.
 */
export const CODE = 0x1000_0000, CODE_PAGES = 2, DATA = 0x2000_0000, WRITABLE_PAGES = 2, DATA_PAGES = 3;
export const PAGE = 4096, CODE_SIZE = CODE_PAGES * PAGE, WRITABLE_SIZE = WRITABLE_PAGES * PAGE, DATA_SIZE = DATA_PAGES * PAGE;
export const FS_BASE = DATA + 0x400, GS_BASE = DATA + 0x900;
/** Selectors as Linux has them, and the recorder's LDT. */
export const USER32_CS = 0x23, USER_DS = 0x2b, USER_CS = 0x33, LDT_CODE32 = 0x07, LDT_CODE16 = 0x0f, LDT_DATA32 = 0x17, LDT_DATA16 = 0x1f;
/** Segments of the LDT: base, limit, access rights in the format of the VMCS. */
export const LDT = [
  { base: CODE, limit: 0x1fff, access: 0x50fb }, { base: CODE, limit: 0x1fff, access: 0x10fb },
  { base: DATA, limit: 0x1fff, access: 0x50f3 }, { base: DATA, limit: 0x27ff, access: 0x10f3 },
] as const;
export const FLAG_STEP = 1;
/** Vectors that are none: the case did not end, or made a system call. */
export const TIMED_OUT = 254, SYSTEM_CALL = 255;

export const CASE = {
  mode: 0, flags: 4, length: 8, codeAt: 12, gpr: 32, rip: 160, rflags: 168, patchAt: 176, patchLength: 184, patch: 192, cs: 320, ds: 322, es: 324, ss: 326, fxsave: 384, code: 896, size: 1408,
} as const;
export const CODE_ROOM = CASE.size - CASE.code;
export const PATCH_SIZE = 64;
export const ANSWER = {
  size: 0, trap: 4, error: 8, cr2: 16, rip: 24, rflags: 32, gpr: 40, cs: 168, ds: 170, es: 172, ss: 174, fs: 176, gs: 178, fsBase: 184, gsBase: 192, fxsave: 200, changes: 712, change: 720,
} as const;
/** Of the FXSAVE image: x87 words, MXCSR, ST(i), XMM. */
export const FXSAVE = { fcw: 0, fsw: 2, ftw: 4, fop: 6, fip: 8, fdp: 16, mxcsr: 24, mxcsrMask: 28, st: 32, xmm: 160, end: 416 } as const;

/** A case and its bytes, by every width. */
export class Case {
  readonly u8 = new Uint8Array(CASE.size);
  readonly u16 = new Uint16Array(this.u8.buffer);
  readonly u32 = new Uint32Array(this.u8.buffer);
  readonly u64 = new BigUint64Array(this.u8.buffer);

  get mode(): number { return this.u32[CASE.mode / 4]!; }
  get codeAt(): number { return this.u32[CASE.codeAt / 4]!; }
  get length(): number { return this.u32[CASE.length / 4]!; }
  get code(): Uint8Array { return this.u8.subarray(CASE.code, CASE.code + this.length); }
  get stepped(): boolean { return (this.u32[CASE.flags / 4]! & FLAG_STEP) !== 0; }
  get rip(): bigint { return this.u64[CASE.rip / 8]!; }
  get rflags(): number { return this.u32[CASE.rflags / 4]!; }
  gpr(i: number): bigint { return this.u64[CASE.gpr / 8 + i]!; }
  setGpr(i: number, v: bigint): void { this.u64[CASE.gpr / 8 + i] = v; }
}

/** The memory of the data pages before patches, as the recorder fills it. */
export const pristine: Uint8Array = (() => {
  const bytes = new Uint8Array(DATA_SIZE);
  let seed = 1;
  for (let i = 0; i < DATA_SIZE; i++) {
    seed = Math.imul(seed, 1664525) + 1013904223 >>> 0;
    bytes[i] = i & 0x100 ? seed >>> 30 : seed >>> 24;
  }
  return bytes;
})();

/** An answer, of silicon or of the machine under test, in the recorder's form. */
export class Answer {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;

  constructor(size: number) {
    this.u8 = new Uint8Array(size);
    this.u16 = new Uint16Array(this.u8.buffer);
    this.u32 = new Uint32Array(this.u8.buffer);
    this.u64 = new BigUint64Array(this.u8.buffer);
  }
  get rip(): bigint { return this.u64[ANSWER.rip / 8]!; }
  get trap(): number { return this.u32[ANSWER.trap / 4]!; }
  get changes(): number { return this.u32[ANSWER.changes / 4]!; }
}
