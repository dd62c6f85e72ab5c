/**
 * VMX of one processor: root operation's instructions, as calls of the kernel, and non-root operation, which runs guest
 * code between an entry and an exit. SDM volume 3C, chapters 24 to 29 and 31.
 *
 * The processor's registers are the guest's while `inGuest`; entry and exit swap what the VMCS holds. General registers
 * but RSP, the FPU and most MSRs are nobody's: software swaps them, as on silicon.
 */
import * as C from './controls.ts';
import * as F from './fields.ts';
import {
  INTR_INFO_DELIVER_CODE_MASK, VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID, VMXERR_UNSUPPORTED_VMCS_COMPONENT,
  VMXERR_VMCLEAR_INVALID_ADDRESS, VMXERR_VMCLEAR_VMXON_POINTER, VMXERR_VMLAUNCH_NONCLEAR_VMCS, VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID,
  VMXERR_VMPTRLD_INVALID_ADDRESS, VMXERR_VMPTRLD_VMXON_POINTER, VMXERR_VMRESUME_NONLAUNCHED_VMCS, VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT,
  VMXERR_VMXON_IN_VMX_ROOT_OPERATION, isEptPointer,
} from './entry-checks.ts';
import { enter } from './entry.ts';
import { complete, loadHost, saveSystem } from './exit.ts';
import { Intercepts } from './intercepts.ts';
import { runGuest } from './run.ts';
import { ALL_FIELDS, NO_FIELDS, SAVED_FIELDS, Vmcs, isReadOnly } from './vmcs.ts';
import { STATE, type CpuState } from '../cpu/state.ts';
import type { Costs } from '../costs.ts';
import type { Processor } from '../processor.ts';
import type { Ram } from '../ram.ts';

/** How a VMX instruction ended: VMsucceed, VMfailInvalid (no current VMCS), VMfailValid (its number is in VM_INSTRUCTION_ERROR). */
export type VmxStatus = 'ok' | 'invalid' | 'valid';

export const VMX_EPT_EXTENT_CONTEXT = 1;
export const VMX_EPT_EXTENT_GLOBAL = 2;
export const VMX_VPID_EXTENT_INDIVIDUAL_ADDR = 0;
export const VMX_VPID_EXTENT_SINGLE_CONTEXT = 1;
export const VMX_VPID_EXTENT_ALL_CONTEXT = 2;
export const VMX_VPID_EXTENT_SINGLE_NON_GLOBAL = 3;

export class Vmx {
  readonly processor: Processor;
  readonly cpu: CpuState;
  readonly ram: Ram;
  readonly costs: Costs;
  readonly vmcs: Vmcs;
  readonly intercepts: Intercepts;
  /** Physical address of the VMXON region, -1 outside VMX operation. */
  private region = -1;

  // ---- of the guest that runs; words are signed, which keeps them small integers for V8
  pinBased = 0;
  cpuBased = 0;
  secondary = 0;
  /**
   * VMCS whose guest state is still in the register file, whole and unchanged since its exit; -1 for none. The host's
   * state is loaded only when something but the same guest needs the place: ring 0 is TypeScript and looks at none of it.
   */
  resident = -1;
  hostDue = false;
  /**
   * Hypervisors leave a guest's general registers and FPU in the register file too. This moves them out, when something
   * else needs the place.
   */
  tenant: (() => void) | undefined = undefined;
  /** Since the last entry the TLB was told to forget guests: the next one must look up its tag even for the resident guest. */
  tlbFlushed = false;
  /** The VMCS does not have all of the resident guest's state yet: saveSystemState(). */
  private systemDue = false;
  /** RFLAGS and the high half of RIP as the last exit saved them. */
  exitFlags = 0;
  exitRipHigh = 0;
  /** Fields that VMREAD and VMWRITE may go to straight away. */
  private ready = NO_FIELDS;
  /** An exit has been reported and awaits completion. */
  noted = false;
  /** Entry interruption information still to be delivered. */
  injection = 0;
  /** Debug exceptions that were pending when the guest was entered: DR6 bits. */
  pendingDebug = 0;
  /** The event being delivered, as IDT-vectoring information; 0 for none. */
  vectoring = 0;
  vectoringError = 0;
  vectoringLength = 0;
  preemptionDeadline = Number.POSITIVE_INFINITY;
  /** The virtual TPR fell below the threshold: an exit after the instruction that did it. */
  tprBelowThreshold = false;

  constructor(processor: Processor) {
    this.processor = processor;
    this.cpu = processor.cpu;
    this.ram = processor.machine.ram;
    this.costs = processor.machine.costs;
    this.vmcs = new Vmcs(this.ram);
    this.intercepts = new Intercepts(this);
    this.cpu.vmx = this.intercepts;
  }

  get inGuest(): boolean {
    return this.cpu.inGuest;
  }

  // -------------------------------------------------------------- VMX operation and the VMCS pointer

  vmxon(region: number): VmxStatus {
    if (this.region >= 0) return this.fail(VMXERR_VMXON_IN_VMX_ROOT_OPERATION);
    if (!this.isPage(region) || Vmcs.revision(this.ram, region) !== C.VMCS_REVISION_ID) return 'invalid';
    this.region = region;
    this.processor.machine.startEngine();
    this.unload();
    return 'ok';
  }

