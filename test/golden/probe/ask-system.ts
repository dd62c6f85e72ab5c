/** Questions to /dev/kvm itself: version, VMs, requests on the wrong kind of descriptor, file operations, lists. */
import { O_RDONLY, O_RDWR } from '../../../abi/fcntl.ts';
import * as K from '../../../abi/kvm/index.ts';
import { MAP_PRIVATE, MAP_SHARED } from '../../../abi/mman.ts';
import type { Sys } from '../../../abi/process.ts';
import { __NR_fcntl, __NR_ftruncate, __NR_lseek, __NR_mmap, __NR_munmap, __NR_poll, __NR_read, __NR_write } from '../../../abi/syscalls.ts';
import { close, fstat, loadBytes, malloc, open, pipe, readlink, storeBytes, syscall } from '../../../userland/libc.ts';
import { MMAP_SIZE, make, mk, rm, supportedCpuid, word64, words } from './machine.ts';
import { type Recorder, rawIoctl } from './recorder.ts';

/** Requests nobody knows, and two every file knows. */
const UNKNOWN: readonly (readonly [string, number])[] = [
  ['_IO(KVMIO,0xff)', 0xaeff], ['_IO(KVMIO,0x00)+IOR', 0x8004ae00], ['_IOW(KVMIO,0xf0,u64)', 0x4008aef0], ["_IO('X',1)", 0x5801], ['0', 0], ['TCGETS', 0x5401], ['FIONREAD', 0x541b], ['FIOCLEX', 0x5451], ['FIONBIO', 0x5421],
];
const SYSTEM = 0, VM = 1, VCPU = 2;
/** Requests, and the kind of descriptor that takes them. */
const WRONG: readonly (readonly [string, number])[] = [
  ...['CREATE_VCPU', 'SET_USER_MEMORY_REGION', 'GET_DIRTY_LOG', 'CREATE_IRQCHIP', 'IRQ_LINE', 'GET_IRQCHIP', 'CREATE_PIT2', 'IOEVENTFD', 'IRQFD', 'SET_TSS_ADDR', 'GET_CLOCK'].map((n) => [n, VM] as const),
  ...['RUN', 'GET_REGS', 'SET_REGS', 'GET_SREGS', 'GET_FPU', 'INTERRUPT', 'NMI', 'GET_LAPIC', 'GET_MP_STATE', 'SET_CPUID2', 'GET_CPUID2', 'TRANSLATE', 'GET_DEBUGREGS', 'GET_XSAVE', 'GET_VCPU_EVENTS', 'SET_GUEST_DEBUG', 'SET_SIGNAL_MASK'].map((n) => [n, VCPU] as const),
  ...['GET_SUPPORTED_CPUID', 'GET_EMULATED_CPUID', 'GET_MSR_INDEX_LIST', 'GET_MSR_FEATURE_INDEX_LIST'].map((n) => [n, SYSTEM] as const),
  ['GET_MSRS', VCPU],
];
const MAPPINGS: readonly (readonly [desc: string, length: number, prot: number, flags: number, offset: number])[] = [
  ['len=4096 off=0', 4096, 3, MAP_SHARED, 0], ['len=mmap_size off=0', MMAP_SIZE, 3, MAP_SHARED, 0], ['len=mmap_size+4096 off=0', MMAP_SIZE + 4096, 3, MAP_SHARED, 0],
  ['len=65536*4 off=0', 65536 * 4, 3, MAP_SHARED, 0], ['len=4096 off=4096', 4096, 3, MAP_SHARED, 4096], ['len=4096 off=mmap_size', 4096, 3, MAP_SHARED, MMAP_SIZE], ['len=4096 off=1<<30', 4096, 3, MAP_SHARED, 2 ** 30],
  ['len=4096 off=1 (unaligned)', 4096, 3, MAP_SHARED, 1], ['len=0', 0, 3, MAP_SHARED, 0], ['len=100', 100, 3, MAP_SHARED, 0], ['MAP_PRIVATE', 4096, 3, MAP_PRIVATE, 0], ['PROT_READ', 4096, 1, MAP_SHARED, 0], ['PROT_EXEC', 4096, 7, MAP_SHARED, 0],
];

