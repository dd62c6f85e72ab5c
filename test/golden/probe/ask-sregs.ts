/** Questions about control registers, segments and what of them is refused. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { bytes, make, mk, rm } from './machine.ts';
import { type Recorder, rawIoctl } from './recorder.ts';

const LM = 0x80000011n;
/** id, in words, CR0, CR4, EFER, CR3, CS.L, CS.D. */
const STATES: readonly (readonly [string, string, bigint, bigint, bigint, bigint, number, number])[] = [
  ['reset', 'as reset', 0x60000010n, 0n, 0n, 0n, 0, 0], ['pg_nope', 'CR0.PG without PE', 0x80000010n, 0n, 0n, 0n, 0, 0], ['nw_nocd', 'CR0.NW without CD', 0x20000010n, 0n, 0n, 0n, 0, 0],
  ['cr0hi', 'CR0 bit 32', 0x100000010n, 0n, 0n, 0n, 0, 0], ['cr0res', 'CR0 reserved bit 8', 0x110n, 0n, 0n, 0n, 0, 0], ['cr0_no_et', 'CR0=0 (ET clear)', 0n, 0n, 0n, 0n, 0, 0], ['pe', 'PE', 0x11n, 0n, 0n, 0n, 0, 1],
  ['pg32', 'PE|PG no PAE', LM, 0n, 0n, 0n, 0, 1], ['pse', 'PE|PG PSE', LM, 0x10n, 0n, 0x2000n, 0, 1], ['pae', 'PE|PG PAE no LME', LM, 0x20n, 0n, 0x2000n, 0, 1],
  ['lm_ok', 'PG PAE LME LMA cs.l', LM, 0x20n, 0x500n, 0x2000n, 1, 0], ['lm_nolma', 'PG PAE LME without LMA', LM, 0x20n, 0x100n, 0x2000n, 0, 0], ['lm_nopae', 'PG LME LMA without PAE', LM, 0n, 0x500n, 0x2000n, 1, 0],
  ['lma_nopg', 'LMA without PG', 0x11n, 0x20n, 0x500n, 0n, 0, 0], ['lma_nolme', 'LMA without LME, PG', LM, 0x20n, 0x400n, 0x2000n, 0, 0], ['lme_nopg', 'LME without PG', 0x11n, 0x20n, 0x100n, 0n, 0, 1], ['csl_nolm', 'cs.l outside long mode', 0x11n, 0n, 0n, 0n, 1, 0],
  ['csl_csdb', 'cs.l and cs.db in long mode', LM, 0x20n, 0x500n, 0x2000n, 1, 1], ['efer_res', 'EFER bit 1', 0x11n, 0n, 2n, 0n, 0, 1], ['efer_nx', 'EFER.NXE', 0x11n, 0n, 0x800n, 0n, 0, 1], ['efer_sce', 'EFER.SCE', 0x11n, 0n, 1n, 0n, 0, 1],
  ['efer_svme', 'EFER.SVME', 0x11n, 0n, 0x1000n, 0n, 0, 1], ['efer_hi', 'EFER bit 40', 0x11n, 0n, 1n << 40n, 0n, 0, 1], ['cr4_vmxe', 'CR4.VMXE', 0x11n, 0x2000n, 0n, 0n, 0, 1], ['cr4_res31', 'CR4 bit 31', 0x11n, 0x80000000n, 0n, 0n, 0, 1],
  ['cr4_bit15', 'CR4 bit 15', 0x11n, 1n << 15n, 0n, 0n, 0, 1], ['cr4_smep', 'CR4.SMEP', 0x11n, 1n << 20n, 0n, 0n, 0, 1], ['cr4_pcide_nolm', 'CR4.PCIDE without long mode', 0x11n, 1n << 17n, 0n, 0n, 0, 1], ['cr4_osxsave', 'CR4.OSXSAVE', 0x11n, 1n << 18n, 0n, 0n, 0, 1],
  ['cr4_hi', 'CR4 bit 40', 0x11n, 1n << 40n, 0n, 0n, 0, 1], ['cr3_hi', 'long mode CR3 bit 62', LM, 0x20n, 0x500n, (1n << 62n) | 0x2000n, 1, 0], ['cr3_52', 'long mode CR3 bit 52', LM, 0x20n, 0x500n, (1n << 52n) | 0x2000n, 1, 0],
  ['cr3_low', 'long mode CR3 low bits', LM, 0x20n, 0x500n, 0x2fffn, 1, 0], ['cr3_hi32', 'no paging, CR3 bit 40', 0x11n, 0n, 0n, 1n << 40n, 0, 1],
];

export function* askSregs(q: Recorder, sys: number): Sys {
  for (const cpuid of [false, true]) {
    for (const [id, desc, cr0, cr4, efer, cr3, l, db] of STATES) {
      const m = yield* mk(sys, { mem: true, vcpu: true, cpuid });
      const s = yield* make(K.kvm_sregs);
      yield* rawIoctl(m.vcpu, K.KVM_GET_SREGS.nr, s);
      s.cr0 = cr0;
      s.cr4 = cr4;
      s.efer = efer;
      s.cr3 = cr3;
      s.cs.l = l;
      s.cs.db = db;
      yield* q.ask(`sregs.${cpuid ? 'cpuid' : 'nocpuid'}.${id}`, 'vcpu', m.vcpu, 'KVM_SET_SREGS', desc, s);
      yield* rawIoctl(m.vcpu, K.KVM_GET_SREGS.nr, s);
      for (const name of ['cr0', 'cr4', 'efer', 'cr3'] as const) q.x(name, s[name]);
      q.out('l', s.cs.l);
      yield* rm(m);
    }
  }
  yield* askOthers(q, sys);
}

