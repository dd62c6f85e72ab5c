/**
 * Which instructions and events make a guest exit, and with what qualification: SDM 26.1 and 28.2.1 (25.1 and 27.2.1
 * in older editions). The processor's instructions ask here before they change anything.
 */
import * as C from './controls.ts';
import * as E from './exit-reasons.ts';
import * as F from './fields.ts';
import { EPT_VIOLATION_GVA_IS_VALID, EPT_VIOLATION_GVA_TRANSLATED, eptAccess, eptFault, walkEpt } from './ept.ts';
import { INTR_INFO_DELIVER_CODE_MASK, INTR_INFO_UNBLOCK_NMI, INTR_INFO_VALID_MASK } from './entry-checks.ts';
import { WORDS as W, note, noteEvent } from './exit.ts';
import { stringAddress, instructionInformation, ioInformation } from './instruction-information.ts';
import { type Fault, PF_VECTOR, DB_VECTOR, DF_VECTOR, GP_VECTOR, NMI_VECTOR, UD_VECTOR, raise } from '../cpu/exceptions.ts';
import { type EventType, INTR_TYPE_EXT_INTR, INTR_TYPE_NMI_INTR, EXITED, QUICK_PAUSE, QUICK_RDTSC, QUICK_RDTSCP, VM_EXIT, type VmxHooks } from '../cpu/hooks.ts';
import { operandAddress } from '../cpu/operands.ts';
import type { Insn, Row } from '../cpu/opcode-row.ts';
import { type CpuState, STATE, X86_CR0_TS } from '../cpu/state.ts';
import type { Vmx } from './vmx.ts';

type Condition = { readonly primary: number } | { readonly secondary: number };

/** Instructions that exit only if a control says so, and the secondary control without which they are #UD. All others always exit. */
const conditions: readonly (readonly [reason: number, exits: Condition, needs?: number])[] = [
  [E.EXIT_REASON_HLT,                 { primary: C.CPU_BASED_HLT_EXITING }],
  [E.EXIT_REASON_INVLPG,              { primary: C.CPU_BASED_INVLPG_EXITING }],
  [E.EXIT_REASON_RDPMC,               { primary: C.CPU_BASED_RDPMC_EXITING }],
  [E.EXIT_REASON_RDTSC,               { primary: C.CPU_BASED_RDTSC_EXITING }],
  [E.EXIT_REASON_RDTSCP,              { primary: C.CPU_BASED_RDTSC_EXITING },          C.SECONDARY_EXEC_ENABLE_RDTSCP],
  [E.EXIT_REASON_MWAIT_INSTRUCTION,   { primary: C.CPU_BASED_MWAIT_EXITING }],
  [E.EXIT_REASON_MONITOR_INSTRUCTION, { primary: C.CPU_BASED_MONITOR_EXITING }],
  [E.EXIT_REASON_PAUSE_INSTRUCTION,   { primary: C.CPU_BASED_PAUSE_EXITING }],
  [E.EXIT_REASON_WBINVD,              { secondary: C.SECONDARY_EXEC_WBINVD_EXITING }],
  [E.EXIT_REASON_GDTR_IDTR,           { secondary: C.SECONDARY_EXEC_DESC }],
  [E.EXIT_REASON_LDTR_TR,             { secondary: C.SECONDARY_EXEC_DESC }],
  [E.EXIT_REASON_INVPCID,             { primary: C.CPU_BASED_INVLPG_EXITING },         C.SECONDARY_EXEC_ENABLE_INVPCID],
  [E.EXIT_REASON_RDRAND,              { secondary: C.SECONDARY_EXEC_RDRAND_EXITING }],
  [E.EXIT_REASON_RDSEED,              { secondary: C.SECONDARY_EXEC_RDSEED_EXITING }],
];

