/** Questions about CPUID tables, MSRs and MSR filters. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { addressOf } from '../../../abi/struct.ts';
import { loadBytes, malloc, storeBytes } from '../../../userland/libc.ts';
import { make, mk, rm, supportedCpuid, word64, words } from './machine.ts';
import { type Recorder, rawIoctl } from './recorder.ts';

const ENTRY = 40;
const put32 = (at: number, ...values: number[]): void => storeBytes(at, new Uint8Array(Uint32Array.from(values).buffer));
const get32 = (at: number): number => new Uint32Array(loadBytes(at, 4).buffer)[0]!;

export function* askCpuid(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true });
  const table = yield* malloc(8 + 512 * ENTRY);
  const clear = () => storeBytes(table, new Uint8Array(8 + 512 * ENTRY));
  clear();
  const get = function* get(id: string, desc: string, n: number): Sys {
    put32(table, n);
    yield* q.ask(`cpuid2.get.${id}`, 'vcpu', m.vcpu, 'KVM_GET_CPUID2', desc, table);
    q.out('nent', get32(table));
  };
  yield* get('before', 'nent=10 before SET', 10);
  for (const n of [0, 1, 256, 257, 512, 100000]) {
    clear();
    for (let k = 0; k < 512; k++) put32(table + 8 + k * ENTRY, k);
    put32(table, n);
    const x = yield* mk(sys, { mem: true, vcpu: true });
    yield* q.ask(`cpuid2.set.n${n}`, 'vcpu', x.vcpu, 'KVM_SET_CPUID2', `nent=${n}, leaves 0..`, table);
    yield* rm(x);
  }
  clear();
  put32(table, 2);
  put32(table + 8, 1);
  put32(table + 8 + ENTRY, 1);
  yield* q.ask('cpuid2.set.dup', 'vcpu', m.vcpu, 'KVM_SET_CPUID2', 'duplicate leaf 1', table);
  for (const [width, eax] of [[48, 0x3028], [32, 0x2028], [64, 0x4028], [0, 0x0028]] as const) {
    put32(table, 1);
    put32(table + 8, 0x80000008, 0, 0, eax);
    yield* q.ask(`cpuid2.set.va${width}`, 'vcpu', m.vcpu, 'KVM_SET_CPUID2', `va width ${width}`, table);
  }
  const supported = yield* supportedCpuid(sys);
  yield* q.ask('cpuid2.set.supported', 'vcpu', m.vcpu, 'KVM_SET_CPUID2', "GET_SUPPORTED_CPUID's", supported);
  yield* get('n0', 'nent=0', 0);
  yield* get('n1', 'nent=1', 1);
  yield* get('n256', 'nent=256', 256);
  q.host();
  clear();
  put32(table, 1);
  yield* q.ask('cpuid1.set', 'vcpu', m.vcpu, 'KVM_SET_CPUID', 'nent=1', table);
  put32(table, 300);
  yield* q.ask('cpuid1.set.300', 'vcpu', m.vcpu, 'KVM_SET_CPUID', 'nent=300', table);
  yield* q.ask('cpuid2.null', 'vcpu', m.vcpu, 'KVM_SET_CPUID2', 'NULL', 0);
  yield* rm(m);
  yield* afterRun(q, sys, supported);
}

function* afterRun(q: Recorder, sys: number, supported: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true });
  const s = yield* make(K.kvm_sregs);
  yield* rawIoctl(m.vcpu, K.KVM_GET_SREGS.nr, s);
  s.cs.base = 0n;
  s.cs.selector = 0;
  yield* rawIoctl(m.vcpu, K.KVM_SET_SREGS.nr, s);
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 2n }));
  storeBytes(m.mem + 0x1000, Uint8Array.of(0xf4));
  yield* q.ask('cpuid2.run_first', 'vcpu', m.vcpu, 'KVM_RUN', 'hlt', 0);
  q.out('exit', m.run.exit_reason);
  yield* q.ask('cpuid2.set.same_after_run', 'vcpu', m.vcpu, 'KVM_SET_CPUID2', 'same as before', supported);
  for (let k = 0; k < get32(supported); k++) {
    const at = supported + 8 + k * ENTRY;
    if (get32(at) === 1) put32(at + 20, get32(at + 20) ^ (1 << 20));
  }
  yield* q.ask('cpuid2.set.other_after_run', 'vcpu', m.vcpu, 'KVM_SET_CPUID2', 'SSE4.2 toggled after KVM_RUN', supported);
  yield* rm(m);
}

const READ = [
  0x10, 0x17, 0x1b, 0x2a, 0x3a, 0x3b, 0x48, 0x49, 0x79, 0x8b, 0xc1, 0xce, 0xe7, 0xfe, 0x10a, 0x10f, 0x119, 0x11e, 0x122, 0x140, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x17b, 0x186, 0x198, 0x199, 0x19a, 0x19c, 0x1a0,
  0x1a6, 0x1ad, 0x1c9, 0x1d9, 0x1db, 0x1f2, 0x200, 0x201, 0x250, 0x258, 0x259, 0x268, 0x277, 0x2ff, 0x300, 0x309, 0x345, 0x38d, 0x38f, 0x3f1, 0x400, 0x401, 0x480, 0x48b, 0x4c1, 0x4e0, 0x570, 0x601, 0x606, 0x6e0,
  0x800, 0x802, 0x803, 0x808, 0x830, 0x8ff, 0xda0, 0x40000000, 0x40000001, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d07, 0x4b564dff, 0xc0000080, 0xc0000081, 0xc0000082,
  0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0010000, 0xc0010004, 0xc0010010, 0xc0010015, 0xc001001a, 0xc0010055, 0xc0010058, 0xc0010062, 0xc0010063, 0xc0010064, 0xc0010114,
  0xc0010117, 0xc0010140, 0xc0010200, 0xc001011f, 0xc0011020, 0xc0011021, 0xc0011022, 0xc0011023, 0xc0011029, 0x12345, 0xdeadbeef,
];
/** Answers that are the machine's own. */
const isHost = (msr: number): boolean => [0x10, 0x8b, 0x10a, 0xce, 0x40000001].includes(msr) || (msr >= 0x480 && msr < 0x4c0);
const WRITE: readonly (readonly [number, bigint, string])[] = [
  [0x12345, 1n, 'unknown'], [0xc0000080, 1n, 'EFER=SCE'], [0xc0000080, 2n, 'EFER reserved'], [0xc0000080, 0x500n, 'EFER=LME|LMA, paging off'], [0xc0000082, 0x800000000000n, 'LSTAR non-canonical'], [0xc0000082, 0xffffffff81000000n, 'LSTAR'],
  [0x175, 0x8000000000000000n, 'SYSENTER_ESP non-canonical'], [0xc0000100, 0x123456789abcn, 'FS_BASE'], [0xc0000100, 0x1000000000000n, 'FS_BASE non-canonical'], [0x277, 0x0007040600070406n, 'PAT default'], [0x277, 2n, 'PAT type 2'],
  [0x2ff, 0xc06n, 'MTRRdefType'], [0x2ff, 0xffffn, 'MTRRdefType bad'], [0x250, 0x0606060606060606n, 'MTRR fix64k'], [0x250, 2n, 'MTRR fix bad type'], [0x200, 6n, 'MTRR base'], [0x1b, 0xfee00900n, 'APIC_BASE'], [0x1b, 0xfee00400n, 'APIC_BASE bad'],
  [0x4b564d00, 3n, 'KVM_WALL_CLOCK_NEW'], [0x4b564d01, 0x3001n, 'KVM_SYSTEM_TIME_NEW'], [0x4b564d01, 0x80001n, 'SYSTEM_TIME outside memory'], [0x4b564d02, 0x3001n, 'ASYNC_PF_EN'], [0x4b564d03, 0x3041n, 'STEAL_TIME'],
  [0x4b564d03, 0x3003n, 'STEAL_TIME reserved bits'], [0x4b564d04, 0x3001n, 'PV_EOI without lapic'], [0x10, 0x1000n, 'TSC'], [0x3b, 5n, 'TSC_ADJUST'], [0xc0000103, 7n, 'TSC_AUX'], [0xc0000103, 1n << 32n, 'TSC_AUX high'], [0x17a, 1n, 'MCG_STATUS'],
  [0x17a, 8n, 'MCG_STATUS bad'], [0x400, 0xffffffffffffffffn, 'MC0_CTL all'], [0x401, 1n, 'MC0_STATUS nonzero'], [0x1d9, 0x10000n, 'DEBUGCTL bad'], [0x8b, 0x100000000n, 'UCODE_REV'], [0x79, 1n, 'UCODE_WRITE'], [0x808, 1n, 'x2apic TPR without lapic'],
  [0x174, 0x10n, 'SYSENTER_CS'], [0xc0010015, 0x1000000n, 'HWCR'], [0xc0010015, 2n, 'HWCR bad'], [0x48, 1n, 'SPEC_CTRL'], [0x48, 1n << 40n, 'SPEC_CTRL bad'], [0x49, 1n, 'PRED_CMD'], [0x1a0, 0n, 'MISC_ENABLE=0'], [0xda0, 0n, 'XSS=0'], [0xda0, 1n, 'XSS=1'],
  [0x40000000, 1n, 'HV_GUEST_OS_ID'], [0x3a, 1n, 'FEATURE_CONTROL=1'],
];