  vmxoff(): VmxStatus {
    if (this.region < 0) return 'invalid';
    this.evict();
    this.region = -1;
    this.unload();
    return 'ok';
  }

  vmclear(address: number): VmxStatus {
    if (this.region < 0) return 'invalid';
    if (!this.isPage(address)) return this.fail(VMXERR_VMCLEAR_INVALID_ADDRESS);
    if (address === this.region) return this.fail(VMXERR_VMCLEAR_VMXON_POINTER);
    Vmcs.clear(this.ram, address);
    if (this.vmcs.address === address) {
      this.evict();
      this.unload();
    }
    return 'ok';
  }

  vmptrld(address: number): VmxStatus {
    if (this.region < 0) return 'invalid';
    if (!this.isPage(address)) return this.fail(VMXERR_VMPTRLD_INVALID_ADDRESS);
    if (address === this.region) return this.fail(VMXERR_VMPTRLD_VMXON_POINTER);
    if (Vmcs.revision(this.ram, address) !== C.VMCS_REVISION_ID) return this.fail(VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID);
    if (address === this.vmcs.address) return 'ok';
    this.evict();
    this.vmcs.load(address);
    this.ready = ALL_FIELDS;
    return 'ok';
  }

  /** Physical address of the current VMCS, -1 if there is none: VMPTRST. */
  get current(): number {
    return this.vmcs.address;
  }

  private unload(): void {
    this.vmcs.unload();
    this.ready = NO_FIELDS;
  }

  private isPage(address: number): boolean {
    return address >= 0 && address % 4096 === 0 && address + 4096 <= this.ram.size;
  }

  /** VMfail: the error goes into the current VMCS if there is one. */
  private fail(error: number): VmxStatus {
    if (this.vmcs.address < 0) return 'invalid';
    this.vmcs.store32(F.VM_INSTRUCTION_ERROR, error);
    return 'valid';
  }

  // -------------------------------------------------------------- VMREAD and VMWRITE

  /** VMREAD of the low 32 bits. A field that does not exist reads as 0 and leaves its error. */
  read32(field: number): number {
    const at = this.ready[field]!;
    if (at > 0) return this.vmcs.u32[this.vmcs.word + at]!;
    return this.exists(field) ? this.vmcs.read32(field) : 0;
  }

  read64(field: number): bigint {
    return this.exists(field) ? this.vmcs.read64(field) : 0n;
  }

  /** A field of natural width as a number: exact below 2^53, as physical addresses and qualifications are. */
  readNumber(field: number): number {
    return this.exists(field) ? this.vmcs.readNumber(field) : 0;
  }

  /** High half of a field of 64 bits or natural width. */
  readHigh(field: number): number {
    const at = this.ready[field]!;
    if (at > 0) return this.vmcs.u32[this.vmcs.word + at + 1]!;
    return this.exists(field) ? this.vmcs.readHigh(field) : 0;
  }

  /** A field of natural width as a signed number: exact for every canonical address. */
  readSigned(field: number): number {
    return (this.readHigh(field) | 0) * 0x1_0000_0000 + this.read32(field);
  }

  write32(field: number, value: number): void {
    if (this.isWritable(field)) this.vmcs.write32(field, value);
  }

  write64(field: number, value: bigint): void {
    if (this.isWritable(field)) this.vmcs.write64(field, value);
  }

  writeNumber(field: number, value: number): void {
    if (this.isWritable(field)) this.vmcs.writeNumber(field, value);
  }

  writeHalves(field: number, low: number, high: number): void {
    if (this.isWritable(field)) this.vmcs.writeHalves(field, low, high);
  }

  private exists(field: number): boolean {
    if (this.ready[field]! > 0) return true;
    if (this.vmcs.address >= 0 && ALL_FIELDS[field]! > 0) {
      this.saveSystemState();
      return true;
    }
    this.fail(VMXERR_UNSUPPORTED_VMCS_COMPONENT);
    return false;
  }

  private isWritable(field: number): boolean {
    if (!this.exists(field)) return false;
    if (!isReadOnly(field)) return true;
    this.fail(VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT);
    return false;
  }

  // -------------------------------------------------------------- entry

  vmlaunch(): VmxStatus {
    return this.enterAs(false);
  }

  vmresume(): VmxStatus {
    return this.enterAs(true);
  }

  private enterAs(launched: boolean): VmxStatus {
    const { vmcs } = this;
    if (this.region < 0 || vmcs.address < 0) return 'invalid';
    if (vmcs.launched !== launched) return this.fail(launched ? VMXERR_VMRESUME_NONLAUNCHED_VMCS : VMXERR_VMLAUNCH_NONCLEAR_VMCS);
    // A guest that has just left may have been in a shadow of its own; the host's state is owed then, and has none.
    if (!this.hostDue && (this.cpu.u32[STATE.shadow >>> 2]! & 2) !== 0) return this.fail(VMXERR_ENTRY_EVENTS_BLOCKED_BY_MOV_SS);
    const error = enter(this);
    if (error !== 0) return this.fail(error);
    if (this.inGuest) vmcs.launched = true;
    return 'ok';
  }

