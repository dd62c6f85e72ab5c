/**
 * The MSR areas of entry and exit: lists of 16-byte entries (number, reserved, value) in RAM. SDM 27.4 and 28.4, 28.6
 * (26.4, 27.4 and 27.6 in older editions).
 */
import { Fault } from '../cpu/exceptions.ts';
import { readMsr, writeMsr } from '../cpu/msrs.ts';
import type { Vmx } from './vmx.ts';

const MSR_FS_BASE = 0xc000_0100;
const MSR_GS_BASE = 0xc000_0101;
const isX2apic = (msr: number): boolean => msr >>> 8 === 8;

/** Loads a list. Returns 0, or the position of the first entry that cannot be loaded, counted from 1. */
export function loadMsrs(vmx: Vmx, count: number, address: number): number {
  const n = vmx.vmcs.read32(count);
  const base = vmx.vmcs.readNumber(address);
  for (let i = 0; i < n; i++) if (!loadMsr(vmx, base + 16 * i)) return i + 1;
  return 0;
}

function loadMsr(vmx: Vmx, entry: number): boolean {
  if (entry + 16 > vmx.ram.size) return false;
  const { u32, u64 } = vmx.ram.mem;
  const at = (vmx.ram.base + entry) >>> 2;
  const number = u32[at]!;
  if (u32[at + 1] !== 0 || number === MSR_FS_BASE || number === MSR_GS_BASE || isX2apic(number)) return false;
  try {
    return writeMsr(vmx.cpu, number, u64[(at >>> 1) + 1]!);
  } catch (e) {
    if (e instanceof Fault) return false;
    throw e;
  }
}

/** Stores a list; what cannot be read stays as it is (on silicon the processor would go into VMX abort). */
export function storeMsrs(vmx: Vmx, count: number, address: number): void {
  const n = vmx.vmcs.read32(count);
  const base = vmx.vmcs.readNumber(address);
  for (let i = 0; i < n && base + 16 * i + 16 <= vmx.ram.size; i++) {
    const at = (vmx.ram.base + base + 16 * i) >>> 2;
    const value = readMsr(vmx.cpu, vmx.ram.mem.u32[at]!);
    if (value !== undefined) vmx.ram.mem.u64[(at >>> 1) + 1] = value;
  }
}
