/**
 * The two guests of `hybrid`: sixteen-bit code at 0x1000 that counts its work at 0x500. How many instructions it has
 * retired follows from the count alone.
 */

export const CODE = 0x1000;
export const COUNTER = 0x500;
export const MEMORY = 0x10000;

export interface Guest {
  readonly name: string;
  readonly does: string;
  readonly code: Uint8Array;
  /** Instructions retired when the counter stands at `count`. */
  instructions(count: number): number;
}

/** Counts, and does nothing that would make it leave guest mode. */
export const busy: Guest = {
  name: 'busy',
  does: 'counts in a loop',
  code: Uint8Array.of(
    0x66, 0xff, 0x06, 0x00, 0x05, // 1000: incl 0x500
    0xeb, 0xf9,                   // 1005: jmp 0x1000
  ),
  instructions: (count) => 2 * count,
};

export const TEXT = 'Hello from guest mode. ';
const PAUSE = 0x4000;

/** Writes a text to the serial port over and over, a pause after each character. */
export const talking: Guest = {
  name: 'talking',
  does: 'writes a character to a serial port every 16,000 instructions',
  code: Uint8Array.of(
    0xba, 0xf8, 0x03,             // 1000: mov $0x3f8, %dx
    0xbe, 0x18, 0x10,             // 1003: mov $text, %si
    0xac,                         // 1006: lodsb
    0x08, 0xc0,                   // 1007: or %al, %al
    0x74, 0xf8,                   // 1009: jz 0x1003
    0xee,                         // 100b: out %al, (%dx)
    0x66, 0xff, 0x06, 0x00, 0x05, // 100c: incl 0x500
    0xb9, PAUSE & 0xff, PAUSE >> 8, // 1011: mov $0x4000, %cx
    0xe2, 0xfe,                   // 1014: loop .
    0xeb, 0xee,                   // 1016: jmp 0x1006
    ...new TextEncoder().encode(TEXT), 0, // 1018: text
  ),
  // Each character takes seven instructions and the pause, each time round the text four more.
  instructions: (count) => count * (7 + PAUSE) + Math.floor(count / TEXT.length) * 4,
};