/** The same by reason. */
const unconditional = new Uint8Array(128).fill(1);
const primaryBits = new Int32Array(128);
const secondaryBits = new Int32Array(128);
const neededBits = new Int32Array(128);
for (const [reason, exits, needs] of conditions) {
  unconditional[reason] = 0;
  if ('primary' in exits) primaryBits[reason] = exits.primary;
  else secondaryBits[reason] = exits.secondary;
  neededBits[reason] = needs ?? 0;
}

/** Exit qualification of a control-register access (SDM table 28-3). */
const CR_MOV_TO = 0 << 4;
const CR_MOV_FROM = 1 << 4;
const CR_CLTS = 2 << 4;
const CR_LMSW = 3 << 4;
const LMSW_MEMORY = 1 << 6;
const CR0_TS = 8;

const IO_IN = 1 << 3;
const IO_STRING = 1 << 4;
const IO_REP = 1 << 5;
const IO_IMMEDIATE = 1 << 6;

/** What the instruction's form adds to the qualification; remembered, for it takes comparing strings. */
const ioForms = new Map<Row, number>();
function ioForm(row: Row): number {
  let form = ioForms.get(row);
  if (form === undefined) {
    const { mnemonic, operands } = row;
    form = mnemonic.startsWith('INS') || mnemonic.startsWith('OUTS') ? IO_STRING : operands.includes('Ib') ? IO_IMMEDIATE : 0;
    ioForms.set(row, form);
  }
  return form;
}

/** Real-address mode knows no error codes. */
const errorOf = (cpu: CpuState, error: number): number => (cpu.realMode ? -1 : error);

export class Intercepts implements VmxHooks {
  private readonly vmx: Vmx;
  /** The row of the last port access that exited, and its form. */
  private lastIo: Row | undefined;
  private lastIoForm = 0;
  constructor(vmx: Vmx) {
    this.vmx = vmx;
  }

  // -------------------------------------------------------------- translation

  translate(cpu: CpuState, gpa: number, access: number, linear: number, walk: boolean): number {
    const { vmx } = this;
    const pointer = vmx.vmcs.readNumber(F.EPT_POINTER);
    const hpa = walkEpt(vmx.ram, pointer, gpa, eptAccess(access, walk, pointer), true);
    if (hpa >= 0) return hpa;
    if (eptFault.failure === 'misconfiguration') {
      note(vmx, E.EXIT_REASON_EPT_MISCONFIG, 0, 0);
    } else {
      note(vmx, E.EXIT_REASON_EPT_VIOLATION, eptFault.qualification | EPT_VIOLATION_GVA_IS_VALID | (walk ? 0 : EPT_VIOLATION_GVA_TRANSLATED) | this.unblockedNmi(cpu), 0);
      vmx.vmcs.storeNumber(F.GUEST_LINEAR_ADDRESS, linear);
    }
    vmx.vmcs.storeNumber(F.GUEST_PHYSICAL_ADDRESS, gpa);
    if (cpu.returnsExits) return EXITED;
    throw VM_EXIT;
  }

  peek(_cpu: CpuState, gpa: number): number {
    return walkEpt(this.vmx.ram, this.vmx.vmcs.readNumber(F.EPT_POINTER), gpa, 0, false);
  }

  // -------------------------------------------------------------- events

  exceptionExits(cpu: CpuState, fault: Fault, type: EventType): boolean {
    const { vmx } = this;
    const v = vmx.vmcs;
    let bit = (v.read32(F.EXCEPTION_BITMAP) >>> fault.vector) & 1;
    if (fault.vector === PF_VECTOR && (fault.error & v.read32(F.PAGE_FAULT_ERROR_CODE_MASK)) !== v.read32(F.PAGE_FAULT_ERROR_CODE_MATCH)) bit ^= 1;
    if (bit === 0) return false;
    const qualification = fault.vector === PF_VECTOR ? fault.address : fault.vector === DB_VECTOR ? fault.dr6 : 0;
    noteEvent(vmx, E.EXIT_REASON_EXCEPTION_NMI, fault.vector, type, errorOf(cpu, fault.error), qualification, fault.length, fault.vector === DF_VECTOR ? 0 : this.unblockedNmi(cpu));
    return true;
  }