export function* askMsrs(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true });
  const at = yield* words(...Array.from({ length: 20 }, () => 0n));
  const prepare = (n: number, ...entries: (readonly [number, bigint])[]) => {
    put32(at, n, 0);
    entries.forEach(([index, data], i) => put32(at + 8 + 16 * i, index, 0, Number(data & 0xffffffffn), Number(data >> 32n)));
  };
  const data = () => word64(at + 16);
  for (const msr of READ) {
    prepare(1, [msr, 0n]);
    yield* q.ask(`msr.get.${msr.toString(16)}`, 'vcpu', m.vcpu, 'KVM_GET_MSRS', `1 x 0x${msr.toString(16)}`, at);
    q.x('data', data());
    if (isHost(msr)) q.host();
  }
  for (const [i, [msr, value, name]] of WRITE.entries()) {
    prepare(1, [msr, value]);
    yield* q.ask(`msr.set.${msr.toString(16)}.${i}`, 'vcpu', m.vcpu, 'KVM_SET_MSRS', `0x${msr.toString(16)}=0x${value.toString(16)} ${name}`, at);
    prepare(1, [msr, 0xdeadn]);
    q.out('get_ret', yield* rawIoctl(m.vcpu, K.KVM_GET_MSRS.nr, at));
    if (msr !== 0x10) q.x('get_data', data());
  }
  prepare(3, [0xc0000081, 0n], [0x12345, 0n], [0xc0000082, 0n]);
  yield* q.ask('msr.set.mid_unknown', 'vcpu', m.vcpu, 'KVM_SET_MSRS', '3, the second unknown', at);
  yield* q.ask('msr.get.mid_unknown', 'vcpu', m.vcpu, 'KVM_GET_MSRS', '3, the second unknown', at);
  put32(at, 0);
  yield* q.ask('msr.get.n0', 'vcpu', m.vcpu, 'KVM_GET_MSRS', 'nmsrs=0', at);
  put32(at, 256);
  yield* q.ask('msr.get.n256', 'vcpu', m.vcpu, 'KVM_GET_MSRS', 'nmsrs=256 (MAX_IO_MSRS)', at);
  put32(at, 257);
  yield* q.ask('msr.set.n257', 'vcpu', m.vcpu, 'KVM_SET_MSRS', 'nmsrs=257', at);
  yield* q.ask('msr.null', 'vcpu', m.vcpu, 'KVM_GET_MSRS', 'NULL', 0);
  yield* askFilter(q, m.vm);
  yield* rm(m);
}

function* askFilter(q: Recorder, vm: number): Sys {
  const bitmap = yield* words(0n, 0n);
  const filter = yield* make(K.kvm_msr_filter);
  const ask = (id: string, desc: string) => q.ask(`msrfilter.${id}`, 'vm', vm, 'KVM_X86_SET_MSR_FILTER', desc, addressOf(filter));
  yield* ask('empty', 'default allow, no ranges');
  filter.flags = 1;
  yield* ask('empty_deny', 'default deny, no ranges');
  filter.flags = 2;
  yield* ask('badflags', 'flags=2');
  filter.flags = 0;
  const range = filter.ranges.get(0);
  range.flags = 3;
  range.nmsrs = 8;
  range.base = 0x10;
  range.bitmap = BigInt(bitmap);
  yield* ask('one', 'deny 0x10..0x17');
  range.flags = 4;
  yield* ask('badrange', 'range flags=4');
  range.flags = 3;
  range.nmsrs = 0x3001 * 8;
  yield* ask('toobig', 'nmsrs too large');
}
