/**
 * What the probe writes down: one question a case, with the kernel's answer and what came back.
 */
import { __NR_ioctl } from '../../../abi/syscalls.ts';
import * as K from '../../../abi/kvm/index.ts';
import { errnoName } from '../../../abi/errno.ts';
import type { Ioctl } from '../../../abi/ioctl.ts';
import type { Sys, Word } from '../../../abi/process.ts';
import type { Located } from '../../../abi/struct.ts';
import { syscall, userAddress } from '../../../userland/libc.ts';

export type Out = number | string;
export interface Case { readonly id: string; readonly fd: string; readonly op: string; readonly arg: string; readonly req?: string; readonly ret: number | string; readonly errno: string; out?: Record<string, Out>; host?: boolean }

export type Argument = Word | Located;
const word = (arg: Argument): Word => (typeof arg === 'object' ? userAddress(arg) : arg);
export const nameOf = (r: number): string => (r < 0 ? errnoName(-r) : 'OK');
const makesFd = new Set<number>([K.KVM_CREATE_VM.nr, K.KVM_CREATE_VCPU.nr, K.KVM_GET_STATS_FD.nr]);

/** The number of a request by its name. */
export function request(op: string): number {
  const r = (K as unknown as Record<string, Ioctl | undefined>)[op];
  if (r === undefined || typeof r.nr !== 'number') throw new RangeError(`${op} is no request`);
  return r.nr;
}

/** ioctl(2) as it is: a result, or -errno. */
export const rawIoctl = (fd: number, req: number, arg: Argument): Sys<number> => syscall(__NR_ioctl, fd, req, word(arg));

export class Recorder {
  readonly cases: Case[] = [];

  /** Asks with an ioctl, and records. The request is named by `op`, or given by its number. */
  *ask(id: string, fdType: string, fd: number, op: string, desc: string, arg: Argument, req = request(op)): Sys<number> {
    const r = yield* rawIoctl(fd, req, arg);
    const isFd = r >= 0 && makesFd.has(req);
    this.cases.push({ id, fd: fdType, op, arg: desc, req: `0x${req.toString(16)}`, ret: isFd ? 'fd' : r < 0 ? -1 : r, errno: nameOf(r) });
    return r;
  }
  /** Records the result of any other call. */
  note(id: string, fdType: string, op: string, desc: string, r: number): void {
    this.cases.push({ id, fd: fdType, op, arg: desc, ret: r < 0 ? -1 : r, errno: nameOf(r) });
  }
  out(key: string, value: Out): void { (this.last.out ??= {})[key] = value; }
  hex(key: string, bytes: Uint8Array): void { this.out(key, toHex(bytes)); }
  x(key: string, value: number | bigint): void { this.out(key, `0x${value.toString(16)}`); }
  /** The answer depends on the machine. */
  host(): void { this.last.host = true; }
  private get last(): Case { return this.cases.at(-1)!; }
}
export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
export const fromHex = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (b) => Number.parseInt(b, 16));
