/**
 * Memory images for paging-guest.asm: page tables, pages, and a random script that changes the one and touches the other.
 * The script only relies on what the SDM promises: a change that takes something away is followed by INVLPG or a load of
 * CR3 before the address is used again (Vol. 3, 4.10.4); a page that was not present needs none.
 */
import { pagingCode } from './paging-code.ts';

export const MEMORY = 8 << 20;
export const ENTRY = 0x8000;
const SCRIPT = 0x20000, PARAMETERS = 0x7000;
const FRAMES = 0x40_0000, NFRAMES = 128;
export const TEST_VA = 0x4000_0000;
const READ = 0, WRITE = 1, INVLPG = 2, LOAD_CR3 = 3, TOGGLE_WP = 4, TOGGLE_AC = 5, CALL = 6, USER_READ = 7, USER_WRITE = 8, USER_JUMP = 9, END = 10;

export interface PagingMode { readonly name: string; readonly long: boolean; readonly wide: boolean; readonly cr4: number; readonly nx: boolean }
const PSE = 0x10, PAE = 0x20, SMEP = 0x10_0000, SMAP = 0x20_0000;
export const MODES: readonly PagingMode[] = [
  { name: '32-bit',                   long: false, wide: false, cr4: 0,                        nx: false },
  { name: '32-bit with 4 MiB pages',  long: false, wide: false, cr4: PSE,                      nx: false },
  { name: 'PAE',                      long: false, wide: true,  cr4: PAE,                      nx: false },
  { name: 'PAE, NX and SMEP',         long: false, wide: true,  cr4: PAE | SMEP,               nx: true },
  { name: '4-level',                  long: true,  wide: true,  cr4: PAE,                      nx: true },
  { name: '4-level, SMEP and SMAP',   long: true,  wide: true,  cr4: PAE | SMEP | SMAP,        nx: true },
];

/** Numbers below n, the same in each run. */
export function generator(seed: number): (n: number) => number {
  let x = seed * 2654435761 >>> 0;
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 0x1_0000_0000 * n);
  };
}

const P = 1, W = 2, U = 4, PS = 0x80;
const TABLE_A = 0x11_0000, TABLE_B = 0x11_1000;

/** The guest, its tables and its pages, without a script. */
function emptyImage(mode: PagingMode, random: (n: number) => number) {
  const image = new Uint8Array(MEMORY);
  const words = new Uint32Array(image.buffer);
  image.set(pagingCode(mode.long ? 64 : 32), ENTRY);
  const size = mode.wide ? 8 : 4;
  const put = (table: number, i: number, low: number): void => { words[(table + i * size) >>> 2] = low; };

  // The first 2 MiB one to one for ring 0; the page of ring 3's code read-only for both.
  for (let i = 0; i < 512; i++) put(0x10_1000, i, (i << 12) | P | W);
  put(0x10_1000, 9, 0x9000 | P | U);
  const directories = mode.wide ? [0x10_3000, 0x10_6000] : [0x10_0000, 0x10_6000];
  const roots = mode.long ? [0x10_4000, 0x10_5000] : mode.wide ? [0x10_0000, 0x10_7000] : directories;
  const all = P | W | U;
  directories.forEach((directory, i) => {
    const first = mode.wide ? 0 : 256;
    put(directory, first, (i === 0 ? TABLE_A : TABLE_B) | all);
    put(directory, first + 1, (i === 0 ? TABLE_B : TABLE_A) | all);
    if (!mode.wide) return put(directory, 0, 0x10_1000 | all);
    const pointers = mode.long ? (i === 0 ? 0x10_8000 : 0x10_9000) : roots[i]!;
    put(pointers, 0, 0x10_2000 | (mode.long ? all : P));
    put(pointers, 1, directory | (mode.long ? all : P));
    if (mode.long) put(roots[i]!, 0, pointers | all);
  });
  if (mode.wide) put(0x10_2000, 0, 0x10_1000 | all);
  words.set([mode.cr4, roots[0]!, mode.nx || mode.long ? (mode.long ? 0x100 : 0) | (mode.nx ? 0x800 : 0) : 0], PARAMETERS >>> 2);
  for (let frame = 0; frame < NFRAMES; frame++) {
    const at = FRAMES + frame * 4096;
    for (let i = 0; i < 0x700; i += 4) words[(at + i) >>> 2] = random(0x1_0000_0000);
    image[at + 0x800] = 0xc3;
    image.set([0xcd, 0x80], at + 0x810);
  }

  return { image, words, size, put, directories, roots };
}

