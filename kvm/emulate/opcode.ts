/**
 * How a row of the opcode tables is written: operand kinds and instruction flags.
 *
 * Linux: arch/x86/kvm/emulate.c (the DstXxx, SrcXxx and flag constants)
 */
import type { opcode, x86_emulate_ctxt } from './types.ts';

// Operand kinds.
export const None = 0;
export const Reg = 1;          // ModRM.reg
export const Mem = 2;          // ModRM.rm, register or memory
export const Acc = 3;          // AL, AX, EAX, RAX
export const OpReg = 4;        // the low three bits of the opcode
export const DI = 5;           // ES:(E)DI
export const SI = 6;           // DS:(E)SI, overridable
export const Imm = 7;          // immediate of the operand size, at most 32 bits, sign-extended
export const ImmByte = 8;      // sign-extended byte
export const ImmUByte = 9;
export const Imm16 = 10;
export const Imm64 = 11;       // of the full operand size
export const One = 12;
export const CL = 13;
export const DX = 14;
export const MOffs = 15;       // memory at an address in the instruction
export const Mem8 = 16;        // ModRM.rm of one byte
export const Mem16 = 17;
export const Mem32 = 18;
export const Sreg = 19;        // segment register by ModRM.reg
export const FarImm = 21;       // offset and selector in the instruction
export const MemDouble = 20;   // memory of twice the operand size

// Flags.
export const ByteOp = 1 << 0;
export const ModRM = 1 << 1;
/** The destination is written without being read. */
export const Mov = 1 << 2;
/** The destination is not written: CMP, TEST. */
export const NoWrite = 1 << 3;
/** The source is written as well: XCHG, XADD. */
export const SrcWrite = 1 << 4;
export const String = 1 << 5;
export const Lock = 1 << 6;
/** 64-bit operands by default in 64-bit mode, 32-bit ones do not exist: stack and near branches. */
export const Stack = 1 << 7;
export const Op3264 = 1 << 8;
export const Sse = 1 << 9;
/** A 16-byte operand must be aligned. */
export const Aligned = 1 << 10;
export const No64 = 1 << 11;
/** Its meaning does not need the memory operand read: LEA. */
export const NoAccess = 1 << 12;
/** Executed also when the processor raised #UD for it. */
export const EmulateOnUD = 1 << 13;
/** The bit offset in a register reaches beyond the operand. */
export const BitOp = 1 << 14;
export const NearBranch = 1 << 15;
/** The destination register is sign-irrelevant and of operand size though the source is smaller: MOVZX. */
export const DstFull = 1 << 17;
/** Privilege level 0 only: #GP. */
export const Priv = 1 << 18;
/** Not in real mode nor virtual 8086 mode: #UD. */
export const Prot = 1 << 19;
/** The operand is as wide as the mode, whatever the prefixes say: control and debug registers. */
export const NaturalOp = 1 << 20;
/** 64-bit MMX registers. */
export const Mmx = 1 << 21;

export const op = (name: string, execute: (ctxt: x86_emulate_ctxt) => number, dst: number = None, src: number = None, flags = 0, src2: number = None): opcode => ({
  name, execute, dst, src, src2,
  flags: flags | ([Reg, Mem, Mem8, Mem16, Mem32, Sreg, MemDouble].some((kind) => kind === dst || kind === src || kind === src2) ? ModRM : 0),
});
