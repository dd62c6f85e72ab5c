/** Bytes and text. Names and lines are UTF-8, as Linux's tools take them; latin1 keeps one character a byte. */

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Malformed bytes become U+FFFD, each. */
export const fromUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);

/** Every byte as the character of its number: what binary data needs to pass through a string and back. */
export function fromLatin1(bytes: Uint8Array): string {
  let text = '';
  // fromCharCode takes its arguments on the stack, so a long array goes in pieces.
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
}

export const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** The text before the first zero byte: what C's %s prints of a char array. */
export function cString(bytes: Iterable<number>): string {
  const text: number[] = [];
  for (const byte of bytes) {
    if (byte === 0) break;
    text.push(byte);
  }
  return fromUtf8(Uint8Array.from(text));
}

/** A C string of exactly `size` bytes, zero-filled; too long a text is cut, and always ends in a zero byte. */
export function cBytes(text: string, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(utf8(text).subarray(0, size - 1));
  return bytes;
}
