/**
 * A vCPU's registers as QEMU prints them when something went wrong and in `info registers`.
 * QEMU: target/i386/cpu-dump.c
 */
import type { kvm_debugregs, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs } from '../abi/kvm/index.ts';

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');

const DF = 0x400;
const OF = 0x800;
const SF = 0x80;
const ZF = 0x40;
const AF = 0x10;
const PF = 0x04;
const CF = 0x01;
const CR0_PE = 1n;
const EFER_LMA = 0x400n;

const flagLetters = (rflags: number): string =>
  ([[DF, 'D'], [OF, 'O'], [SF, 'S'], [ZF, 'Z'], [AF, 'A'], [PF, 'P'], [CF, 'C']] as const).map(([bit, letter]) => (rflags & bit ? letter : '-')).join('');

/** Names of system segment types, in protected and in long mode. */
const systemTypes = [
  ['Reserved', 'TSS16-avl', 'LDT', 'TSS16-busy', 'CallGate16', 'TaskGate', 'IntGate16', 'TrapGate16',
    'Reserved', 'TSS32-avl', 'Reserved', 'TSS32-busy', 'CallGate32', 'Reserved', 'IntGate32', 'TrapGate32'],
  ['<hiword>', 'Reserved', 'LDT', 'Reserved', 'Reserved', 'Reserved', 'Reserved', 'Reserved',
    'Reserved', 'TSS64-avl', 'Reserved', 'TSS64-busy', 'CallGate64', 'Reserved', 'IntGate64', 'TrapGate64'],
] as const;

function segmentLine(name: string, s: kvm_segment, long: boolean, protectedMode: boolean): string {
  const attributes = ((s.type << 8) | (s.s << 12) | (s.dpl << 13) | (s.present << 15) | (s.avl << 20) | (s.l << 21) | (s.db << 22) | (s.g << 23)) >>> 0;
  const line = `${name.padEnd(3)}=${hex(s.selector, 4)} ${hex(s.base, long ? 16 : 8)} ${hex(s.limit, 8)} ${hex(attributes, 8)}`;
  if (!protectedMode || s.present === 0) return line;
  const letter = (bit: number, c: string): string => (s.type & bit ? c : '-');
  const kind = s.s === 0 ? systemTypes[long ? 1 : 0][s.type & 15] ?? ''
    : s.type & 8 ? `${s.l ? 'CS64' : s.db ? 'CS32' : 'CS16'} [${letter(4, 'C')}${letter(2, 'R')}${letter(1, 'A')}]`
      : `${long ? 'DS  ' : s.db ? 'DS  ' : 'DS16'} [${letter(4, 'E')}${letter(2, 'W')}${letter(1, 'A')}]`;
  return `${line} DPL=${s.dpl} ${kind}`;
}

const tableLine = (name: string, t: kvm_dtable, long: boolean): string => `${name}=     ${hex(t.base, long ? 16 : 8)} ${hex(t.limit, 8)}`;

const wideNames = [['rax', 'rbx', 'rcx', 'rdx'], ['rsi', 'rdi', 'rbp', 'rsp'], ['r8', 'r9', 'r10', 'r11'], ['r12', 'r13', 'r14', 'r15']] as const;

export interface CpuDump {
  readonly regs: kvm_regs;
  readonly sregs: kvm_sregs;
  readonly debugregs: kvm_debugregs;
  /** Guest bytes from RIP on, printed as QEMU's Code line. */
  readonly code: Uint8Array | undefined;
}

export function cpu_dump_state({ regs, sregs, debugregs, code }: CpuDump): string {
  const long = (sregs.efer & EFER_LMA) !== 0n;
  const protectedMode = (sregs.cr0 & CR0_PE) !== 0n;
  const digits = long ? 16 : 8;
  const rows = long ? wideNames : wideNames.slice(0, 2);
  const label = (name: string): string => (long ? name : `e${name.slice(1)}`).toUpperCase().padEnd(3);
  const rflags = Number(regs.rflags);
  return [
    ...rows.map((row) => row.map((name) => `${label(name)}=${hex(BigInt.asUintN(digits * 4, regs[name]), digits)}`).join(' ')),
    `${long ? 'RIP' : 'EIP'}=${hex(regs.rip, digits)} ${long ? 'RFL' : 'EFL'}=${hex(rflags, 8)} [${flagLetters(rflags)}] CPL=${sregs.ss.dpl} II=0 A20=1 SMM=0 HLT=0`,
    ...(['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldt', 'tr'] as const).map((name) => segmentLine(name.toUpperCase(), sregs[name], long, protectedMode)),
    tableLine('GDT', sregs.gdt, long),
    tableLine('IDT', sregs.idt, long),
    `CR0=${hex(sregs.cr0, 8)} CR2=${hex(sregs.cr2, digits)} CR3=${hex(sregs.cr3, digits)} CR4=${hex(sregs.cr4, 8)}`,
    [...debugregs.db].map((value, i) => `DR${i}=${hex(value, 16)} `).join(''),
    `DR6=${hex(debugregs.dr6, 16)} DR7=${hex(debugregs.dr7, 16)}`,
    `EFER=${hex(sregs.efer, 16)}`,
    ...(code === undefined ? [] : [`Code=${[...code].map((byte, i) => (i === 0 ? `<${hex(byte, 2)}>` : hex(byte, 2))).join(' ')}`]),
  ].map((line) => `${line}\n`).join('');
}
