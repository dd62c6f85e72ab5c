/**
 * A VMCS in its page of RAM. The SDM leaves the layout to the processor (25.2): revision identifier and abort
 * indicator first, the rest as below, reached by VMREAD and VMWRITE alone.
 *
 * Guest segment registers lie exactly as in `cpu_state`, so that entry and exit move all eight in one loop; every
 * other field takes 8 bytes. The current VMCS is a word index into RAM, for this is the hottest data of a VM exit.
 */
import * as fields from './fields.ts';
import { CPU_BASED_INTR_WINDOW_EXITING, CPU_BASED_NMI_WINDOW_EXITING } from './controls.ts';
import { SEGMENT_SIZE } from '../cpu/state.ts';
import type { Ram } from '../ram.ts';

const REVISION = 0;
const LAUNCH_STATE = 8 >> 2;
/** Which checks of VM entry the contents have passed and were not written since. */
const CLEAN = 12 >> 2;
const SEGMENTS = 64;
export const SEGMENT_WORDS = (8 * SEGMENT_SIZE) >> 2;
const FIRST_FREE = SEGMENTS + 8 * SEGMENT_SIZE;

export const CLEAN_CONTROLS = 1;
export const CLEAN_HOST = 2;
export const CLEAN_GUEST = 4;
/** Not a check: an entry is known to load, from the VMCS alone, all that the exit before it would have replaced by the host's. */
export const CLEAN_LOADS_ALL = 8;
export const CLEAN_ALL = CLEAN_CONTROLS | CLEAN_HOST | CLEAN_GUEST | CLEAN_LOADS_ALL;

export const widthOf = (field: number): 2 | 8 | 4 => ([2, 8, 4, 8] as const)[(field >> 13) & 3]!;
/** Whole 64-bit and natural-width fields: bit 13 of the encoding, unless bit 0 asks for the high half alone. */
const isWide = (field: number): boolean => (field & 0x2001) === 0x2000;
export const isReadOnly = (field: number): boolean => ((field >> 10) & 3) === 1;
export const fieldNames: ReadonlyMap<number, string> = new Map(Object.entries(fields).map(([name, encoding]) => [encoding, name]));

/** Word of the page by encoding; 0 where there is no such field. */
const WORD = new Uint16Array(0x7000);
/** Checks a write makes necessary again, by encoding. */
const DIRTIES = new Uint8Array(0x7000);

/** Written around many entries, and checked on each of them: they leave everything else clean. */
const ALWAYS_CHECKED = new Set<number>([
  fields.VM_ENTRY_INTR_INFO_FIELD, fields.VM_ENTRY_EXCEPTION_ERROR_CODE, fields.VM_ENTRY_INSTRUCTION_LEN,
  fields.GUEST_RIP, fields.GUEST_RFLAGS, fields.GUEST_INTERRUPTIBILITY_INFO, fields.GUEST_ACTIVITY_STATE,
]);
/** Likewise these bits of the processor-based controls. */
const ALWAYS_CHECKED_CPU_BASED = CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING;
/** Any value is good. */
const UNCHECKED = new Set<number>([
  fields.EXCEPTION_BITMAP, fields.PAGE_FAULT_ERROR_CODE_MASK, fields.PAGE_FAULT_ERROR_CODE_MATCH, fields.TSC_OFFSET, fields.GUEST_RSP,
  fields.CR0_GUEST_HOST_MASK, fields.CR4_GUEST_HOST_MASK, fields.CR0_READ_SHADOW, fields.CR4_READ_SHADOW, fields.VMX_PREEMPTION_TIMER_VALUE,
  fields.CR3_TARGET_VALUE0, fields.CR3_TARGET_VALUE1, fields.CR3_TARGET_VALUE2, fields.CR3_TARGET_VALUE3, fields.HOST_RSP, fields.HOST_IA32_SYSENTER_CS,
]);

/** Guest state an exit saves at once; the rest stays in the register file until a VMREAD or VMWRITE wants it. */
const SAVED_AT_ONCE = new Set<number>([
  fields.GUEST_CS_BASE, fields.GUEST_CS_LIMIT, fields.GUEST_CS_AR_BYTES, fields.GUEST_CS_SELECTOR,
  fields.GUEST_SS_BASE, fields.GUEST_SS_LIMIT, fields.GUEST_SS_AR_BYTES, fields.GUEST_SS_SELECTOR,
  fields.GUEST_CR0, fields.GUEST_CR3, fields.GUEST_RSP, fields.GUEST_RIP, fields.GUEST_RFLAGS,
  fields.GUEST_INTERRUPTIBILITY_INFO, fields.GUEST_ACTIVITY_STATE, fields.GUEST_PENDING_DBG_EXCEPTIONS,
]);
/** Fields that must not be touched before the rest is saved, by encoding. The exit controls say what is saved. */
const SAVED_LATE = new Uint8Array(0x7000);
SAVED_LATE[fields.VM_EXIT_CONTROLS] = 1;

let free = FIRST_FREE;
for (const field of fieldNames.keys()) {
  WORD[field] = (segmentOffset(field) ?? take()) >> 2;
  if ((field & 0x6000) === 0x2000) WORD[field | 1] = WORD[field]! + 1;
  if (((field >> 10) & 3) === 2 && !SAVED_AT_ONCE.has(field)) SAVED_LATE[field] = 1;
  if (ALWAYS_CHECKED.has(field) || UNCHECKED.has(field)) continue;
  DIRTIES[field] = [CLEAN_ALL, 0, CLEAN_GUEST, CLEAN_HOST][(field >> 10) & 3]!;
}

