/**
 * C's integer types as fields of a struct. Those of up to 32 bits read as numbers, 64-bit ones as bigints.
 * A misaligned address is legal, since user space may pass any pointer; it goes byte by byte.
 */
import { type Space, loadBytes, storeBytes } from './space.ts';

/** A C type: how many bytes, and how they read as a value of T. For structs and arrays the value is a view. */
export interface Field<T> {
  /** The type as C spells it. */
  readonly name: string;
  readonly kind: 'scalar' | 'array' | 'flex' | 'struct' | 'union';
  readonly size: number;
  readonly align: number;
  load(space: Space, address: number): T;
  store(space: Space, address: number, value: T): void;
}

type ScalarName = 'u8' | 'u16' | 'u32' | 'u64' | 's8' | 's16' | 's32' | 's64';

export interface Scalar<T extends number | bigint> extends Field<T> {
  readonly name: ScalarName;
  readonly kind: 'scalar';
}

const signExtend = (bits: number, value: bigint) => BigInt.asIntN(bits, value);
const zeroExtend = (bits: number, value: bigint) => BigInt.asUintN(bits, value);

function scalar<T extends number | bigint>(name: ScalarName, size: number, fromBytes: (raw: bigint) => T): Scalar<T> {
  const shift = Math.log2(size);
  return {
    name, kind: 'scalar', size, align: size,
    load: (space, address) => (address & (size - 1)) !== 0 ? fromBytes(loadBytes(space, address, size))
      : space.mem[name][space.resolve(address, false) >>> shift] as T,
    store: (space, address, value) => {
      if ((address & (size - 1)) !== 0) storeBytes(space, address, size, BigInt(value));
      else space.mem[name][space.resolve(address, true) >>> shift] = value;
    },
  };
}
const narrow = (name: ScalarName, size: number) =>
  scalar<number>(name, size, (raw) => Number((name[0] === 's' ? signExtend : zeroExtend)(8 * size, raw)));

export const u8 = narrow('u8', 1);
export const u16 = narrow('u16', 2);
export const u32 = narrow('u32', 4);
export const s8 = narrow('s8', 1);
export const s16 = narrow('s16', 2);
export const s32 = narrow('s32', 4);
export const u64 = scalar<bigint>('u64', 8, (raw) => zeroExtend(64, raw));
export const s64 = scalar<bigint>('s64', 8, (raw) => signExtend(64, raw));