/** Tables that change, and what is read, written and run through them. */
export function pagingImage(mode: PagingMode, seed: number, length: number): Uint8Array<ArrayBuffer> {
  const random = generator(seed);
  const { image, words, size, directories, roots } = emptyImage(mode, random);
  const script: number[] = [];
  const emit = (what: number, a = 0, b = 0): void => { script.push(what, a, b, 0); };
  const present = new Set<number>();
  /** Any present entry may have been used since. */
  const set = (at: number, low: number, high: number, forget: () => void): void => {
    if (mode.wide) {
      // Not present in between: the halves are two writes.
      if (present.has(at)) {
        emit(WRITE, at, 0);
        forget();
      }
      emit(WRITE, at + 4, high);
    }
    emit(WRITE, at, low);
    if (!mode.wide && (present.has(at) || random(3) === 0)) forget();
    if ((low & P) !== 0) present.add(at);
    else present.delete(at);
  };
  for (const directory of directories) for (const i of [0, 1]) present.add(directory + (mode.wide ? i : 256 + i) * size);
  const span = mode.wide ? 0x20_0000 : 0x40_0000;
  const va = (): number => TEST_VA + random(2) * span + random(12) * 4096;
  const rights = (): number => (random(8) === 0 ? 0 : P) | (random(3) === 0 ? 0 : W) | (random(3) === 0 ? 0 : U) | random(4) * 0x20;
  for (let n = 0; n < length; n++) {
    const what = random(20);
    if (what < 6) {
      const table = random(2) === 0 ? TABLE_A : TABLE_B;
      const i = random(12);
      const high = mode.wide ? (mode.nx && random(6) === 0 ? 0x8000_0000 : 0) | (random(40) === 0 ? 0x8_0000 : 0) : 0;
      // Where the table hangs is not known any more: both places forget.
      set(table + i * size, (FRAMES + random(NFRAMES) * 4096) | rights(), high >>> 0, () => { for (const part of [0, 1]) emit(INVLPG, TEST_VA + part * span + i * 4096); });
    } else if (what === 6) {
      const directory = directories[random(2)]!;
      const large = (mode.wide || (mode.cr4 & PSE) !== 0) && random(3) === 0;
      const target = large ? FRAMES | PS : random(2) === 0 ? TABLE_A : TABLE_B;
      set(directory + ((mode.wide ? 0 : 256) + random(2)) * size, target | rights(), 0, () => { emit(LOAD_CR3, roots[0]!); });
      emit(LOAD_CR3, roots[random(2)]!);
    } else if (what === 7) emit(LOAD_CR3, roots[random(2)]!);
    else if (what === 8) emit(TOGGLE_WP);
    else if (what === 9) emit(TOGGLE_AC);
    else if (what === 10) emit(CALL, va() + 0x800);
    else if (what === 11) emit(USER_JUMP, va() + 0x810);
    else if (what < 15) emit(READ, va() + random(0x1c0) * 4);
    else if (what < 18) emit(WRITE, va() + random(0x1c0) * 4, random(0x1_0000_0000));
    else emit(what === 18 ? USER_READ : USER_WRITE, va() + random(0x1c0) * 4, random(0x1_0000_0000));
  }
  emit(END);
  words.set(script, SCRIPT >>> 2);
  return image;
}

/**
 * Loads where nothing changes: address spaces switched between touches of a few pages, or pages touched in turn that the
 * TLB cannot hold together (the two of a pair lie 4 MiB apart or more).
 */
export function steadyImage(mode: PagingMode, kind: 'switches' | 'misses', length: number): Uint8Array<ArrayBuffer> {
  const { image, words, put, roots } = emptyImage(mode, generator(1));
  for (const table of [TABLE_A, TABLE_B]) for (let i = 0; i < 512; i++) put(table, i, (FRAMES + (i % NFRAMES) * 4096) | P | W | U);
  const script: number[] = [];
  for (let i = 0; i < length; i++) {
    const page = (0x180 + (i % 64)) * 4096;
    if (kind === 'misses') script.push(READ, page, 0, 0, READ, TEST_VA + page, 0, 0);
    else script.push(LOAD_CR3, roots[i & 1]!, 0, 0, READ, TEST_VA + (i % 8) * 4096, 0, 0);
  }
  words.set([...script, END, 0, 0, 0], SCRIPT >>> 2);
  return image;
}