function take(): number {
  free += 8;
  return free - 8;
}

/** Offset of a part of a guest segment register, which lies in the block of all eight. */
function segmentOffset(field: number): number | undefined {
  const parts = [[fields.GUEST_ES_BASE, 0], [fields.GUEST_ES_LIMIT, 8], [fields.GUEST_ES_AR_BYTES, 12], [fields.GUEST_ES_SELECTOR, 16]] as const;
  for (const [first, offset] of parts) {
    if (field >= first && field < first + 16) return SEGMENTS + ((field - first) >> 1) * SEGMENT_SIZE + offset;
  }
  return undefined;
}

/** Word by encoding of all fields, and of those that hold their value although the rest is still to be saved; 0 for the others. */
export const ALL_FIELDS = WORD;
export const SAVED_FIELDS = WORD.map((word, field) => (SAVED_LATE[field & ~1] === 0 ? word : 0));
export const NO_FIELDS = new Uint16Array(WORD.length);

/** Word of a field in its VMCS: for entry and exit, which touch two dozen of them each time. */
export const wordOf = (field: number): number => WORD[field]!;

/** The current VMCS of a processor. Until `load` it must not be touched. */
export class Vmcs {
  /** Physical address, -1 when there is no current VMCS. */
  address = -1;
  /** Index of its first word in all of memory, which `u32` is. */
  word = 0;
  readonly u32: Uint32Array;
  private readonly ram: Ram;

  constructor(ram: Ram) {
    this.ram = ram;
    this.u32 = ram.mem.u32;
  }

  load(address: number): void {
    this.address = address;
    this.word = (this.ram.base + address) >>> 2;
  }

  unload(): void {
    this.address = -1;
  }

  /** Word index of the block of guest segment registers. */
  get segments(): number {
    return this.word + (SEGMENTS >> 2);
  }

  get launched(): boolean {
    return this.u32[this.word + LAUNCH_STATE] !== 0;
  }
  set launched(value: boolean) {
    this.u32[this.word + LAUNCH_STATE] = value ? 1 : 0;
  }

  get clean(): number {
    return this.u32[this.word + CLEAN]!;
  }
  set clean(value: number) {
    this.u32[this.word + CLEAN] = value;
  }

  read32(field: number): number {
    return this.u32[this.word + WORD[field]!]!;
  }

  /** As the processor stores what it reports or saves: nothing becomes unchecked by it. */
  store32(field: number, value: number): void {
    this.u32[this.word + WORD[field]!] = value;
  }

  read64(field: number): bigint {
    const at = this.word + WORD[field]!;
    return isWide(field) ? (BigInt(this.u32[at + 1]!) << 32n) | BigInt(this.u32[at]!) : BigInt(this.u32[at]!);
  }

  store64(field: number, value: bigint): void {
    const at = this.word + WORD[field]!;
    this.u32[at] = Number(value & 0xffff_ffffn);
    this.u32[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** A field as a number; exact below 2^53. */
  readNumber(field: number): number {
    const at = this.word + WORD[field]!;
    return isWide(field) ? this.u32[at + 1]! * 0x1_0000_0000 + this.u32[at]! : this.u32[at]!;
  }

  /** High half of a 64-bit or natural-width field; only of those. */
  readHigh(field: number): number {
    return this.u32[this.word + WORD[field]! + 1]!;
  }

  storeNumber(field: number, value: number): void {
    const at = this.word + WORD[field]!;
    this.u32[at] = value;
    this.u32[at + 1] = Math.floor(value / 0x1_0000_0000);
  }

  /** Moves a 64-bit field to and from two words of the register file. */
  copyTo(field: number, u32: Uint32Array, index: number): void {
    const at = this.word + WORD[field]!;
    u32[index] = this.u32[at]!;
    u32[index + 1] = this.u32[at + 1]!;
  }
  copyFrom(field: number, u32: Uint32Array, index: number): void {
    const at = this.word + WORD[field]!;
    this.u32[at] = u32[index]!;
    this.u32[at + 1] = u32[index + 1]!;
  }

  /** As VMWRITE stores: the field's width is kept to, and the next entry checks what must be checked. */
  write32(field: number, value: number): void {
    this.writeHalves(field, value, 0);
  }

  write64(field: number, value: bigint): void {
    this.writeHalves(field, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
  }

  writeNumber(field: number, value: number): void {
    this.writeHalves(field, value, Math.floor(value / 0x1_0000_0000));
  }

  writeHalves(field: number, low: number, high: number): void {
    const { u32 } = this;
    const at = this.word + WORD[field]!;
    const old = u32[at]!;
    u32[at] = field < 0x2000 ? low & 0xffff : low;
    let changed = old ^ u32[at]!;
    if (isWide(field)) {
      changed |= u32[at + 1]! ^ high;
      u32[at + 1] = high;
    }
    if (field === fields.CPU_BASED_VM_EXEC_CONTROL) changed &= ~ALWAYS_CHECKED_CPU_BASED;
    const dirty = DIRTIES[field & ~1]!;
    if (changed !== 0 && dirty !== 0) u32[this.word + CLEAN] = u32[this.word + CLEAN]! & ~dirty;
  }

  /** VMCLEAR's effect on a page that need not be current. */
  static clear(ram: Ram, address: number): void {
    const word = (ram.base + address) >>> 2;
    ram.mem.u32[word + LAUNCH_STATE] = 0;
    ram.mem.u32[word + CLEAN] = 0;
  }

  static revision(ram: Ram, address: number): number {
    return ram.mem.u32[((ram.base + address) >>> 2) + (REVISION >> 2)]!;
  }
}