/** One change at a time to the state after creation. */
const CHANGES: readonly (readonly [id: string, desc: string, change: (s: K.kvm_sregs) => void, show?: (q: Recorder, s: K.kvm_sregs) => void])[] = [
  ['apic_base0', 'apic_base=0', (s) => { s.apic_base = 0n; }],
  ['apic_base.x2', 'x2apic bit', (s) => { s.apic_base = 0xfee00d00n; }],
  ['apic_base.extonly', 'EXTD without EN', (s) => { s.apic_base = 0xfee00400n; }],
  ['apic_base.hi', 'reserved bit 60', (s) => { s.apic_base |= 1n << 60n; }],
  ['apic_base.lo', 'reserved bit 0', (s) => { s.apic_base |= 1n; }],
  ['cr8_15', 'cr8=15', (s) => { s.cr8 = 15n; }, (q, s) => { q.out('cr8', Number(s.cr8)); }],
  ['cr8_16', 'cr8=16', (s) => { s.cr8 = 16n; }, (q, s) => { q.out('cr8', Number(s.cr8)); }],
  ['bitmap33', 'interrupt_bitmap bit 33', (s) => { s.interrupt_bitmap.set(0, 1n << 33n); }, (q, s) => { q.hex('bitmap', bytes(s.interrupt_bitmap, 32)); }],
  ['cs_unusable', 'cs.unusable=1', (s) => { s.cs.unusable = 1; }, (q, s) => { q.hex('cs', bytes(s.cs)); }],
  ['padding', 'padding nonzero', (s) => { s.cs.padding = 7; s.gdt.padding.set(0, 9); }, (q, s) => { q.out('pad', s.cs.padding); }],
  ['gdt', 'gdt base/limit', (s) => { s.gdt.limit = 0xffff; s.gdt.base = 0x123456789abcn; }, (q, s) => { q.x('gdt', s.gdt.base); }],
  ['ds_odd', 'ds type 5 not present', (s) => { s.ds.present = 0; s.ds.type = 5; }, (q, s) => { q.hex('ds', bytes(s.ds)); }],
];

function* askOthers(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true });
  const v = m.vcpu;
  const original = yield* make(K.kvm_sregs);
  yield* rawIoctl(v, K.KVM_GET_SREGS.nr, original);
  for (const [id, desc, change, show] of CHANGES) {
    const s = yield* make(K.kvm_sregs);
    K.kvm_sregs.store(s['@space'], s['@base'], K.kvm_sregs.at(original['@space'], original['@base']));
    change(s);
    yield* q.ask(`sregs.${id}`, 'vcpu', v, 'KVM_SET_SREGS', desc, s);
    if (show === undefined) continue;
    const g = yield* make(K.kvm_sregs);
    yield* rawIoctl(v, K.KVM_GET_SREGS.nr, g);
    show(q, g);
  }
  const s2 = yield* make(K.kvm_sregs2);
  yield* q.ask('sregs2.get', 'vcpu', v, 'KVM_GET_SREGS2', '', s2);
  q.x('flags', s2.flags);
  s2.flags = 2n;
  yield* q.ask('sregs2.set.badflags', 'vcpu', v, 'KVM_SET_SREGS2', 'flags=2', s2);
  s2.flags = 1n;
  yield* q.ask('sregs2.set.pdptrs_nopae', 'vcpu', v, 'KVM_SET_SREGS2', 'PDPTRS_VALID without PAE paging', s2);
  const r = yield* make(K.kvm_regs, { rax: 0x1122334455667788n, rsp: 0xfedcba9876543210n, rip: 0x8000000000000000n, rflags: 0xffffffffffffffffn });
  const back = yield* make(K.kvm_regs);
  yield* q.ask('regs.set.rflags_all', 'vcpu', v, 'KVM_SET_REGS', 'rflags=~0 rip non-canonical', r);
  yield* rawIoctl(v, K.KVM_GET_REGS.nr, back);
  q.x('rflags', back.rflags);
  q.x('rip', back.rip);
  r.rflags = 0n;
  yield* q.ask('regs.set.rflags0', 'vcpu', v, 'KVM_SET_REGS', 'rflags=0', r);
  yield* rawIoctl(v, K.KVM_GET_REGS.nr, back);
  q.x('rflags', back.rflags);
  const f = yield* make(K.kvm_fpu, { fcw: 0x27f, mxcsr: 0xffffffff, ftwx: 0x81 });
  const h = yield* make(K.kvm_fpu);
  yield* q.ask('fpu.set.badmxcsr', 'vcpu', v, 'KVM_SET_FPU', 'mxcsr=0xffffffff', f);
  yield* rawIoctl(v, K.KVM_GET_FPU.nr, h);
  for (const name of ['mxcsr', 'fcw', 'ftwx'] as const) q.x(name, h[name]);
  yield* rm(m);
}
