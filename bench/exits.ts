/**
 * What exits of each kind cost, to the guest in virtual cycles and to the host in CPU time; how long an interrupt takes
 * from user space into the guest; creating VMs; dirty logging. A program of the booted system drives its /dev/kvm with
 * guests of a few instructions in flat protected mode, so that nothing but KVM and the processor is in the figures.
 */
import * as K from '../abi/kvm/index.ts';
import type { Program, Sys } from '../abi/process.ts';
import { addressOf } from '../abi/struct.ts';
import { CLOCK_MONOTONIC, timespec } from '../abi/time.ts';
import { __NR_clock_gettime, __NR_ioctl, __NR_mmap, __NR_munmap } from '../abi/syscalls.ts';
import { _start, alloc, arm, close, ioctl, open, storeBytes, syscall, view } from '../userland/libc.ts';
import { bootSystem } from '../system/boot.ts';

/** What each event of a kind took. */
export interface ExitCost { readonly name: string; /** Virtual cycles each. */ readonly cycles: number; /** Nanoseconds of host CPU time each. */ readonly host: number; /** The same in the cheapest part of the measurement. */ readonly best: number }

interface Guest { readonly vm: number; readonly vcpu: number; readonly run: K.kvm_run; readonly runSize: number; readonly memory: number; readonly regs: K.kvm_regs }

const MiB = 1 << 20;
const MEMORY = 64 * MiB;
const CODE = 0x1000, HANDLER = 0x1020, TIMER_HANDLER = 0x1080, GDT = 0x3000, IDT = 0x4000, STACK = 0x9000;
const MMIO_CODE = 'bf000000f0'; // mov edi, 0xf0000000

/** The loops, EBP times each, in 32-bit code; a HLT ends them. */
const CODES = {
  cpuid: '31c00fa24d75f9f4',                        // xor eax,eax; cpuid; dec ebp; jnz
  rdmsr: 'b9a00100000f324d75fbf4',                  // mov ecx,1a0h; rdmsr; dec ebp; jnz
  vmcall: '31c0480f01c14d75f7f4',                   // xor eax,eax; dec eax; vmcall; dec ebp; jnz
  ept: 'bf00004000892f81c7001000004d75f5f4',        // mov [edi],ebp; add edi,4096; dec ebp; jnz
  pio: 'ba80000000ee4d75fcf4',                      // mov edx,80h; out dx,al; dec ebp; jnz
  mmioWrite: `${MMIO_CODE}89074d75fbf4`,            // mov [edi],eax; dec ebp; jnz
  mmioRead: `${MMIO_CODE}8b074d75fbf4`,             // mov eax,[edi]; dec ebp; jnz
  // sti; hlt; jmp hlt. At HANDLER: out 80h,al; iret
  interrupt: `fbf4ebfd${'90'.repeat(28)}e680cf`,
  // x2APIC on, its timer at vector 40h; a timer of 5 us, hlt, dec ebp, jnz; out 80h,al. At TIMER_HANDLER: EOI; iret
  halt: 'b91b0000000f320d000c00000f30b90f080000b8ff01000031d20f30b93e08000031c00f30b932080000b8400000000f30fbb938080000b8c409000031d20f30f44d75eee680',
  timerHandler: '51b90b08000031c031d20f3059cf',
  // Eratosthenes over 4 MiB of bytes with factors below 2048
  sieve: 'bf00004000b900004000b001f3aabe0200000080be000040000074168d3c3681ff00004000730bc687000040000001f7ebed4681fe0008000072d84d75c2f4',
} as const;

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

/** A measurement is made in parts. */
const PARTS = 10;

class Meter {
  readonly costs: ExitCost[] = [];
  private at!: timespec;
  private cycles = 0;
  private host: NodeJS.CpuUsage = { user: 0, system: 0 };

