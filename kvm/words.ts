/** The bytes under an array of words: writing to one writes to the other. */
export const bytesOfWords = (words: Uint32Array | BigUint64Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
