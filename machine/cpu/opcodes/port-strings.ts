/** INS and OUTS: one element, and with REP the instruction again until rCX is 0. SDM Vol. 2: INS, OUTS. */
import { VM_EXIT } from '../hooks.ts';
import { type PortSize, checkPort, portIn, portOut, requirePort } from '../io.ts';
import { explicit, linearAddress, probeWrite, readLinear, writeLinear } from '../memory.ts';
import { type Exec, type Insn, type Row, exec, row } from '../opcode-row.ts';
import { readGpr, writeGpr } from '../operands.ts';
import { type CpuState, ES, RCX, RDI, RDX, RSI, STATE, X86_EFLAGS_DF, X86_EFLAGS_TF } from '../state.ts';

const address = (cpu: CpuState, insn: Insn, reg: number): bigint => readGpr(cpu, insn, reg, insn.addrSize);
const flag = (cpu: CpuState, mask: number): boolean => (cpu.u32[STATE.rflags >>> 2]! & mask) !== 0;
const port = (cpu: CpuState): number => cpu.gpr32[2 * RDX]! & 0xffff;

/** Moves the index register on, counts rCX down, and puts RIP back on the instruction if it goes on. */
function finish(cpu: CpuState, insn: Insn, reg: number, size: number): void {
  const step = flag(cpu, X86_EFLAGS_DF) ? -size : size;
  writeGpr(cpu, insn, reg, insn.addrSize, address(cpu, insn, reg) + BigInt(step));
  if (insn.rep === 0) return;
  const left = BigInt.asUintN(8 * insn.addrSize, address(cpu, insn, RCX) - 1n);
  writeGpr(cpu, insn, RCX, insn.addrSize, left);
  if (left !== 0n || !flag(cpu, X86_EFLAGS_TF)) cpu.rip -= BigInt(insn.length);
}
/** With rCX 0 there is nothing to do, but the right to use the port is looked at all the same. */
function finished(cpu: CpuState, insn: Insn, size: PortSize): boolean {
  if (insn.rep === 0 || address(cpu, insn, RCX) !== 0n) return false;
  requirePort(cpu, port(cpu), size);
  return true;
}
const portSize = (width: 1 | 'v', insn: Insn): PortSize => (width === 1 ? 1 : insn.opSize === 2 ? 2 : 4);

const ins = (width: 1 | 'v'): Exec => (cpu, insn) => {
  const size = portSize(width, insn);
  if (finished(cpu, insn, size)) return;
  if (checkPort(cpu, insn, port(cpu), size, false)) return VM_EXIT;
  const linear = linearAddress(cpu, ES, address(cpu, insn, RDI), size, true);
  probeWrite(cpu, linear, size, explicit(cpu));
  writeLinear(cpu, linear, size, BigInt(portIn(cpu, port(cpu), size) >>> 0), explicit(cpu));
  finish(cpu, insn, RDI, size);
};
const outs = (width: 1 | 'v'): Exec => (cpu, insn) => {
  const size = portSize(width, insn);
  if (finished(cpu, insn, size)) return;
  if (checkPort(cpu, insn, port(cpu), size, true)) return VM_EXIT;
  const value = readLinear(cpu, linearAddress(cpu, insn.seg, address(cpu, insn, RSI), size), size, explicit(cpu));
  portOut(cpu, port(cpu), size, Number(value));
  finish(cpu, insn, RSI, size);
};

export const portStringRows: readonly Row[] = [
  row('6C', 'INS',  'Yb DX', 'rep r:d', exec(ins(1))),
  row('6D', 'INS',  'Yz DX', 'rep r:d', exec(ins('v'))),
  row('6E', 'OUTS', 'DX Xb', 'rep r:d', exec(outs(1))),
  row('6F', 'OUTS', 'DX Xz', 'rep r:d', exec(outs('v'))),
];
