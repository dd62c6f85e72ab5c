/**
 * A user program that makes the KVM calls it is given, whatever they are, on all three kinds of descriptors. Calls come
 * in batches from the test; a child process makes them and exits, and the parent counts what the kernel then holds.
 * Each vCPU has a thread that runs it all the while, over memory that the calls write, move and take away.
 */
import * as K from '../../abi/kvm/index.ts';
import { MAP_ANONYMOUS, MAP_SHARED } from '../../abi/mman.ts';
import type { Ioctl } from '../../abi/ioctl.ts';
import type { Program, Sys } from '../../abi/process.ts';
import { SIGALRM, SIGUSR1 } from '../../abi/signal.ts';
import { itimerval } from '../../abi/time.ts';
import { __NR_close, __NR_ioctl, __NR_mmap, __NR_munmap, __NR_setitimer, __NR_tgkill } from '../../abi/syscalls.ts';
import { addressOf } from '../../abi/struct.ts';
import { _start, alloc, arm, close, fork, getpid, malloc, mmap, nanosleep, open, pthread_create, readFile, readdir, sigaction, storeBytes, syscall, wait4 } from '../../userland/libc.ts';

/** One call: which descriptor (by kind and number), which request, and how its argument is made. */
export interface Call { readonly kind: 'system' | 'vm' | 'vcpu'; readonly which: number; readonly request: number; readonly argument: number; readonly noise: Uint8Array }

const isRequest = (x: unknown): x is Ioctl => typeof x === 'object' && x !== null && 'nr' in x && 'dir' in x;
/** Every request there is; KVM_RUN apart, because a run takes time. */
export const requests: readonly Ioctl[] = (Object.values(K) as unknown[]).filter(isRequest).filter((r) => r.nr !== K.KVM_RUN.nr);
/** Requests with an argument that is good as it is: reading state, or writing back what was read. */
const READS = [K.KVM_GET_REGS, K.KVM_GET_SREGS, K.KVM_GET_FPU, K.KVM_GET_VCPU_EVENTS, K.KVM_GET_DEBUGREGS, K.KVM_GET_XSAVE, K.KVM_GET_XCRS, K.KVM_GET_MP_STATE, K.KVM_GET_SREGS2] as readonly Ioctl[];
const PAIRS = [[K.KVM_GET_REGS, K.KVM_SET_REGS], [K.KVM_GET_SREGS, K.KVM_SET_SREGS], [K.KVM_GET_FPU, K.KVM_SET_FPU], [K.KVM_GET_VCPU_EVENTS, K.KVM_SET_VCPU_EVENTS], [K.KVM_GET_XSAVE, K.KVM_SET_XSAVE], [K.KVM_GET_MP_STATE, K.KVM_SET_MP_STATE], [K.KVM_GET_LAPIC, K.KVM_SET_LAPIC]] as readonly (readonly [Ioctl, Ioctl])[];

/** How an argument is made: a good call of the kind, noise in a buffer, a bad pointer, a number. */
export const GOOD = 0, NOISE = 1, BAD_POINTER = 2, NUMBER = 3, RUN = 4, CREATE = 5, CLOSE = 6;
const MAX_FDS = 4;

/** `runs` counts the KVM_RUNs of the runner threads, `exits` those that came back with an exit. */
export interface Fuzz { batch: readonly Call[] | undefined; end: boolean; calls: number; succeeded: number; runs: number; exits: number; before: string; after: string }

/** What vCPUs start in: sti; inc byte [0x2000]; out 0x80,al; mov [bx+0x1234],ax; int3; hlt; and again, noise behind it. */
const GUEST = [0xfb, 0xfe, 0x06, 0x00, 0x20, 0xe6, 0x80, 0x89, 0x87, 0x34, 0x12, 0x43, 0xf4, 0xeb, 0xf1];

/** What the kernel holds: free frames, tasks, module references, VMs. */
export function* holdings(): Sys<string> {
  const memory = /MemFree:\s*(\d+)/.exec(yield* readFile('/proc/meminfo'))?.[1];
  const modules = (yield* readFile('/proc/modules')).split('\n').map((line) => line.split(' ').slice(0, 3).join(' ')).join(';');
  const tasks = (yield* readdir('/proc')).filter((e) => /^\d+$/.test(e.d_name)).length;
  const vms = (yield* readdir('/sys/kernel/debug/kvm')).filter((e) => /^\d+-\d+$/.test(e.d_name)).length;
  return `MemFree ${memory} kB, ${tasks} tasks, ${vms} VMs, modules ${modules}`;
}