  /** The clock of this machine runs at 1 GHz: nanoseconds are cycles. */
  *now(): Sys<number> {
    this.at ??= yield* alloc(timespec);
    yield* syscall(__NR_clock_gettime, CLOCK_MONOTONIC, addressOf(this.at));
    return Number(this.at.tv_sec) * 1e9 + Number(this.at.tv_nsec);
  }
  *start(): Sys {
    this.cycles = yield* this.now();
    this.host = process.cpuUsage();
  }
  *stop(name: string, count: number, cycles?: number): Sys {
    const { user, system } = process.cpuUsage(this.host);
    const passed = (yield* this.now()) - this.cycles;
    const host = (user + system) * 1000 / count;
    this.costs.push({ name, cycles: (cycles ?? passed) / count, host, best: host });
  }
  /**
   * Makes one of the parts of a measurement, which were measured one by one: their mean, in which there is what V8 takes to compile
   * what runs, and the cheapest of them, nearest to what a long run on an idle machine shows.
   */
  join(parts: number): void {
    const all = this.costs.splice(-parts);
    const mean = (of: (cost: ExitCost) => number): number => all.reduce((sum, cost) => sum + of(cost), 0) / parts;
    this.costs.push({ name: all[0]!.name, cycles: mean((c) => c.cycles), host: mean((c) => c.host), best: Math.min(...all.map((c) => c.host)) });
  }
}

function* mapped(size: number, fd = -1): Sys<number> {
  return yield* syscall(__NR_mmap, 0, size, 3, fd < 0 ? 0x22 : 1, fd, 0);
}

/** A VM with one vCPU in flat protected mode at CODE. */
function* create(kvm: number, code: string, memory: number, slotFlags = 0, irqchip = false): Sys<Guest> {
  const vm = yield* ioctl(kvm, K.KVM_CREATE_VM, 0);
  if (irqchip) yield* ioctl(vm, K.KVM_CREATE_IRQCHIP, 0);
  const slot = yield* alloc(K.kvm_userspace_memory_region);
  slot.slot = 0;
  slot.flags = slotFlags;
  slot.guest_phys_addr = 0n;
  slot.memory_size = BigInt(MEMORY);
  slot.userspace_addr = BigInt(memory);
  yield* ioctl(vm, K.KVM_SET_USER_MEMORY_REGION, slot);
  const vcpu = yield* ioctl(vm, K.KVM_CREATE_VCPU, 0);
  if (irqchip) {
    // Without CPUID a guest has no x2APIC.
    const cpuid = yield* mapped(8192);
    storeBytes(cpuid, Uint8Array.of(128, 0, 0, 0));
    yield* syscall(__NR_ioctl, kvm, K.KVM_GET_SUPPORTED_CPUID.nr, cpuid);
    yield* syscall(__NR_ioctl, vcpu, K.KVM_SET_CPUID2.nr, cpuid);
  }
  const size = yield* ioctl(kvm, K.KVM_GET_VCPU_MMAP_SIZE, 0);
  const page = yield* mapped(size, vcpu);
  const run = view(K.kvm_run, page);
  storeBytes(memory + CODE, bytes(code));
  const sregs = yield* alloc(K.kvm_sregs);
  yield* ioctl(vcpu, K.KVM_GET_SREGS, sregs);
  sregs.cr0 |= 1n;
  for (const s of [sregs.cs, sregs.ds, sregs.es, sregs.ss, sregs.fs, sregs.gs]) {
    s.base = 0n;
    s.limit = 0xffff_ffff;
    s.selector = 16;
    s.type = 3;
    s.s = s.db = s.g = s.present = 1;
  }
  sregs.cs.selector = 8;
  sregs.cs.type = 11;
  sregs.gdt.base = BigInt(GDT);
  sregs.gdt.limit = 23;
  sregs.idt.base = BigInt(IDT);
  sregs.idt.limit = 0x7ff;
  yield* ioctl(vcpu, K.KVM_SET_SREGS, sregs);
  storeBytes(memory + GDT, bytes(`${'00'.repeat(8)}ffff0000009bcf00ffff00000093cf00`));
  const regs = yield* alloc(K.kvm_regs);
  regs.rip = BigInt(CODE);
  regs.rsp = BigInt(STACK);
  regs.rflags = 2n;
  return { vm, vcpu, run, runSize: size, memory, regs };
}

function gate(g: Guest, vector: number, handler: number): void {
  storeBytes(g.memory + IDT + 8 * vector, Uint8Array.of(handler & 0xff, handler >> 8, 8, 0, 0, 0x8e, 0, 0));
}

