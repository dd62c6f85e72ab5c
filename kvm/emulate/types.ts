/**
 * The emulator's context: one instruction being decoded and executed, and the operations it asks of its host.
 *
 * Linux: arch/x86/kvm/kvm_emulate.h
 *
 * The emulator knows no vCPU. It reads and writes registers and memory through x86_emulate_ops, and an instruction that
 * needs user space stops with X86EMUL_IO_NEEDED: it is later executed again from its start, with the reads already
 * answered kept in `mem_read` and `io_read`.
 */

// What an operation or an instruction comes to.
export const X86EMUL_CONTINUE        = 0;
export const X86EMUL_UNHANDLEABLE    = 1;
export const X86EMUL_PROPAGATE_FAULT = 2;
export const X86EMUL_RETRY_INSTR     = 3;
export const X86EMUL_CMPXCHG_FAILED  = 4;
export const X86EMUL_IO_NEEDED       = 5;

// What x86_emulate_insn comes to.
export const EMULATION_FAILED  = -1;
export const EMULATION_OK      = 0;
export const EMULATION_RESTART = 1;

export const X86EMUL_MODE_REAL   = 0;
export const X86EMUL_MODE_VM86   = 1;
export const X86EMUL_MODE_PROT16 = 2;
export const X86EMUL_MODE_PROT32 = 4;
export const X86EMUL_MODE_PROT64 = 8;

export const VCPU_SREG_ES = 0, VCPU_SREG_CS = 1, VCPU_SREG_SS = 2, VCPU_SREG_DS = 3, VCPU_SREG_FS = 4, VCPU_SREG_GS = 5, VCPU_SREG_TR = 6, VCPU_SREG_LDTR = 7;
export const VCPU_REGS_RAX = 0, VCPU_REGS_RCX = 1, VCPU_REGS_RDX = 2, VCPU_REGS_RBX = 3, VCPU_REGS_RSP = 4, VCPU_REGS_RBP = 5, VCPU_REGS_RSI = 6, VCPU_REGS_RDI = 7;

export const DE_VECTOR = 0, DB_VECTOR = 1, NMI_VECTOR = 2, BP_VECTOR = 3, OF_VECTOR = 4, BR_VECTOR = 5, UD_VECTOR = 6, NM_VECTOR = 7, DF_VECTOR = 8;
export const TS_VECTOR = 10, NP_VECTOR = 11, SS_VECTOR = 12, GP_VECTOR = 13, PF_VECTOR = 14, MF_VECTOR = 16, AC_VECTOR = 17, MC_VECTOR = 18, XM_VECTOR = 19;

export const CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, TF = 0x100, IF = 0x200, DF = 0x400, OF = 0x800, IOPL = 0x3000, NT = 0x4000, RF = 0x10000, VM = 0x20000, AC = 0x40000;

/** A fault on its way to the guest. */
export interface x86_exception {
  vector: number;
  error_code_valid: boolean;
  error_code: number;
  /** Of a page fault: CR2. */
  address: bigint;
}

export const OP_NONE = 0, OP_REG = 1, OP_MEM = 2, OP_MEM_STR = 3, OP_IMM = 4, OP_XMM = 5, OP_MM = 6;

/** One operand. `val` is zero-extended to 64 bits; a 16-byte operand has its upper half in `high`. */
export interface operand {
  type: number;
  bytes: number;
  /** OP_REG, OP_XMM: which; a byte register 4..7 without REX is AH..BH and has `highByte`. */
  reg: number;
  highByte: boolean;
  seg: number;
  ea: bigint;
  val: bigint;
  high: bigint;
  orig_val: bigint;
  orig_high: bigint;
  /** OP_MEM_STR: elements to store from ctxt.io_read. */
  count: number;
}

const operand = (): operand => ({ type: OP_NONE, bytes: 0, reg: 0, highByte: false, seg: 0, ea: 0n, val: 0n, high: 0n, orig_val: 0n, orig_high: 0n, count: 0 });

/** Bytes read so far by this instruction, so that executing it again asks for none twice. */
export class read_cache {
  readonly data = new Uint8Array(1024);
  pos = 0;
  end = 0;
}

/** A segment register as the emulator needs it: attributes unpacked as in kvm_segment. */
export interface emulated_segment { selector: number; base: bigint; limit: number; type: number; s: number; dpl: number; present: number; db: number; l: number; g: number; avl: number; unusable: number }