class Caller {
  readonly fuzz: Fuzz;
  readonly sys: number;
  readonly buffer: number;
  readonly memory: number;
  readonly vms: number[] = [];
  readonly vcpus: { fd: number; run: number }[] = [];
  readonly runners: number[] = [];
  constructor(fuzz: Fuzz, sys: number, buffer: number, memory: number) {
    this.fuzz = fuzz;
    this.sys = sys;
    this.buffer = buffer;
    this.memory = memory;
  }

  *ioctl(fd: number, request: number, arg: number | bigint): Sys<number> {
    arm(__NR_ioctl, fd, request, arg);
    const r = yield;
    this.fuzz.calls++;
    if (r >= 0) this.fuzz.succeeded++;
    return r;
  }

  /** Runs the vCPU again and again; what a closed or reused descriptor gives is as good as any. */
  *runner(fd: number): Sys<number> {
    const { fuzz } = this;
    while (!fuzz.end) {
      arm(__NR_ioctl, fd, K.KVM_RUN.nr, 0);
      const r = yield;
      fuzz.runs++;
      if (r === 0) fuzz.exits++;
      yield* nanosleep(r === 0 ? 2000n : 20_000n);
    }
    return 0;
  }

  /** A signal for each thread, so that none stays in its vCPU for long. */
  *kicker(): Sys<number> {
    const pid = yield* getpid();
    while (!this.fuzz.end) {
      for (const tid of [pid, ...this.runners]) yield* syscall(__NR_tgkill, pid, tid, SIGUSR1);
      yield* nanosleep(20_000n);
    }
    return 0;
  }

  *call(c: Call): Sys {
    const vm = this.vms[c.which % Math.max(1, this.vms.length)];
    const vcpu = this.vcpus[c.which % Math.max(1, this.vcpus.length)];
    if (c.argument === CREATE || vm === undefined || vcpu === undefined) return yield* this.create(c, vm);
    if (c.argument === CLOSE) return yield* this.close(c);
    const fd = c.kind === 'system' ? this.sys : c.kind === 'vm' ? vm : vcpu.fd;
    if (c.argument === RUN) return yield* this.run(vcpu.fd);
    if (c.argument === GOOD) return yield* this.good(c, vm, vcpu.fd);
    storeBytes(this.buffer, c.noise);
    const request = requests[c.request % requests.length]!;
    // A mask without SIGUSR1: with it a guest in a loop would keep its vCPU for good, on Linux too.
    if (request.nr === K.KVM_SET_SIGNAL_MASK.nr) storeBytes(this.buffer, Uint8Array.of(8, 0, 0, 0, c.noise[4]!, c.noise[5]! & ~2));
    const word = c.argument === NOISE ? this.buffer : c.argument === BAD_POINTER ? 0x7fff_0000_0000 + c.which : c.noise[0]! * 0x10001;
    const r = yield* this.ioctl(fd, request.nr, word);
    if (r > 2 && (request.nr === K.KVM_CREATE_VM.nr || request.nr === K.KVM_CREATE_VCPU.nr || request.nr === K.KVM_GET_STATS_FD.nr)) yield* close(r);
  }

  /** A call that has every reason to succeed. */
  *good(c: Call, vm: number, vcpu: number): Sys {
    const { buffer } = this;
    if (c.kind === 'system') {
      yield* this.ioctl(this.sys, K.KVM_CHECK_EXTENSION.nr, c.request);
      yield* this.ioctl(vm, K.KVM_CHECK_EXTENSION.nr, c.request);
    } else if (c.kind === 'vm') {
      const slot = c.which % 8;
      const image = new DataView(new ArrayBuffer(32));
      image.setUint32(0, slot, true);
      image.setUint32(4, c.request & 1, true);
      image.setBigUint64(8, BigInt(slot * 0x10000), true);
      image.setBigUint64(16, c.request % 5 === 0 ? 0n : 0x10000n, true);
      image.setBigUint64(24, BigInt(this.memory + slot * 0x10000), true);
      storeBytes(buffer, new Uint8Array(image.buffer));
      yield* this.ioctl(vm, K.KVM_SET_USER_MEMORY_REGION.nr, buffer);
      yield* this.ioctl(vm, K.KVM_GET_CLOCK.nr, buffer);
    } else if (c.request % 3 === 0) yield* this.ioctl(vcpu, READS[c.request % READS.length]!.nr, buffer);
    else {
      const [get, set] = PAIRS[c.request % PAIRS.length]!;
      yield* this.ioctl(vcpu, get.nr, buffer);
      // Sometimes with a byte changed, to get into states nobody plans.
      if (c.request % 4 === 0) storeBytes(buffer + c.noise[1]! + c.noise[2]!, c.noise.subarray(0, 2));
      yield* this.ioctl(vcpu, set.nr, buffer);
    }
  }

