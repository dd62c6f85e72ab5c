/** One guest: its machine, access to its memory, and the processor modes it may start in. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { storeBytes } from '../../../userland/libc.ts';
import type { Mode } from './guests-table.ts';
import { type Machine, make } from './machine.ts';
import { nameOf, rawIoctl } from './recorder.ts';

export type Value = number | string;

/** Descriptors at 0x500: code and data for each mode, ring 3 too, and a TSS. */
const GDT = [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00af9b000000ffffn, 0x00affb000000ffffn, 0x00aff3000000ffffn, 0x00009b000000ffffn, 0x000093000000ffffn, 0x00008b0006000067n, 0n];

/** A machine with a program in it. */
export class Guest {
  readonly m: Machine;
  readonly sys: number;
  /** What the hooks of this exit add to its record. */
  extra: Record<string, Value> = {};
  eventfd = -1;
  constructor(m: Machine, sys: number) {
    this.m = m;
    this.sys = sys;
  }
  put(at: number, data: Uint8Array): void { storeBytes(this.m.mem + at, data); }
  put64(at: number, ...values: bigint[]): void {
    const image = new DataView(new ArrayBuffer(8 * values.length));
    values.forEach((v, i) => { image.setBigUint64(8 * i, v, true); });
    this.put(at, new Uint8Array(image.buffer));
  }
  put32(at: number, value: number): void {
    const image = new DataView(new ArrayBuffer(4));
    image.setUint32(0, value, true);
    this.put(at, new Uint8Array(image.buffer));
  }
  *interrupt(vector: number): Sys<number> { return yield* rawIoctl(this.m.vcpu, K.KVM_INTERRUPT.nr, yield* make(K.kvm_interrupt, { irq: vector })); }
  *sregs(): Sys<K.kvm_sregs> {
    const s = yield* make(K.kvm_sregs);
    yield* rawIoctl(this.m.vcpu, K.KVM_GET_SREGS.nr, s);
    return s;
  }
}

const flat = (code: boolean, l: boolean, db: boolean) => ({ base: 0n, limit: 0xffffffff, selector: code ? 8 : 16, type: code ? 11 : 3, present: 1, dpl: 0, db: db ? 1 : 0, s: 1, l: l ? 1 : 0, g: 1, avl: 0, unusable: 0 });

/** Brings the vCPU into a mode, memory identity-mapped where that has paging. */
export function* setMode(g: Guest, mode: Mode): Sys {
  const s = yield* g.sregs();
  g.put64(0x500, ...GDT);
  g.put64(0x604, 0x6000n);
  if (mode === 'real16') {
    s.cs.base = 0n;
    s.cs.selector = 0;
  } else {
    const long = mode === 'long64';
    const assign = (to: K.kvm_segment, from: ReturnType<typeof flat>) => { Object.assign(to, from); };
    assign(s.cs, flat(true, long, !long));
    if (long) s.cs.selector = 24;
    for (const seg of [s.ds, s.es, s.fs, s.gs, s.ss]) assign(seg, flat(false, false, true));
    s.gdt.base = 0x500n;
    s.gdt.limit = 79;
    s.idt.base = 0x3000n;
    s.idt.limit = 0xfff;
    s.cr0 |= 1n;
    s.tr.base = 0x600n;
    s.tr.limit = 0x67;
    s.tr.selector = 64;
    s.tr.type = 11;
    s.tr.present = 1;
    s.tr.s = 0;
    if (mode !== 'prot32') {
      s.cr3 = 0x10000n;
      s.cr0 = 0x80010011n;
    }
    if (mode === 'paged32') {
      g.put32(0x10000, 0x87);
      s.cr4 = 0x10n;
    } else if (mode === 'pae32') {
      g.put64(0x10000, 0x11001n);
      g.put64(0x11000, 0x87n);
      s.cr4 = 0x20n;
    } else if (long) {
      longTables(g);
      s.cr4 = 0x620n;
      s.efer = 0x500n;
    }
  }
  const r = yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s);
  if (r < 0) g.extra['set_sregs_error'] = nameOf(r);
}
export function longTables(g: Guest): void {
  g.put64(0x10000, 0x11007n);
  g.put64(0x11000, 0x12007n);
  g.put64(0x12000, ...Array.from({ length: 512 }, (_, i) => (BigInt(i) << 21n) | 0x87n));
}

export function gate(g: Guest, mode: Mode, vector: number, offset: number): void {
  if (mode === 'real16') g.put32(vector * 4, offset);
  else {
    const low = BigInt(offset & 0xffff) | ((mode === 'long64' ? 24n : 8n) << 16n) | (0x8en << 40n) | (BigInt(offset >>> 16) << 48n);
    g.put64(0x3000 + vector * (mode === 'long64' ? 16 : 8), low, ...(mode === 'long64' ? [0n] : []));
  }
}