export function* askSystem(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true });
  const kinds = [['system', sys], ['vm', m.vm], ['vcpu', m.vcpu]] as const;
  const dummy = yield* malloc(4096);
  const zero = () => storeBytes(dummy, new Uint8Array(4096));
  zero();
  for (const [name, op] of [['api_version', 'KVM_GET_API_VERSION'], ['mmap_size', 'KVM_GET_VCPU_MMAP_SIZE']] as const) {
    yield* q.ask(`sys.${name}`, 'system', sys, op, '0', 0);
    yield* q.ask(`sys.${name}.arg1`, 'system', sys, op, '1', 1);
    yield* q.ask(`sys.${name}.on_vm`, 'vm', m.vm, op, '0', 0);
    if (name === 'api_version') yield* q.ask(`sys.${name}.on_vcpu`, 'vcpu', m.vcpu, op, '0', 0);
  }
  for (const [id, desc, type] of [['type1', '1', 1], ['type2', '2', 2], ['typebig', '0xffffffff', 0xffffffff]] as const) yield* q.ask(`sys.create_vm.${id}`, 'system', sys, 'KVM_CREATE_VM', desc, type);
  yield* q.ask('sys.create_vm.on_vm', 'vm', m.vm, 'KVM_CREATE_VM', '0', 0);
  yield* q.ask('sys.create_vm.on_vcpu', 'vcpu', m.vcpu, 'KVM_CREATE_VM', '0', 0);
  const fd = yield* q.ask('sys.create_vm', 'system', sys, 'KVM_CREATE_VM', '0', 0);
  if (fd >= 0) {
    q.out('proc_link', yield* readlink(`/proc/self/fd/${fd}`));
    q.out('cloexec', (yield* syscall(__NR_fcntl, fd, 1)) & 1);
    q.out('acc', (yield* syscall(__NR_fcntl, fd, 3)) & 3);
    yield* close(fd);
  }
  for (const [i, [desc, req]] of UNKNOWN.entries()) for (const [kind, kfd] of kinds) yield* q.ask(`unknown.${kind}.${i}`, kind, kfd, desc, 'zeroed buffer', dummy, req);
  for (const [name, right] of WRONG) {
    for (const [k, [kind, kfd]] of kinds.entries()) {
      if (k === right || (name === 'GET_MSRS' && k === SYSTEM)) continue;
      zero();
      yield* q.ask(`wrongfd.${name}.${kind}`, kind, kfd, `KVM_${name}`, name === 'RUN' ? '0' : 'zeroed buffer', name === 'RUN' ? 0 : dummy);
    }
  }
  for (const [kind, kfd] of kinds) yield* fileOperations(q, kind, kfd, dummy);
  yield* rm(m);
  const ro = yield* open('/dev/kvm', O_RDONLY);
  q.note('open.rdonly', 'none', 'open', 'O_RDONLY', 0);
  yield* q.ask('open.rdonly.api_version', 'system', ro, 'KVM_GET_API_VERSION', '0', 0);
  const rovm = yield* q.ask('open.rdonly.create_vm', 'system', ro, 'KVM_CREATE_VM', '0', 0);
  if (rovm >= 0) yield* close(rovm);
  yield* close(ro);
  yield* q.ask('badfd.api_version', 'none', -1, 'KVM_GET_API_VERSION', '0', 0);
  yield* q.ask('badfd.closed', 'none', 999, 'KVM_RUN', '0', 0);
  const nul = yield* open('/dev/null', O_RDWR);
  yield* q.ask('badfd.devnull', 'none', nul, 'KVM_GET_API_VERSION', '0', 0);
  yield* close(nul);
  const [reader, writer] = yield* pipe();
  yield* q.ask('badfd.pipe', 'none', reader, 'KVM_CREATE_VM', '0', 0);
  yield* close(reader);
  yield* close(writer);
}

function* fileOperations(q: Recorder, kind: string, fd: number, buffer: number): Sys {
  q.note(`fdop.read.${kind}`, kind, 'read', '8 bytes', yield* syscall(__NR_read, fd, buffer, 8));
  q.note(`fdop.write.${kind}`, kind, 'write', '8 bytes', yield* syscall(__NR_write, fd, buffer, 8));
  q.note(`fdop.lseek.${kind}`, kind, 'lseek', '0 SEEK_SET', yield* syscall(__NR_lseek, fd, 0, 0));
  q.note(`fdop.ftruncate.${kind}`, kind, 'ftruncate', '0', yield* syscall(__NR_ftruncate, fd, 0));
  storeBytes(buffer, Uint8Array.of(fd & 0xff, fd >> 8, 0, 0, 5, 0, 0, 0));
  q.note(`fdop.poll.${kind}`, kind, 'poll', 'IN|OUT', yield* syscall(__NR_poll, buffer, 1, 0));
  q.x('revents', loadBytes(buffer + 6, 1)[0]!);
  const st = yield* fstat(fd);
  q.note(`fdop.fstat.${kind}`, kind, 'fstat', '', 0);
  q.x('mode_fmt', st.st_mode & 0o170000);
  q.x('rdev', st.st_rdev);
  q.out('proc_link', yield* readlink(`/proc/self/fd/${fd}`));
  for (const [j, [desc, length, prot, flags, offset]] of MAPPINGS.entries()) {
    const r = yield* syscall(__NR_mmap, 0, length, prot, flags, fd, offset);
    q.note(`fdop.mmap.${kind}.${j}`, kind, 'mmap', desc, r > 0 ? 0 : r);
    if (r > 0) yield* syscall(__NR_munmap, r, length === 0 ? 1 : length);
  }
}