  *run(vcpu: number): Sys {
    yield* timer(60);
    yield* this.ioctl(vcpu, K.KVM_RUN.nr, 0);
    yield* timer(0);
  }

  *create(c: Call, vm: number | undefined): Sys {
    if (this.vms.length < MAX_FDS && (vm === undefined || c.which % 2 === 0)) {
      const fd = yield* this.ioctl(this.sys, K.KVM_CREATE_VM.nr, 0);
      if (fd < 0) return;
      this.vms.push(fd);
      // Half of the machines with chips inside KVM, some with a timer.
      if (c.request % 2 === 0) yield* this.ioctl(fd, K.KVM_CREATE_IRQCHIP.nr, 0);
      storeBytes(this.buffer, new Uint8Array(64));
      if (c.request % 4 === 0) yield* this.ioctl(fd, K.KVM_CREATE_PIT2.nr, this.buffer);
    } else if (vm !== undefined && this.vcpus.length < MAX_FDS) {
      const fd = yield* this.ioctl(vm, K.KVM_CREATE_VCPU.nr, c.request % 16);
      if (fd < 0) return;
      const run = yield* syscall(__NR_mmap, 0, 12288, 3, MAP_SHARED, fd, 0);
      this.vcpus.push({ fd, run });
      yield* this.start(fd);
    } else yield* this.close(c);
  }

  /** Lets the vCPU start at address 0, and a thread run it, up to MAX_FDS threads. */
  *start(fd: number): Sys {
    yield* this.ioctl(fd, K.KVM_GET_SREGS.nr, this.buffer);
    storeBytes(this.buffer, new Uint8Array(16));
    storeBytes(this.buffer + 12, new Uint8Array(2));
    yield* this.ioctl(fd, K.KVM_SET_SREGS.nr, this.buffer);
    const regs = new Uint8Array(144);
    regs[136] = 2;
    storeBytes(this.buffer, regs);
    yield* this.ioctl(fd, K.KVM_SET_REGS.nr, this.buffer);
    if (this.runners.length >= MAX_FDS) return;
    const runner = this.runner.bind(this, fd);
    this.runners.push((yield* pthread_create(runner, 'runner')).tid);
  }

  *close(c: Call): Sys {
    if (c.which % 2 === 0 && this.vms.length > 0) yield* syscall(__NR_close, this.vms.splice(c.which % this.vms.length, 1)[0]!);
    else if (this.vcpus.length > 0) {
      const { fd, run } = this.vcpus.splice(c.which % this.vcpus.length, 1)[0]!;
      if (run > 0 && c.request % 2 === 0) yield* syscall(__NR_munmap, run, 12288);
      yield* syscall(__NR_close, fd);
    }
  }
}

function* timer(us: number): Sys {
  const t = yield* alloc(itimerval);
  t.it_value.tv_usec = BigInt(us);
  t.it_interval.tv_usec = BigInt(us);
  yield* syscall(__NR_setitimer, 0, addressOf(t), 0);
}

function* child(fuzz: Fuzz): Sys<number> {
  yield* sigaction(SIGALRM, function* ignore() {});
  yield* sigaction(SIGUSR1, function* ignore() {});
  const sys = yield* open('/dev/kvm', 2);
  const buffer = yield* malloc(1 << 16);
  storeBytes(buffer, new Uint8Array(1 << 16));
  const memory = yield* mmap(0, 1 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (let at = 0; at < 1 << 20; at += 0x400) storeBytes(memory + at, Uint8Array.from({ length: 64 }, (_, i) => GUEST[i] ?? at * 31 + i * 17 & 0xff));
  const caller = new Caller(fuzz, sys, buffer, memory);
  yield* pthread_create(caller.kicker.bind(caller), 'kicker');
  for (;;) {
    const { batch } = fuzz;
    if (batch === undefined) {
      if (fuzz.end) return 0;
      yield* nanosleep(1000n);
      continue;
    }
    for (const c of batch) yield* caller.call(c);
    fuzz.batch = undefined;
  }
}

export const fuzzProgram = (fuzz: Fuzz): Program => ({
  name: 'fuzz',
  main: _start(function* main(): Sys<number> {
    // Once for whatever the kernel makes on first use.
    const first = yield* fork(function* once() { yield* close(yield* open('/dev/kvm', 2)); return 0; });
    yield* wait4(first);
    yield* holdings();
    fuzz.before = yield* holdings();
    const pid = yield* fork(() => child(fuzz));
    const waited = yield* wait4(pid);
    fuzz.after = yield* holdings();
    return waited.status === 0 ? 0 : 1;
  }),
});