/** Runs the guest from its start, `count` turns of its loop, until it halts or, if asked, leaves by its last OUT. */
function* loop(g: Guest, count: number, last = K.KVM_EXIT_HLT): Sys {
  g.regs.rip = BigInt(CODE);
  g.regs.rbp = BigInt(count);
  yield* ioctl(g.vcpu, K.KVM_SET_REGS, g.regs);
  for (;;) {
    yield* ioctl(g.vcpu, K.KVM_RUN, 0);
    const reason = g.run.exit_reason;
    if (reason === last) return;
    if (reason !== K.KVM_EXIT_IO && reason !== K.KVM_EXIT_MMIO) throw new Error(`exit ${reason} in the midst of a measurement`);
  }
}

/** The mapping of kvm_run goes too: it holds the vCPU's file, and that the VM. */
function* destroy(g: Guest): Sys {
  yield* syscall(__NR_munmap, addressOf(g.run), g.runSize);
  yield* close(g.vcpu);
  yield* close(g.vm);
}

/** What is left of a loop once its exits are taken out is a few cycles a turn; it is not subtracted. */
function* exits(kvm: number, memory: number, meter: Meter): Sys {
  const kinds = [
    ['exit: CPUID', CODES.cpuid, 200_000], ['exit: RDMSR', CODES.rdmsr, 200_000], ['exit: VMCALL', CODES.vmcall, 200_000],
    ['exit: OUT to user space', CODES.pio, 200_000], ['exit: MMIO write to user', CODES.mmioWrite, 50_000], ['exit: MMIO read from user', CODES.mmioRead, 50_000],
  ] as const;
  for (const [name, code, count] of kinds) {
    const g = yield* create(kvm, code, memory);
    yield* loop(g, 2000);
    for (let part = 0; part < PARTS; part++) {
      yield* meter.start();
      yield* loop(g, count / PARTS);
      yield* meter.stop(name, count / PARTS);
    }
    meter.join(PARTS);
    yield* destroy(g);
  }
  const pages = (MEMORY - 4 * MiB) / 4096;
  for (const name of ['exit: EPT, page is new', 'exit: EPT, page is there']) {
    for (let part = 0; part < PARTS; part++) {
      const fresh = name.endsWith('new') ? yield* mapped(MEMORY) : memory;
      if (fresh === memory && part === 0) for (let page = 0; page < MEMORY; page += 4096) storeBytes(memory + page, Uint8Array.of(0));
      const g = yield* create(kvm, CODES.ept, fresh);
      yield* meter.start();
      yield* loop(g, pages);
      yield* meter.stop(name, pages);
      yield* destroy(g);
      if (fresh !== memory) yield* syscall(__NR_munmap, fresh, MEMORY);
    }
    meter.join(PARTS);
  }
}

/** The smallest VMM there is: enters, looks at reason and port, enters again. The first parts, while its code is being compiled, do not count. */
function* shortest(kvm: number, memory: number, meter: Meter): Sys {
  const warm = 150, parts = 500, count = 2000;
  const g = yield* create(kvm, CODES.pio, memory);
  g.regs.rbp = BigInt((warm + parts) * count);
  yield* ioctl(g.vcpu, K.KVM_SET_REGS, g.regs);
  for (let part = 0; part < warm + parts; part++) {
    yield* meter.start();
    for (let i = 0; i < count; i++) {
      arm(__NR_ioctl, g.vcpu, K.KVM_RUN.nr, 0);
      if ((yield) < 0 || g.run.exit_reason !== K.KVM_EXIT_IO || g.run.io.port !== 0x80) throw new Error(`exit ${g.run.exit_reason} in the midst of a measurement`);
    }
    if (part >= warm) yield* meter.stop('exit: OUT, shortest VMM', count);
  }
  meter.join(parts);
  yield* destroy(g);
}

/** A halt that an APIC timer of 5 µs ends: with polling the thread never sleeps. */
function* halts(kvm: number, memory: number, meter: Meter): Sys {
  const g = yield* create(kvm, CODES.halt, memory, 0, true);
  storeBytes(memory + TIMER_HANDLER, bytes(CODES.timerHandler));
  gate(g, 0x40, TIMER_HANDLER);
  yield* loop(g, 100, K.KVM_EXIT_IO);
  for (let part = 0; part < PARTS; part++) {
    yield* meter.start();
    yield* loop(g, 4_000, K.KVM_EXIT_IO);
    yield* meter.stop('HLT until timer of 5 us', 4_000);
  }
  meter.join(PARTS);
  yield* destroy(g);
}

