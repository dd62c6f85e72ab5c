/**
 * Tables of ioctl handlers: which requests a descriptor knows, and the copying of their arguments.
 *
 * The number of a request says how large its argument is and which way it goes, so the dispatcher copies in and out
 * and a handler never sees user memory. Requests with a flexible array, whose size is in the data, are bound with
 * `raw` and get the user address. Keys are whole 32-bit numbers: six serials serve two requests each.
 */
import { EFAULT } from '../abi/errno.ts';
import type { Ioctl } from '../abi/ioctl.ts';
import type { Word } from '../abi/process.ts';
import { type Located, type Scalar, type Struct, windowOf } from '../abi/struct.ts';
import { type MaySleep, copy_from_user, copy_to_user } from '../kernel/exports.ts';

export type Answer = number | MaySleep<number>;

export interface row<C> {
  readonly request: Ioctl;
  readonly call: (context: C, arg: Word) => Answer;
}

/** The user address in an argument; one no pointer can be is turned into one that faults. */
export const pointer = (arg: Word): number => {
  const n = Number(arg);
  return n >= 0 && n <= Number.MAX_SAFE_INTEGER ? n : 2 ** 52;
};

/** An integer argument as C's unsigned long; `-1` arrives as 2^64 - 1. */
export const unsigned = (arg: Word): bigint => BigInt.asUintN(64, BigInt(arg));

interface Value { value: bigint | number }

/** A request whose argument is a word, or a struct that the dispatcher copies: the handler gets a view of the kernel's copy. */
export function on<C, T>(request: Ioctl<T>, handler: (context: C, arg: T) => Answer): row<C> {
  const { arg: type, dir } = request;
  if (type === undefined || dir === 'none') return { request: request as Ioctl, call: handler as (context: C, arg: Word) => Answer };
  if (type.kind === 'scalar') return { request: request as Ioctl, call: scalarCall(request as Ioctl, handler as (context: C, arg: never) => Answer) };
  const struct = type as unknown as Struct<Record<string, never>>;
  let spare: Located | undefined;
  const call = (context: C, arg: Word): Answer => {
    const at = pointer(arg);
    const view = spare ?? (struct.make() as unknown as Located);
    spare = undefined;
    const bytes = windowOf(view);
    if (dir !== 'out') {
      if (copy_from_user(bytes, at) !== 0) { spare = view; return -EFAULT; }
    } else bytes.fill(0);
    const answer = handler(context, view as T);
    if (typeof answer !== 'number') return finish(answer, dir === 'in' ? undefined : bytes, at);
    spare = view;
    if (answer >= 0 && dir !== 'in' && copy_to_user(at, bytes) !== 0) return -EFAULT;
    return answer;
  };
  return { request: request as Ioctl, call };
}

/** An _IOR of an integer: the handler gets a box to fill; an _IOW: the integer itself in it. */
function scalarCall<C>(request: Ioctl, handler: (context: C, arg: never) => Answer): (context: C, arg: Word) => Answer {
  const type = request.arg as Scalar<bigint>;
  return (context, arg) => {
    const at = pointer(arg);
    const bytes = new Uint8Array(type.size);
    const words = new DataView(bytes.buffer);
    const box: Value = { value: 0n };
    if (request.dir !== 'out') {
      if (copy_from_user(bytes, at) !== 0) return -EFAULT;
      box.value = type.size === 8 ? words.getBigUint64(0, true) : words.getUint32(0, true);
    }
    const answer = handler(context, box as never);
    if (typeof answer !== 'number' || answer < 0 || request.dir === 'in') return answer;
    if (type.size === 8) words.setBigUint64(0, BigInt(box.value), true);
    else words.setUint32(0, Number(box.value), true);
    return copy_to_user(at, bytes) !== 0 ? -EFAULT : answer;
  };
}

function* finish(answering: MaySleep<number>, out: Uint8Array | undefined, at: number): MaySleep<number> {
  const answer = yield* answering;
  if (answer >= 0 && out !== undefined && copy_to_user(at, out) !== 0) return -EFAULT;
  return answer;
}

/** An integer passed by pointer. */
export const onValue = <C>(request: Ioctl<bigint>, handler: (context: C, box: { value: bigint }) => Answer): row<C> =>
  on(request as unknown as Ioctl<{ value: bigint }>, handler);

/** A request that copies for itself: the handler gets the user address. */
export const raw = <C>(request: Ioctl<never> | Ioctl<unknown>, handler: (context: C, address: number) => Answer): row<C> =>
  ({ request: request as Ioctl, call: (context, arg) => handler(context, pointer(arg)) });

export type ioctl_table<C> = ReadonlyMap<number, row<C>>;

export function ioctlTable<C>(...rows: row<C>[]): ioctl_table<C> {
  const table = new Map<number, row<C>>();
  for (const r of rows) {
    if (table.has(r.request.nr)) throw new Error(`request 0x${r.request.nr.toString(16)} is bound twice`);
    table.set(r.request.nr, r);
  }
  return table;
}
