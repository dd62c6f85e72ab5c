/**
 * A guest that reads and writes where a script says, in each paging mode, and a program around it: for tests of the MMU.
 *
 * The first 4 MiB are slot 0 (code, tables, scripts: never logged); the memory under test is slot 1 at TEST_GPA. Guest
 * addresses are guest-physical ones; pages of the first 4 MiB and of the test memory are mapped one to one.
 */
import * as K from '../../../abi/kvm/index.ts';
import { MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../abi/mman.ts';
import { __NR_madvise } from '../../../abi/syscalls.ts';
import type { Program, Sys } from '../../../abi/process.ts';
import { _start, close, getpid, loadBytes, mmap, open, readFile, storeBytes, syscall, view } from '../../../userland/libc.ts';
import { make, setmem, supportedCpuid, words } from '../../golden/probe/machine.ts';
import { rawIoctl } from '../../golden/probe/recorder.ts';
import { run } from '../../support/boot.ts';

export const HUGE = 2 << 20;
export const TEST_GPA = 0x40_0000;
export const PAGING = ['none', 'paged32', 'pse', 'pae', 'pae2m', 'long', 'long2m'] as const;
export type Paging = (typeof PAGING)[number];

const CODE = 0x1000, TABLES = 0x10_0000, GDT_AT = 0x500;
const SCRIPTS = 0x20_0000, SCRIPT_BYTES = 0x4_0000;
/**
 * next: LODSD; CMP EAX,-1; JE done; TEST AL,1; JNZ read; MOV [EAX],EAX; JMP next; read: MOV EBX,[EAX-1]; JMP next;
 * done: OUT 10h,AL; JMP next
 */
const PROGRAM = [0xad, 0x83, 0xf8, 0xff, 0x74, 0x0f, 0xa8, 0x01, 0x75, 0x04, 0x89, 0x00, 0xeb, 0xf2, 0x8b, 0x58, 0xff, 0xeb, 0xed, 0x90, 0x90, 0xe6, 0x10, 0xeb, 0xe7];

export interface Cpu { readonly id: number; readonly fd: number; readonly run: K.kvm_run; readonly runAt: number }
export interface Vm { readonly sys: number; readonly vm: number; readonly low: number; readonly mem: number; readonly bytes: number; readonly cpus: Cpu[]; readonly paging: Paging }

/** Anonymous memory whose start is aligned to 2 MiB; `huge` asks for it in runs of that size. */
export function* memory(bytes: number, huge: boolean): Sys<number> {
  const at = yield* mmap(0, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const aligned = Math.ceil(at / HUGE) * HUGE;
  if (huge) yield* syscall(__NR_madvise, aligned, bytes, MADV_HUGEPAGE);
  return aligned;
}

const put = (vm: Pick<Vm, 'low'>, at: number, bytes: ArrayLike<number>): void => { storeBytes(vm.low + at, Uint8Array.from(bytes)); };
function put64(vm: Pick<Vm, 'low'>, at: number, values: readonly bigint[]): void { storeBytes(vm.low + at, new Uint8Array(BigUint64Array.from(values).buffer)); }
function put32(vm: Pick<Vm, 'low'>, at: number, values: readonly number[]): void { storeBytes(vm.low + at, new Uint8Array(Uint32Array.from(values).buffer)); }

/** Page tables for `bytes` of memory from 0, one to one. Where they begin is CR3. */
function tables(vm: Pick<Vm, 'low'>, paging: Paging, bytes: number): void {
  const pages = bytes / 4096;
  const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
  if (paging === 'pse') put32(vm, TABLES, numbers(bytes >> 22).map((i) => ((i << 22) | 0x87) >>> 0));
  else if (paging === 'paged32') {
    put32(vm, TABLES, numbers(bytes >> 22).map((i) => TABLES + 0x1000 * (i + 1) + 7));
    put32(vm, TABLES + 0x1000, numbers(pages).map((i) => i * 4096 + 7));
  } else if (paging !== 'none') {
    const large = paging === 'pae2m' || paging === 'long2m';
    const long = paging === 'long' || paging === 'long2m';
    const directories = TABLES + 0x2000;
    put64(vm, TABLES, [BigInt(long ? TABLES + 0x1007 : directories + 1)]);
    if (long) put64(vm, TABLES + 0x1000, [BigInt(directories + 7)]);
    put64(vm, directories, numbers(bytes / HUGE).map((i) => (large ? BigInt(i * HUGE + 0x87) : BigInt(directories + 0x1000 * (i + 1) + 7))));
    if (!large) put64(vm, directories + 0x1000, numbers(pages).map((i) => BigInt(i * 4096 + 7)));
  }
}

function* enter(vm: Vm, cpu: Cpu): Sys {
  const s = yield* make(K.kvm_sregs);
  yield* rawIoctl(cpu.fd, K.KVM_GET_SREGS.nr, s);
  const long = vm.paging.startsWith('long');
  const segment = (to: K.kvm_segment, code: boolean): void => {
    Object.assign(to, { base: 0n, limit: 0xffff_ffff, selector: code ? 8 : 16, type: code ? 11 : 3, present: 1, dpl: 0, db: code && long ? 0 : 1, s: 1, l: code && long ? 1 : 0, g: 1, avl: 0, unusable: 0 });
  };
  segment(s.cs, true);
  for (const seg of [s.ds, s.es, s.fs, s.gs, s.ss]) segment(seg, false);
  Object.assign(s.tr, { base: 0x600n, limit: 0x67, selector: 24, type: 11, present: 1, s: 0 });
  s.gdt.base = BigInt(GDT_AT);
  s.gdt.limit = 31;
  s.cr3 = BigInt(TABLES);
  s.cr0 = vm.paging === 'none' ? 0x11n : 0x8001_0011n;
  s.cr4 = vm.paging === 'pse' ? 0x10n : vm.paging.startsWith('p') && vm.paging !== 'paged32' ? 0x20n : long ? 0x620n : 0n;
  s.efer = long ? 0x500n : 0n;
  const r = yield* rawIoctl(cpu.fd, K.KVM_SET_SREGS.nr, s);
  if (r !== 0) throw new Error(`KVM_SET_SREGS: ${r}`);
}

export interface Options { readonly paging: Paging; readonly bytes: number; readonly huge: boolean; readonly cpus: number; readonly flags?: number; readonly ring?: number; readonly manual?: bigint }

/** A VM with its vCPUs at the start of the program, the memory under test not touched yet. */
export function* create(sys: number, o: Options): Sys<Vm> {
  const fd = yield* rawIoctl(sys, K.KVM_CREATE_VM.nr, 0);
  const low = yield* memory(TEST_GPA, false);
  const mem = yield* memory(o.bytes, o.huge);
  const vm: Vm = { sys, vm: fd, low, mem, bytes: o.bytes, cpus: [], paging: o.paging };
  yield* rawIoctl(fd, K.KVM_SET_IDENTITY_MAP_ADDR.nr, yield* words(0xfffbc000n));
  yield* rawIoctl(fd, K.KVM_SET_TSS_ADDR.nr, 0xfffbd000);
  if (o.ring !== undefined) yield* rawIoctl(fd, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_DIRTY_LOG_RING, args: [BigInt(o.ring)] }));
  if (o.manual !== undefined) yield* rawIoctl(fd, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, args: [o.manual] }));
  yield* setmem(fd, 0, 0, 0n, TEST_GPA, low);
  yield* setmem(fd, 1, o.flags ?? 0, BigInt(TEST_GPA), o.bytes, mem);
  put(vm, CODE, PROGRAM);
  put64(vm, GDT_AT, [0n, vm.paging.startsWith('long') ? 0x00af9b000000ffffn : 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0n]);
  tables(vm, o.paging, TEST_GPA + o.bytes);
  for (let id = 0; id < o.cpus; id++) {
    const vcpu = yield* rawIoctl(fd, K.KVM_CREATE_VCPU.nr, id);
    const runAt = yield* mmap(0, 12288, PROT_READ | PROT_WRITE, 1, vcpu, 0);
    const cpu: Cpu = { id, fd: vcpu, run: view(K.kvm_run, runAt), runAt };
    yield* rawIoctl(vcpu, K.KVM_SET_CPUID2.nr, yield* supportedCpuid(sys));
    yield* enter(vm, cpu);
    vm.cpus.push(cpu);
  }
  return vm;
}