/**
 * Cycles from the call of KVM_INTERRUPT until user space has what the first instruction of the handler, an OUT, told it; host
 * time of the whole round, in which the handler returns and the guest halts again.
 */
function* interrupts(kvm: number, memory: number, meter: Meter): Sys {
  const g = yield* create(kvm, CODES.interrupt, memory);
  gate(g, 0x40, HANDLER);
  yield* loop(g, 0);
  const irq = yield* alloc(K.kvm_interrupt);
  irq.irq = 0x40;
  const count = 8_000;
  for (let part = 0; part < PARTS; part++) {
    let cycles = 0;
    yield* meter.start();
    for (let i = 0; i < count; i++) {
      const began = yield* meter.now();
      yield* ioctl(g.vcpu, K.KVM_INTERRUPT, irq);
      yield* ioctl(g.vcpu, K.KVM_RUN, 0);
      cycles += (yield* meter.now()) - began;
      if (g.run.exit_reason !== K.KVM_EXIT_IO) throw new Error(`exit ${g.run.exit_reason} instead of the handler's OUT`);
      yield* ioctl(g.vcpu, K.KVM_RUN, 0);
    }
    yield* meter.stop('interrupt injected', count, cycles);
  }
  meter.join(PARTS);
  yield* destroy(g);
}

function* machines(kvm: number, memory: number, meter: Meter): Sys {
  const count = 150;
  for (let part = 0; part < PARTS; part++) {
    yield* meter.start();
    for (let i = 0; i < count; i++) yield* destroy(yield* create(kvm, CODES.cpuid, memory));
    yield* meter.stop('VM made and destroyed', count);
  }
  meter.join(PARTS);
}

/** The same sieve without a log, and with one that is fetched, and thereby begun anew, after each round. */
function* sieves(kvm: number, memory: number, meter: Meter): Sys {
  const rounds = 3;
  for (const [name, flags] of [['sieve, no dirty log', 0], ['sieve, dirty log', K.KVM_MEM_LOG_DIRTY_PAGES]] as const) {
    const g = yield* create(kvm, CODES.sieve, memory, flags);
    const bitmap = yield* mapped(MEMORY / 4096 / 8);
    const log = yield* alloc(K.kvm_dirty_log);
    log.slot = 0;
    log.dirty_bitmap = BigInt(bitmap);
    yield* loop(g, 1);
    yield* meter.start();
    for (let i = 0; i < rounds; i++) {
      yield* loop(g, 1);
      if (flags !== 0) yield* ioctl(g.vm, K.KVM_GET_DIRTY_LOG, log);
    }
    yield* meter.stop(name, rounds);
    yield* destroy(g);
  }
}

/** Everything, in one booted machine. */
export function timeExits(): readonly ExitCost[] {
  const meter = new Meter();
  let output = '', done = false;
  const program: Program = {
    name: 'exits',
    main: _start(function* (): Sys<number> {
      const kvm = yield* open('/dev/kvm', 2);
      const memory = yield* mapped(MEMORY);
      yield* exits(kvm, memory, meter);
      yield* shortest(kvm, memory, meter);
      yield* interrupts(kvm, memory, meter);
      yield* halts(kvm, memory, meter);
      yield* machines(kvm, memory, meter);
      yield* sieves(kvm, memory, meter);
      done = true;
      return 0;
    }),
  };
  const { machine } = bootSystem({
    machine: {
      cpus: 2, memory: 256 * MiB, seed: 1,
      platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), read: () => 'eof', write: (b) => { output += Buffer.from(b).toString(); } }, startDate: 0n },
    },
    quiet: true, programs: [program], init: ['--', '/bin/exits'],
  });
  const state = machine.run(Number.MAX_SAFE_INTEGER);
  if (!done) throw new Error(`the program did not end: ${state} ${output}`);
  return meter.costs;
}