  /**
   * Runs guest code until p.limit or a VM exit. After 'limit' the guest is where it was: call again. After 'exit' the
   * exit information is in the VMCS and the processor in root operation.
   */
  run(): 'limit' | 'exit' {
    if (!runGuest(this)) return 'limit';
    complete(this);
    return 'exit';
  }

  /** The register file is needed for something else than the guest that ran last. */
  evict(): void {
    const { tenant } = this;
    this.tenant = undefined;
    tenant?.();
    this.loadHostState();
  }

  /** Puts off no longer what the last exit owes: the host's state in the register file. */
  loadHostState(): void {
    this.saveSystemState();
    this.resident = -1;
    if (!this.hostDue) return;
    this.hostDue = false;
    loadHost(this);
  }

  /** What the last exit left in the register file goes to its VMCS, which is still the current one. */
  saveSystemState(): void {
    if (!this.systemDue) return;
    this.setSystemDue(false);
    saveSystem(this);
  }

  setSystemDue(due: boolean): void {
    this.systemDue = due;
    this.ready = due ? SAVED_FIELDS : ALL_FIELDS;
  }

  // -------------------------------------------------------------- invalidation

  invept(type: number, pointer: bigint): VmxStatus {
    if (this.region < 0) return 'invalid';
    if (type === VMX_EPT_EXTENT_CONTEXT ? !isEptPointer(Number(pointer)) : type !== VMX_EPT_EXTENT_GLOBAL) return this.fail(VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    this.processor.charge(this.costs.invept);
    this.tlbFlushed = true;
    const { tlb } = this.processor.machine.engine;
    if (type === VMX_EPT_EXTENT_CONTEXT) tlb.flushTables(this.cpu, Number(pointer & 0xffff_ffffn), Number(pointer >> 32n));
    else tlb.flushGuests(this.cpu);
    return 'ok';
  }

  invvpid(type: number, vpid: number, linear: bigint): VmxStatus {
    if (this.region < 0) return 'invalid';
    const named = type !== VMX_VPID_EXTENT_ALL_CONTEXT;
    if (type < 0 || type > VMX_VPID_EXTENT_SINGLE_NON_GLOBAL || (named && (vpid < 1 || vpid > 0xffff))) return this.fail(VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    if (type === VMX_VPID_EXTENT_INDIVIDUAL_ADDR && BigInt.asIntN(48, linear) !== BigInt.asIntN(64, linear)) return this.fail(VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID);
    this.tlbFlushed = true;
    this.processor.charge(this.costs.invept);
    const { tlb } = this.processor.machine.engine;
    if (type === VMX_VPID_EXTENT_INDIVIDUAL_ADDR) tlb.flushPage(this.cpu, Number(BigInt.asIntN(64, linear)));
    else if (named) tlb.flushGuest(this.cpu, vpid, type === VMX_VPID_EXTENT_SINGLE_CONTEXT);
    else tlb.flushGuests(this.cpu);
    return 'ok';
  }

  // -------------------------------------------------------------- helpers of entry, exit and intercepts

  /** Bit n of a bitmap page in RAM; outside RAM everything reads as ones. */
  bit(page: number, n: number): boolean {
    return page + 4096 > this.ram.size || ((this.ram.mem.u8[this.ram.base + page + (n >> 3)]! >> (n & 7)) & 1) !== 0;
  }

  /** CR0 or CR4 as the guest sees it. */
  seenCr(cr: 0 | 4): bigint {
    const mask = this.vmcs.read64(cr === 0 ? F.CR0_GUEST_HOST_MASK : F.CR4_GUEST_HOST_MASK);
    const shadow = this.vmcs.read64(cr === 0 ? F.CR0_READ_SHADOW : F.CR4_READ_SHADOW);
    return (this.cpu.u64[(cr === 0 ? STATE.cr0 : STATE.cr4) >>> 3]! & ~mask) | (shadow & mask);
  }

  private get tprOffset(): number {
    return this.ram.base + this.vmcs.readNumber(F.VIRTUAL_APIC_PAGE_ADDR) + 0x80;
  }
  get virtualTpr(): number {
    return this.ram.mem.u8[this.tprOffset]!;
  }

  writeVirtualTpr(value: number): void {
    this.ram.mem.u8[this.tprOffset] = value;
    if (value >> 4 < this.vmcs.read32(F.TPR_THRESHOLD)) {
      this.tprBelowThreshold = true;
      this.cpu.engine.stopSoon(this.cpu);
    }
  }

  /** What to inject: vector, type and error code of the entry's interruption information. */
  get injectionError(): number {
    return (this.injection & INTR_INFO_DELIVER_CODE_MASK) !== 0 ? this.vmcs.read32(F.VM_ENTRY_EXCEPTION_ERROR_CODE) : -1;
  }

  get entryInstructionLength(): number {
    return this.vmcs.read32(F.VM_ENTRY_INSTRUCTION_LEN);
  }
}