export interface x86_emulate_ops {
  read_gpr(reg: number): bigint;
  write_gpr(reg: number, value: bigint): void;
  /** The object is the same at each call. */
  get_segment(seg: number): emulated_segment;
  set_segment(seg: number, value: emulated_segment): void;
  get_dt(which: 'gdt' | 'idt'): { base: bigint; limit: number };
  set_dt(which: 'gdt' | 'idt', base: bigint, limit: number): void;
  get_segment_base(seg: number): bigint;
  get_cr(cr: number): bigint;
  /** Not 0: #GP. So of set_dr and set_msr; get_msr gives undefined. */
  set_cr(cr: number, value: bigint): number;
  get_dr(dr: number): bigint;
  set_dr(dr: number, value: bigint): number;
  get_msr(index: number): bigint | undefined;
  /** RDMSR and WRMSR of the guest, which user space may answer: the value in ctxt.msr; X86EMUL_UNHANDLEABLE: #GP. */
  rdmsr(ctxt: x86_emulate_ctxt, index: number): number;
  wrmsr(ctxt: x86_emulate_ctxt, index: number, value: bigint): number;
  /** undefined: #GP. */
  get_cpuid(leaf: number, index: number): { eax: number; ebx: number; ecx: number; edx: number } | undefined;
  guest_is_amd(): boolean;
  halt(): void;
  invlpg(address: bigint): void;
  set_nmi_mask(masked: boolean): void;
  fninit(): void;
  /** RAM at a linear address with the processor's own rights: descriptor tables, task state. */
  read_std(ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array): number;
  write_std(ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array): number;
  cpl(): number;
  /** Instruction bytes at a linear address, into ctxt.fetch from its end on. */
  fetch(ctxt: x86_emulate_ctxt, linear: bigint, bytes: number): number;
  /** Data at a linear address; RAM, device or user space. May set ctxt.exception. */
  read_emulated(ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array, at: number, bytes: number): number;
  write_emulated(ctxt: x86_emulate_ctxt, linear: bigint, data: Uint8Array, bytes: number): number;
  /** Stores `value` if memory holds `old`; X86EMUL_CMPXCHG_FAILED when it does not. */
  cmpxchg_emulated(ctxt: x86_emulate_ctxt, linear: bigint, old: Uint8Array, value: Uint8Array, bytes: number): number;
  /** false: user space must answer first. */
  pio_in_emulated(ctxt: x86_emulate_ctxt, size: number, port: number, data: Uint8Array, count: number): boolean;
  pio_out_emulated(ctxt: x86_emulate_ctxt, size: number, port: number, data: Uint8Array, count: number): boolean;
  io_allowed(ctxt: x86_emulate_ctxt, port: number, size: number): boolean;
  read_xmm(reg: number): readonly [bigint, bigint];
  write_xmm(reg: number, low: bigint, high: bigint): void;
  /** An unmasked x87 exception waits for the next x87 or MMX instruction. */
  x87_pending(): boolean;
  /** As every MMX instruction both set TOP to 0 and mark all registers as used. */
  read_mm(reg: number): bigint;
  write_mm(reg: number, value: bigint): void;
  /** The live FXSAVE image of the guest's registers. */
  fpu_image(): Uint8Array;
  fpu_control(): { fcw: number; fsw: number };
  fix_hypercall(ctxt: x86_emulate_ctxt): number;
  is_smm(): boolean;
  /** RSM; -1: what it found is no state. */
  leave_smm(ctxt: x86_emulate_ctxt): number;
  triple_fault(): void;
}

/** An instruction's row in the opcode tables. */
export interface opcode {
  readonly name: string;
  readonly flags: number;
  readonly dst: number;
  readonly src: number;
  readonly src2: number;
  readonly execute: (ctxt: x86_emulate_ctxt) => number;
}

export class x86_emulate_ctxt {
  readonly ops: x86_emulate_ops;
  // Set by the caller before decoding.
  eflags = 0;
  eip = 0n;
  mode = X86EMUL_MODE_REAL;
  /** A guest-physical address the hardware reported for this access; -1 none. */
  gpa = -1;
  have_exception = false;
  readonly exception: x86_exception = { vector: 0, error_code_valid: false, error_code: 0, address: 0n };
  /** Interrupt shadow the instruction leaves: KVM_X86_SHADOW_INT_*. */
  interruptibility = 0;
  /** Single-step the instruction, by RFLAGS.TF as it was before or, for SYSCALL, as it is after. */
  tf = false;
  /** What RDMSR read. */
  msr = 0n;
  // Decoding.
  readonly fetched = new Uint8Array(16);
  /** All that an instruction may have of it. */
  readonly longest = this.fetched.subarray(0, 15);
  fetch_ptr = 0;
  fetch_end = 0;
  _eip = 0n;
  op_bytes = 0;
  ad_bytes = 0;
  rex_prefix = 0;
  lock_prefix = false;
  rep_prefix = 0;
  op_prefix = false;
  seg_override = -1;
  b = 0;
  twobyte = false;
  modrm = 0;
  modrm_mod = 0;
  modrm_reg = 0;
  modrm_rm = 0;
  modrm_seg = 0;
  rip_relative = false;
  row: opcode | undefined = undefined;
  readonly src = operand();
  readonly src2 = operand();
  readonly dst = operand();
  readonly memop = operand();
  // Registers of the instruction in progress, written back when it is done.
  readonly regs = new BigUint64Array(16);
  regs_valid = 0;
  regs_dirty = 0;
  readonly mem_read = new read_cache();
  readonly io_read = new read_cache();
  /** Scratch for one store. */
  readonly data = new Uint8Array(16);
  readonly old = new Uint8Array(16);
  constructor(ops: x86_emulate_ops) {
    this.ops = ops;
  }
}
