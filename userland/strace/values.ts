/**
 * How values are written: strings in C's notation, flags by name, structs member by member, as strace writes them.
 */
import * as SIGNAL from '../../abi/signal.ts';
import { shortName } from '../lib/signals.ts';
import type { Names } from '../../abi/syscall-signatures.ts';

/** A string in double quotes; three dots when there is more than is shown. */
export function quoted(bytes: Uint8Array, limit: number, more = bytes.length > limit): string {
  let out = '';
  const shown = bytes.subarray(0, limit);
  for (const [i, b] of shown.entries()) {
    const next = shown[i + 1] ?? 0;
    const digit = next >= 0x30 && next <= 0x37;
    if (b === 0x22 || b === 0x5c) out += `\\${String.fromCharCode(b)}`;
    else if (b >= 0x20 && b < 0x7f) out += String.fromCharCode(b);
    else if (b === 10) out += '\\n';
    else if (b === 9) out += '\\t';
    else if (b === 13) out += '\\r';
    else if (b === 11) out += '\\v';
    else if (b === 12) out += '\\f';
    else out += `\\${digit ? b.toString(8).padStart(3, '0') : b.toString(8)}`;
  }
  return `"${out}"${more ? '...' : ''}`;
}

export const hex = (value: bigint): string => (value === 0n ? '0' : `0x${BigInt.asUintN(64, value).toString(16)}`);
export const pointer = (value: bigint): string => (value === 0n ? 'NULL' : hex(value));
export const signed = (value: bigint): string => BigInt.asIntN(32, value).toString();

const bits = (n: number): number => {
  let count = 0;
  for (let left = n >>> 0; left !== 0; left &= left - 1) count++;
  return count;
};

/** Bits by name, the wider names first; what has none in hexadecimal. */
export function flagNames(value: bigint, names: Names, zero: string | undefined): string {
  let left = Number(BigInt.asUintN(32, value)) >>> 0;
  if (left === 0) return zero ?? names.get(0) ?? '0';
  const out: string[] = [];
  // Access modes are a number in two bits, of which zero is one too.
  if (zero === 'O_RDONLY' && (left & 3) === 0) out.push(zero);
  const byWidth = [...names].filter(([bit]) => bit !== 0).sort(([a], [b]) => bits(b) - bits(a) || (a >>> 0) - (b >>> 0));
  const found: [number, string][] = [];
  for (const [bit, name] of byWidth) {
    if ((left & bit) >>> 0 !== bit >>> 0) continue;
    found.push([bit, name]);
    left = (left & ~bit) >>> 0;
  }
  out.push(...found.sort(([a], [b]) => (a >>> 0) - (b >>> 0)).map(([, name]) => name));
  if (left !== 0) out.push(`0x${left.toString(16)}`);
  return out.join('|');
}

/** Members worth a glance of the structs that are too long for a line. */
const ABBREVIATED: Readonly<Record<string, readonly string[]>> = {
  kvm_regs: ['rax', 'rsp', 'rbp', 'rip', 'rflags'],
  kvm_sregs: ['cs'], kvm_sregs2: ['cs'],
  stat: ['st_mode', 'st_size'],
  utsname: ['sysname', 'nodename'],
  rusage: ['ru_utime', 'ru_stime'],
  siginfo: ['si_signo', 'si_code'],
};
const MOST = 16;

/** A plain value of abi/struct.ts's `plain`: structs in braces, arrays in brackets. `path` is the member it is. */
export function structText(value: unknown, type: string, verbose: boolean, name = ''): string {
  if (typeof value === 'bigint') {
    const address = /(addr|base|offset|^r[a-z0-9]+$|flags|cr\d|efer|phys|mask|data)/.test(name);
    return address || (value > 0xffffn && !/^tv_|sec|size|count|len/.test(name)) ? hex(value) : value.toString();
  }
  if (typeof value === 'number') return name === 'st_mode' ? modeText(value) : /(flags|mask)/.test(name) && value !== 0 ? `0x${value.toString(16)}` : String(value);
  if (Array.isArray(value)) {
    const shown = verbose ? value : value.slice(0, MOST);
    if (value.every((v) => typeof v === 'number') && type === 'utsname') return text(value);
    return `[${shown.map((v) => structText(v, '', verbose, name)).join(', ')}${shown.length < value.length ? ', ...' : ''}]`;
  }
  if (typeof value !== 'object' || value === null) return String(value);
  if (type === 'sigaction') return sigactionText(value as SigactionValues);
  const members = Object.entries(value).filter(([key]) => !/^(_|pad|reserved|padding)/.test(key));
  const wanted = verbose ? undefined : ABBREVIATED[type];
  const parts: string[] = [];
  let left = false;
  for (const [key, member] of members) {
    if (wanted && !wanted.includes(key)) {
      left = true;
      continue;
    }
    if (left && parts.length > 0) parts.push('...');
    left = false;
    parts.push(`${key}=${structText(member, Array.isArray(member) ? type : '', verbose, key)}`);
    if (!verbose && parts.length > MOST) {
      left = true;
      break;
    }
  }
  if (left) parts.push('...');
  return `{${parts.join(', ')}}`;
}

interface SigactionValues { readonly sa_handler: bigint; readonly sa_flags: bigint; readonly sa_mask: bigint }
const SA_FLAGS: ReadonlyMap<number, string> = new Map(Object.entries(SIGNAL).flatMap(([name, value]) => (name.startsWith('SA_') && typeof value === 'number' ? [[value, name] as const] : [])));

const sigactionText = ({ sa_handler, sa_flags, sa_mask }: SigactionValues): string =>
  `{sa_handler=${sa_handler === 0n ? 'SIG_DFL' : sa_handler === 1n ? 'SIG_IGN' : hex(sa_handler)}, sa_mask=${sigsetText(sa_mask)}, sa_flags=${flagNames(sa_flags, SA_FLAGS, '0')}}`;

/** A signal set by short names; one that holds most signals by those it does not. */
export function sigsetText(set: bigint): string {
  const all = Array.from({ length: 64 }, (_, i) => i + 1);
  const has = (n: number): boolean => ((set >> BigInt(n - 1)) & 1n) === 1n;
  const members = all.filter(has);
  return members.length > 32 ? `~[${all.filter((n) => !has(n)).map(shortName).join(' ')}]` : `[${members.map(shortName).join(' ')}]`;
}

const text = (bytes: readonly unknown[]): string => quoted(Uint8Array.from((bytes as number[]).slice(0, bytes.indexOf(0) < 0 ? undefined : bytes.indexOf(0))), 65);

const TYPES: Readonly<Record<number, string>> = {
  0o140000: 'S_IFSOCK', 0o120000: 'S_IFLNK', 0o100000: 'S_IFREG', 0o60000: 'S_IFBLK', 0o40000: 'S_IFDIR', 0o20000: 'S_IFCHR', 0o10000: 'S_IFIFO',
};
const modeText = (mode: number): string => `${TYPES[mode & 0o170000] ?? ''}${TYPES[mode & 0o170000] ? '|' : ''}0${(mode & 0o7777).toString(8)}`;