/** What an element of a script does: a write there, or a read. */
export const write = (page: number, offset = 0): number => TEST_GPA + page * 4096 + (offset & ~3);
export const read = (page: number, offset = 0): number => write(page, offset) | 1;

/** Lays a script out for a vCPU, which then runs it by next(). */
export function* begin(vm: Vm, cpu: Cpu, script: readonly number[]): Sys {
  const at = SCRIPTS + cpu.id * SCRIPT_BYTES;
  put32(vm, at, [...script, 0xffff_ffff]);
  yield* rawIoctl(cpu.fd, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: BigInt(CODE), rsi: BigInt(at), rflags: 2n, rsp: 0x8000n }));
}

/** Runs to the next exit. 'done' is the end of the script. */
export function* next(cpu: Cpu): Sys<string> {
  const r = yield* rawIoctl(cpu.fd, K.KVM_RUN.nr, 0);
  if (r !== 0) return `error ${-r}`;
  return cpu.run.exit_reason === K.KVM_EXIT_IO ? 'done' : `exit ${cpu.run.exit_reason}`;
}

/** One counter of the VM from debugfs. */
export function* stat(vm: Vm, name: string): Sys<number> {
  return Number(yield* readFile(`/sys/kernel/debug/kvm/${yield* getpid()}-${vm.vm}/${name}`));
}

export function* destroy(vm: Vm): Sys {
  for (const cpu of vm.cpus) yield* close(cpu.fd);
  yield* close(vm.vm);
}

export const contents = (vm: Vm, page: number): Uint8Array => loadBytes(vm.mem + page * 4096, 4096);

/** Boots, loads the module with these parameters if any, and runs `body` as a program. */
export function inSystem(body: (sys: number) => Sys, params = '', cpus = 2, seconds = 120, ram = 128 << 20): void {
  let failure: unknown;
  const program: Program = {
    name: 'mmu',
    main: _start(function* main() {
      const sys = yield* open('/dev/kvm', 2);
      try {
        yield* body(sys);
      } catch (e) {
        failure = e;
        return 1;
      }
      return 0;
    }),
  };
  const load = params === '' ? '' : `rmmod kvm_intel; modprobe kvm_intel ${params}; `;
  const { status, output } = run({ init: ['-c', `${load}mmu`], programs: [program], cpus, seconds, memory: ram });
  if (failure !== undefined) throw failure;
  if (status !== 0) throw new Error(`status ${status}: ${output}`);
}
