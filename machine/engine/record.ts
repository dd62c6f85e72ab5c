/**
 * A decoded instruction as translated code keeps it: 32 bytes in linear memory, one after another as the code runs.
 * The handler of its form reads everything else from here. Registers are named by their byte offset in cpu_state, so
 * that AH, R15 and "no index" need no case of their own.
 */
export const RECORD_SIZE = 32;
export const REC_HANDLER = 0;   // u32: index in the table of handlers
export const REC_START = 4;     // u16: offset of the instruction in its page
export const REC_END = 6;       // u16: REC_START + length; may exceed 4096
export const REC_IMM = 8;       // u64: immediate, jump displacement, moffs; exec rows: number of the Insn
export const REC_DISP = 16;     // s32
export const REC_LINK = 16;     // u32: direct jumps: record of the target, 0 while unknown
export const REC_REG = 20;      // u16: register of the reg field
export const REC_RM = 22;       // u16: register of the r/m field, base of a memory operand
export const REC_INDEX = 24;    // u16
export const REC_SEG = 26;      // u16: segment register of the memory operand
export const REC_SCALE = 28;    // u8
export const REC_AUX = 29;      // u8: ENTER's level
export const REC_VVVV = 30;     // u16

/** The record in front of a block that may become hot is no instruction: entries left until then, the handler it stands for, the block's key, entries at first. */
export const HEAT_COUNT = 0, HEAT_HANDLER = 4, HEAT_PAGE = 8, HEAT_MODE = 12, HEAT_FIRST = 16;

/** What the slow path is to do: size in the low byte, and these. */
export const ACCESS_WRITE = 0x100;
/** The old value is wanted too: a write that reads first. */
export const ACCESS_MODIFY = 0x200;
/** From bit 16: the slot of the access (tlb.ts). */
export const ACCESS_SLOT_SHIFT = 16;
/** By which segment a fault is reported: bits 12 to 14 its number, if bit 11 is set; else the record's. */
export const ACCESS_SEGMENT = 0x800;
export const accessSegment = (seg: number): number => ACCESS_SEGMENT | seg << 12;
