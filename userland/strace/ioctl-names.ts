/**
 * Names and types of ioctl requests, by the whole 32-bit number: everything abi/ declares.
 */
import type { Ioctl } from '../../abi/ioctl.ts';
import * as kvm from '../../abi/kvm/index.ts';
import * as termios from '../../abi/termios.ts';

export interface NamedRequest { readonly name: string; readonly request: Ioctl }

function isRequest(value: unknown): value is Ioctl {
  return typeof value === 'object' && value !== null && 'nr' in value && 'dir' in value && 'arg' in value;
}

const byNumber: ReadonlyMap<number, readonly NamedRequest[]> = (() => {
  const map = new Map<number, NamedRequest[]>();
  for (const [name, value] of [...Object.entries(termios), ...Object.entries(kvm)] as [string, unknown][]) {
    if (!isRequest(value)) continue;
    const list = map.get(value.nr);
    if (list) list.push({ name, request: value });
    else map.set(value.nr, [{ name, request: value }]);
  }
  return map;
})();

/** Every request of that number; strace prints them with "or" between. */
export const requestsOf = (number: number): readonly NamedRequest[] => byNumber.get(number >>> 0) ?? [];
