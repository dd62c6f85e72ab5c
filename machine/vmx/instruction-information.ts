/**
 * The VM-exit instruction-information field: what a hypervisor would otherwise have to decode. SDM 28.2.5, tables 28-8
 * to 28-16.
 */
import * as E from './exit-reasons.ts';
import { type Insn, RIP_BASE } from '../cpu/opcode-row.ts';
import { type CpuState, ES, MODE_64, MODE_SIZE, RDI, RSI } from '../cpu/state.ts';

const REGISTER_OPERAND = 1 << 10;
const NO_INDEX = 1 << 22;
const NO_BASE = 1 << 27;

const addressSize = (insn: Insn): number => (insn.addrSize === 2 ? 0 : insn.addrSize === 4 ? 1 : 2) << 7;

/** INS and OUTS: address size, and the segment of OUTS. */
export const ioInformation = (insn: Insn): number => addressSize(insn) | (insn.seg << 15);

/** Linear address of the element INS or OUTS is at. */
export function stringAddress(cpu: CpuState, insn: Insn, out: boolean): number {
  const register = cpu.gpr[out ? RSI : RDI]!;
  const offset = insn.addrSize === 2 ? register & 0xffffn : insn.addrSize === 4 ? register & 0xffff_ffffn : register;
  const seg = out ? insn.seg : ES;
  if ((cpu.mode & MODE_SIZE) === MODE_64) return Number(BigInt.asIntN(64, offset + (seg >= 4 ? cpu.segBase(seg) : 0n)));
  return Number(BigInt.asUintN(32, offset + cpu.segBase(seg)));
}

/** Bits 29:28 of the descriptor-table exits, by mnemonic. */
const identities: Readonly<Record<string, number>> = { SGDT: 0, SIDT: 1, LGDT: 2, LIDT: 3, SLDT: 0, STR: 1, LLDT: 2, LTR: 3 };

export function instructionInformation(insn: Insn, reason: number): number {
  switch (reason) {
    case E.EXIT_REASON_GDTR_IDTR:
      return memory(insn) | (insn.opSize === 2 ? 0 : 1 << 11) | (identities[insn.row.mnemonic]! << 28);
    case E.EXIT_REASON_LDTR_TR:
      return (insn.mod === 3 ? register(insn) : memory(insn)) | (identities[insn.row.mnemonic]! << 28);
    case E.EXIT_REASON_INVEPT:
    case E.EXIT_REASON_INVVPID:
    case E.EXIT_REASON_INVPCID:
    case E.EXIT_REASON_VMREAD:
    case E.EXIT_REASON_VMWRITE:
      return (((insn.mod === 3 ? register(insn) : memory(insn)) | (insn.reg << 28)) >>> 0);
    case E.EXIT_REASON_VMCLEAR:
    case E.EXIT_REASON_VMPTRLD:
    case E.EXIT_REASON_VMPTRST:
    case E.EXIT_REASON_VMON:
    case E.EXIT_REASON_XSAVES:
    case E.EXIT_REASON_XRSTORS:
      return memory(insn);
    case E.EXIT_REASON_RDRAND:
    case E.EXIT_REASON_RDSEED:
      return (insn.rm << 3) | ((insn.opSize === 2 ? 0 : insn.opSize === 4 ? 1 : 2) << 11);
    default:
      return 0;
  }
}

const register = (insn: Insn): number => REGISTER_OPERAND | (insn.rm << 3);

function memory(insn: Insn): number {
  const index = insn.index >= 0 ? insn.scale | (insn.index << 18) : NO_INDEX;
  const base = insn.base >= 0 && insn.base !== RIP_BASE ? insn.base << 23 : NO_BASE;
  return index | base | addressSize(insn) | (insn.seg << 15);
}
