/** Guests for the chips inside KVM, in 16-bit code, and the program that runs them exit by exit. */
import assert from 'node:assert/strict';
import * as K from '../../abi/kvm/index.ts';
import type { Program, Sys } from '../../abi/process.ts';
import { _start, close, loadBytes, open, readAll, view, writeAll } from '../../userland/libc.ts';
import { run as runSystem } from '../support/boot.ts';
import { Guest, setMode } from '../golden/probe/guest.ts';
import { type Parts, make, mk, rm, supportedCpuid } from '../golden/probe/machine.ts';
import { rawIoctl } from '../golden/probe/recorder.ts';

const le32 = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24];
/** WRMSR of a 64-bit value. */
export const wrmsr = (msr: number, low: number, high = 0): number[] => [0x66, 0xb9, ...le32(msr), 0x66, 0xb8, ...le32(low), 0x66, 0xba, ...le32(high), 0x0f, 0x30];
export const out = (port: number, value: number): number[] => [0xb0, value, 0xe6, port];
export const STI = 0xfb, CLI = 0xfa, HLT = 0xf4, IRET = 0xcf;
export const MSR_APIC_BASE = 0x1b, X2APIC_EOI = 0x80b, X2APIC_SPIV = 0x80f, X2APIC_ICR = 0x830, X2APIC_LVTT = 0x832, X2APIC_TMICT = 0x838, MSR_TSC_DEADLINE = 0x6e0;
/** The local APIC of the first processor on, in x2APIC mode. */
export const apicOn: readonly number[] = [...wrmsr(MSR_APIC_BASE, 0xfee00d00), ...wrmsr(X2APIC_SPIV, 0x1ff)];
/** Both 8259s: vectors 20h and 28h; only these lines of the first let through. */
export const picOn = (mask: number): number[] => [...out(0x20, 0x11), ...out(0x21, 0x20), ...out(0x21, 4), ...out(0x21, 1), ...out(0x21, mask)];

export const ISR = 0x1900, VECTOR = 0x20;

/** A machine with this code at 0x1000 and a handler for VECTOR. */
export function* machine(sys: number, parts: Parts, code: readonly number[], handler: readonly number[]): Sys<Guest> {
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true, ...parts });
  const g = new Guest(m, sys);
  yield* setMode(g, 'real16');
  g.put(0x1000, Uint8Array.from(code));
  g.put(ISR, Uint8Array.from(handler));
  g.put32(VECTOR * 4, ISR);
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 2n, rsp: 0x7000n }));
  return g;
}

/** Runs to the next exit and says it in a word or two. */
export function* next(g: Guest, vcpu = g.m.vcpu, run = g.m.run): Sys<string> {
  const r = yield* rawIoctl(vcpu, K.KVM_RUN.nr, 0);
  if (r !== 0) return `error ${-r}`;
  switch (run.exit_reason) {
    case K.KVM_EXIT_IO: return `out ${run.io.port.toString(16)}`;
    case K.KVM_EXIT_IOAPIC_EOI: return `eoi ${run.eoi.vector.toString(16)}`;
    default: return `exit ${run.exit_reason}`;
  }
}

export const chipsProgram = (body: (sys: number) => Sys): Program => ({
  name: 'chips',
  main: _start(function* main() {
    const sys = yield* open('/dev/kvm', 2);
    yield* body(sys);
    return 0;
  }),
});
/** Runs a user program to its end and returns what it noted. */
export function notes(body: (sys: number, note: (line: string) => void) => Sys, cpus = 2, seconds = 30): string[] {
  const lines: string[] = [];
  const { status, output } = runSystem({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], cpus, seconds });
  assert.equal(status, 0, output);
  return lines;
}
/** The supported CPUID, as `change` makes it. */
export function* setCpuid(sys: number, vcpu: number, change: (e: K.kvm_cpuid_entry2) => void = () => {}): Sys<number> {
  const at = yield* supportedCpuid(sys);
  const n = new DataView(loadBytes(at, 4).buffer).getUint32(0, true);
  for (let i = 0; i < n; i++) change(view(K.kvm_cpuid_entry2, at + 8 + 40 * i));
  return yield* rawIoctl(vcpu, K.KVM_SET_CPUID2.nr, at);
}
/** Stores text in a file that is there. */
export function* writeFile(path: string, text: string): Sys {
  const fd = yield* open(path, 1);
  yield* writeAll(fd, text);
  yield* close(fd);
}
/** A statistics file: each name's values, read by what the file says of itself. */
export function* readStats(fd: number): Sys<Map<string, number[]>> {
  const bytes = yield* readAll(fd);
  const file = new DataView(bytes.buffer, bytes.byteOffset);
  const [, nameSize, count, , descs, data] = Array.from({ length: 6 }, (_, i) => file.getUint32(4 * i, true)) as [number, number, number, number, number, number];
  return new Map(Array.from({ length: count }, (_, i) => {
    const at = descs + i * (16 + nameSize);
    const name = new TextDecoder().decode(bytes.subarray(at + 16, at + 16 + nameSize)).replace(/\0.*$/, '');
    const from = data + file.getUint32(at + 8, true);
    return [name, Array.from({ length: file.getUint16(at + 6, true) }, (__, k) => Number(file.getBigUint64(from + 8 * k, true)))];
  }));
}
export { make, rawIoctl, rm };