  /** "NMI unblocking due to IRET", the same bit in the qualification of EPT violations and in the interruption information. */
  private unblockedNmi(cpu: CpuState): number {
    return cpu.nmiUnblocked && this.vmx.vectoring === 0 && (this.vmx.pinBased & C.PIN_BASED_VIRTUAL_NMIS) !== 0 ? INTR_INFO_UNBLOCK_NMI : 0;
  }

  deliveryBegins(cpu: CpuState, vector: number, type: EventType, error: number, length: number): void {
    const { vmx } = this;
    const known = errorOf(cpu, error);
    vmx.vectoring = (vector | (type << 8) | (known >= 0 ? INTR_INFO_DELIVER_CODE_MASK : 0) | INTR_INFO_VALID_MASK) >>> 0;
    vmx.vectoringError = known >= 0 ? known : 0;
    vmx.vectoringLength = length;
  }

  deliveryEnds(): void {
    this.vmx.vectoring = 0;
  }

  tripleFault(): void {
    this.vmx.vectoring = 0;
    note(this.vmx, E.EXIT_REASON_TRIPLE_FAULT, 0, 0);
  }

  externalInterruptExits(): boolean {
    const { vmx } = this;
    if ((vmx.pinBased & C.PIN_BASED_EXT_INTR_MASK) === 0) return false;
    if ((vmx.vmcs.read32(F.VM_EXIT_CONTROLS) & C.VM_EXIT_ACK_INTR_ON_EXIT) !== 0) {
      noteEvent(vmx, E.EXIT_REASON_EXTERNAL_INTERRUPT, vmx.processor.lapic.acknowledge(), INTR_TYPE_EXT_INTR, -1, 0, 0);
    } else {
      note(vmx, E.EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    }
    return true;
  }

  nmiExits(): boolean {
    const { vmx } = this;
    if ((vmx.pinBased & C.PIN_BASED_NMI_EXITING) === 0) return false;
    vmx.processor.nmiPending = false;
    noteEvent(vmx, E.EXIT_REASON_EXCEPTION_NMI, NMI_VECTOR, INTR_TYPE_NMI_INTR, -1, 0, 0);
    return true;
  }

  // -------------------------------------------------------------- instructions

  quick(): number {
    const { cpuBased, secondary } = this.vmx;
    const time = (cpuBased & C.CPU_BASED_RDTSC_EXITING) !== 0 ? 0 : (secondary & C.SECONDARY_EXEC_ENABLE_RDTSCP) !== 0 ? QUICK_RDTSC | QUICK_RDTSCP : QUICK_RDTSC;
    return (cpuBased & C.CPU_BASED_PAUSE_EXITING) !== 0 ? time : time | QUICK_PAUSE;
  }

  instruction(cpu: CpuState, insn: Insn, reason: number, qualification: bigint): boolean {
    if (!this.exits(cpu, reason)) return false;
    note(this.vmx, reason, Number(BigInt.asIntN(64, qualification)), insn.length);
    this.vmx.vmcs.store32(F.VMX_INSTRUCTION_INFO, instructionInformation(insn, reason));
    return true;
  }

  memoryInstruction(cpu: CpuState, insn: Insn, reason: number): boolean {
    if (!this.exits(cpu, reason)) return false;
    note(this.vmx, reason, insn.mod === 3 ? 0 : insn.disp, insn.length);
    this.vmx.vmcs.store32(F.VMX_INSTRUCTION_INFO, instructionInformation(insn, reason));
    return true;
  }

  private exits(cpu: CpuState, reason: number): boolean {
    const { vmx } = this;
    if (neededBits[reason] !== 0 && (vmx.secondary & neededBits[reason]!) === 0) raise(cpu, UD_VECTOR);
    return unconditional[reason] !== 0 || (vmx.cpuBased & primaryBits[reason]!) !== 0 || (vmx.secondary & secondaryBits[reason]!) !== 0;
  }

  io(cpu: CpuState, insn: Insn, port: number, size: 1 | 2 | 4, out: boolean): boolean {
    const { vmx } = this;
    if (!this.portExits(port, size)) return false;
    if (insn.row !== this.lastIo) {
      this.lastIo = insn.row;
      this.lastIoForm = ioForm(insn.row);
    }
    const form = this.lastIoForm;
    const string = form === IO_STRING;
    const qualification = (size - 1) | (out ? 0 : IO_IN) | form | (string && insn.rep !== 0 ? IO_REP : 0) | (port << 16);
    note(vmx, E.EXIT_REASON_IO_INSTRUCTION, qualification >>> 0, insn.length);
    if (string) {
      vmx.vmcs.storeNumber(F.GUEST_LINEAR_ADDRESS, stringAddress(cpu, insn, out));
      vmx.vmcs.store32(F.VMX_INSTRUCTION_INFO, ioInformation(insn));
    }
    return true;
  }

  private portExits(port: number, size: number): boolean {
    const { vmx } = this;
    if ((vmx.cpuBased & C.CPU_BASED_USE_IO_BITMAPS) === 0) return (vmx.cpuBased & C.CPU_BASED_UNCOND_IO_EXITING) !== 0;
    if (port + size > 0x1_0000) return true;
    for (let p = port; p < port + size; p++) {
      const page = vmx.vmcs.readNumber(p < 0x8000 ? F.IO_BITMAP_A : F.IO_BITMAP_B);
      if (vmx.bit(page, p & 0x7fff)) return true;
    }
    return false;
  }

  readMsr(_cpu: CpuState, insn: Insn, msr: number): boolean {
    if (!this.msrExits(msr, 0)) return false;
    note(this.vmx, E.EXIT_REASON_MSR_READ, 0, insn.length);
    return true;
  }

  writeMsr(_cpu: CpuState, insn: Insn, msr: number): boolean {
    if (!this.msrExits(msr, 2048 * 8)) return false;
    note(this.vmx, E.EXIT_REASON_MSR_WRITE, 0, insn.length);
    return true;
  }

  private msrExits(msr: number, first: number): boolean {
    const { vmx } = this;
    if ((vmx.cpuBased & C.CPU_BASED_USE_MSR_BITMAPS) === 0) return true;
    const page = vmx.vmcs.readNumber(F.MSR_BITMAP);
    if (msr < 0x2000) return vmx.bit(page, first + msr);
    if (msr >>> 0 >= 0xc000_0000 && msr >>> 0 < 0xc000_2000) return vmx.bit(page, first + 1024 * 8 + (msr & 0x1fff));
    return true;
  }

  taskSwitch(_cpu: CpuState, selector: number, source: number, length: number): never {
    note(this.vmx, E.EXIT_REASON_TASK_SWITCH, ((selector & 0xffff) | (source << 30)) >>> 0, length);
    throw VM_EXIT;
  }

  movDr(_cpu: CpuState, insn: Insn, dr: number, write: boolean): boolean {
    if ((this.vmx.cpuBased & C.CPU_BASED_MOV_DR_EXITING) === 0) return false;
    note(this.vmx, E.EXIT_REASON_DR_ACCESS, dr | (write ? 0 : 1 << 4) | (insn.rm << 8), insn.length);
    return true;
  }

  capability(msr: number): bigint | undefined {
    return C.vmxMsrs.get(msr);
  }

  // -------------------------------------------------------------- control registers

  readCr(cpu: CpuState, insn: Insn, cr: number): bigint | undefined {
    const { vmx } = this;
    switch (cr) {
      case 0: return vmx.seenCr(0);
      case 4: return vmx.seenCr(4);
      case 3:
        if ((vmx.cpuBased & C.CPU_BASED_CR3_STORE_EXITING) !== 0) return this.crExit(insn, 3 | CR_MOV_FROM | (insn.rm << 8));
        return cpu.u64[STATE.cr3 >>> 3]!;
      default:
        if ((vmx.cpuBased & C.CPU_BASED_CR8_STORE_EXITING) !== 0) return this.crExit(insn, 8 | CR_MOV_FROM | (insn.rm << 8));
        return (vmx.cpuBased & C.CPU_BASED_TPR_SHADOW) !== 0 ? BigInt(vmx.virtualTpr >> 4) : BigInt(cpu.bus.cr8(cpu));
    }
  }

  writeCr(cpu: CpuState, insn: Insn, cr: number, value: bigint): bigint | undefined {
    const { vmx } = this;
    const v = vmx.vmcs;
    const qualification = cr | CR_MOV_TO | (insn.rm << 8);
    switch (cr) {
      case 0:
      case 4: {
        const mask = v.read64(cr === 0 ? F.CR0_GUEST_HOST_MASK : F.CR4_GUEST_HOST_MASK);
        const shadow = v.read64(cr === 0 ? F.CR0_READ_SHADOW : F.CR4_READ_SHADOW);
        if (((value ^ shadow) & mask) !== 0n) return this.crExit(insn, qualification);
        const own = cpu.u64[(cr === 0 ? STATE.cr0 : STATE.cr4) >>> 3]!;
        const loaded = (value & ~mask) | (own & mask);
        const required = cr === 4 ? C.CR4_FIXED0 : (vmx.secondary & C.SECONDARY_EXEC_UNRESTRICTED_GUEST) !== 0 ? C.CR0_FIXED0_UNRESTRICTED : C.CR0_FIXED0;
        if ((loaded & required) !== required) raise(cpu, GP_VECTOR);
        return loaded;
      }
      case 3:
        if ((vmx.cpuBased & C.CPU_BASED_CR3_LOAD_EXITING) !== 0 && !this.isCr3Target(value)) return this.crExit(insn, qualification);
        return value;
      default:
        if ((vmx.cpuBased & C.CPU_BASED_CR8_LOAD_EXITING) !== 0) return this.crExit(insn, qualification);
        if ((vmx.cpuBased & C.CPU_BASED_TPR_SHADOW) !== 0) vmx.writeVirtualTpr(Number(value & 15n) << 4);
        return value;
    }
  }

  private isCr3Target(value: bigint): boolean {
    const v = this.vmx.vmcs;
    for (let i = v.read32(F.CR3_TARGET_COUNT) - 1; i >= 0; i--) if (v.read64(F.CR3_TARGET_VALUE0 + 2 * i) === value) return true;
    return false;
  }

  clts(_cpu: CpuState, insn: Insn): bigint | undefined {
    const v = this.vmx.vmcs;
    if ((v.read32(F.CR0_GUEST_HOST_MASK) & CR0_TS) === 0) return X86_CR0_TS;
    return (v.read32(F.CR0_READ_SHADOW) & CR0_TS) !== 0 ? this.crExit(insn, CR_CLTS) : 0n;
  }

  smsw(): bigint {
    return this.vmx.seenCr(0);
  }

  lmsw(cpu: CpuState, insn: Insn, value: number): number | undefined {
    const v = this.vmx.vmcs;
    const mask = v.read32(F.CR0_GUEST_HOST_MASK) & 0xf;
    const changes = (value ^ v.read32(F.CR0_READ_SHADOW)) & mask;
    // LMSW can set PE but not clear it.
    if ((changes & 0xe) !== 0 || (changes & value & 1) !== 0) {
      const memory = insn.mod !== 3;
      if (memory) v.storeNumber(F.GUEST_LINEAR_ADDRESS, operandAddress(cpu, insn, 2));
      return this.crExit(insn, (CR_LMSW | (memory ? LMSW_MEMORY : 0) | (value << 16)) >>> 0);
    }
    return (value & 0xf & ~mask) | (cpu.u32[W.cr0]! & mask);
  }

  private crExit(insn: Insn, qualification: number): undefined {
    note(this.vmx, E.EXIT_REASON_CR_ACCESS, qualification, insn.length);
    return undefined;
  }
}