export function* askExtensions(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, {});
  for (let k = 0; k <= 250; k++) {
    yield* q.ask(`ext.sys.${k}`, 'system', sys, 'KVM_CHECK_EXTENSION', String(k), k);
    q.out('vm_ret', yield* rawIoctl(m.vm, K.KVM_CHECK_EXTENSION.nr, k));
    q.host();
  }
  yield* q.ask('ext.sys.big', 'system', sys, 'KVM_CHECK_EXTENSION', '0x7fffffff', 0x7fffffff);
  yield* q.ask('ext.sys.neg', 'system', sys, 'KVM_CHECK_EXTENSION', '-1', -1);
  yield* q.ask('ext.vm.big', 'vm', m.vm, 'KVM_CHECK_EXTENSION', '0x7fffffff', 0x7fffffff);
  yield* rm(m);
}

export function* askLists(q: Recorder, sys: number): Sys {
  const at = yield* malloc(8 + 512 * 40);
  const head = (n: number) => storeBytes(at, new Uint8Array(Uint32Array.of(n, 0).buffer));
  const count = () => new Uint32Array(loadBytes(at, 4).buffer)[0]!;
  for (const n of [0, 1, 2048]) {
    for (const [id, op] of [['msrlist', 'KVM_GET_MSR_INDEX_LIST'], ['featlist', 'KVM_GET_MSR_FEATURE_INDEX_LIST']] as const) {
      head(n);
      yield* q.ask(`${id}.n${n}`, 'system', sys, op, `nmsrs=${n}`, at);
      q.out('nmsrs_after', count());
      q.host();
      if (n === 2048) q.hex('indices', loadBytes(at + 4, 4 * count()));
    }
  }
  yield* q.ask('msrlist.null', 'system', sys, 'KVM_GET_MSR_INDEX_LIST', 'NULL', 0);
  for (const n of [0, 1, 2, 5, 80, 81, 255, 256, 257, 512]) {
    head(n);
    yield* q.ask(`supcpuid.n${n}`, 'system', sys, 'KVM_GET_SUPPORTED_CPUID', `nent=${n}`, at);
    q.out('nent_after', count());
    q.host();
  }
  const table = yield* supportedCpuid(sys);
  yield* q.ask('supcpuid.full', 'system', sys, 'KVM_GET_API_VERSION', '0', 0);
  q.host();
  const entries = new Uint32Array(loadBytes(table, 4).buffer)[0]!;
  q.out('nent', entries);
  q.hex('entries', loadBytes(table + 8, entries * 40));
  for (const n of [0, 256]) {
    head(n);
    yield* q.ask(`emucpuid.n${n}`, 'system', sys, 'KVM_GET_EMULATED_CPUID', `nent=${n}`, at);
    q.out('nent_after', count());
    if (n === 256) q.host();
  }
  yield* q.ask('supcpuid.null', 'system', sys, 'KVM_GET_SUPPORTED_CPUID', 'NULL', 0);
  const msrs = yield* words(1n, 0x10an, 0n, 0n, 0n, 0n, 0n);
  yield* q.ask('sysmsr.arch_cap', 'system', sys, 'KVM_GET_MSRS', '1 x 0x10a', msrs);
  q.host();
  q.x('data', word64(msrs + 16));
  const set = (n: number, index: number) => storeBytes(msrs, new Uint8Array(Uint32Array.of(n, 0, index, 0).buffer));
  set(1, 0x12345);
  yield* q.ask('sysmsr.unknown', 'system', sys, 'KVM_GET_MSRS', '1 x 0x12345', msrs);
  set(0, 0x12345);
  yield* q.ask('sysmsr.zero', 'system', sys, 'KVM_GET_MSRS', 'nmsrs=0', msrs);
  set(100000, 0x12345);
  yield* q.ask('sysmsr.toomany', 'system', sys, 'KVM_GET_MSRS', 'nmsrs=100000', msrs);
  const x = yield* words(0n);
  yield* q.ask('sys.x86_mce_cap', 'system', sys, 'KVM_X86_GET_MCE_CAP_SUPPORTED', '&u64', x);
  q.x('cap', word64(x));
  q.host();
  yield* q.ask('sys.x86_mce_cap.null', 'system', sys, 'KVM_X86_GET_MCE_CAP_SUPPORTED', 'NULL', 0);
  const attr = yield* make(K.kvm_device_attr, { addr: BigInt(x) });
  yield* q.ask('sys.get_attr.xcomp', 'system', sys, 'KVM_GET_DEVICE_ATTR', 'group=0 attr=0 (XCOMP_GUEST_SUPP)', attr);
  q.x('v', word64(x));
  q.host();
  yield* q.ask('sys.has_attr.xcomp', 'system', sys, 'KVM_HAS_DEVICE_ATTR', 'group=0 attr=0', attr);
  attr.group = 9;
  yield* q.ask('sys.has_attr.bad', 'system', sys, 'KVM_HAS_DEVICE_ATTR', 'group=9', attr);
  yield* q.ask('sys.has_attr.set', 'system', sys, 'KVM_SET_DEVICE_ATTR', 'group=9', attr);
}
