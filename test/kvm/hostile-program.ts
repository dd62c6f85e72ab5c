/**
 * Guests that do their worst, and a program that runs one after the other: random code, descriptors, page tables and
 * registers in every mode, stores, loads, port and MSR accesses to wherever. Between the frames of each guest lie frames
 * of the program filled with a secret; afterwards the program looks whether the guest has changed them or got hold of it.
 */
import * as K from '../../abi/kvm/index.ts';
import type { Program, Sys } from '../../abi/process.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { addressOf, sizeof } from '../../abi/struct.ts';
import { itimerval } from '../../abi/time.ts';
import { __NR_setitimer } from '../../abi/syscalls.ts';
import { _start, alloc, loadBytes, open, readFile, sigaction, storeBytes, syscall } from '../../userland/libc.ts';
import { Guest, gate, setMode } from '../golden/probe/guest.ts';
import type { Mode } from '../golden/probe/guests-table.ts';
import { Dice, le, reach } from '../support/hostile-code.ts';
import { anon, bytes, make, mk, rm, setmem } from '../golden/probe/machine.ts';
import { rawIoctl } from '../golden/probe/recorder.ts';

/** What a run of hostile guests is asked, and what came of it. */
export interface Hostility {
  readonly seed: number;
  readonly guests: number;
  /** Called after each guest while its VM lives, with the VMM's process current. */
  readonly check: () => void;
  /** Guests whose secret was changed, or found in their state: none, one hopes. */
  readonly leaks: string[];
  exits: Map<number, number>;
  /** KVM_RUNs that came back, and those cut short by the timer. */
  runs: number;
  interrupted: number;
  done: boolean;
}

const SECRET = Uint8Array.of(0x5e, 0xc2, 0xe7, 0x9d, 0x31, 0xb8, 0x4f, 0xa6);
const PAGE = 4096, PAGES = 128, CODE = 0x1000, RUNS_EACH = 24;
const MODES: readonly Mode[] = ['real16', 'prot32', 'paged32', 'pae32', 'long64'];

/** Everything of one guest's memory: code, descriptors, and page tables that lead where they like. */
function fill(d: Dice, g: Guest, mode: Mode): void {
  const code: number[] = [];
  while (code.length < 300) code.push(...reach(d, mode === 'real16' ? 16 : mode === 'long64' ? 64 : 32));
  code.push(0xe9, ...le(-(code.length + (mode === 'real16' ? 3 : 5))));
  g.put(CODE, Uint8Array.from(code));
  g.put(0x2000 + d.below(0x800), Uint8Array.from(d.bytes(256)));
  // Most guests go on somewhere else in their code after a fault; the others have no IDT, or one of noise.
  if (d.below(4) !== 0) {
    const wide = mode === 'real16' ? 2 : 4;
    for (let vector = 0; vector < 32; vector++) {
      const handler = 0x4000 + vector * 16;
      const stack = [0xbc, ...le(0x7000).slice(0, wide), 0xe9];
      g.put(handler, Uint8Array.from([...stack, ...le(CODE + d.below(300) - handler - stack.length - wide).slice(0, wide)]));
      gate(g, mode, vector, handler);
    }
  } else if (d.below(2) === 0) g.put(0x3000, Uint8Array.from(d.bytes(512)));
  if (mode === 'real16' && d.below(2) === 0) g.put(0, Uint8Array.from(d.bytes(0x400)));
  if (d.below(2) === 0) g.put(0x500 + 80, Uint8Array.from(d.bytes(176)));
  if (mode === 'long64' || mode === 'pae32') {
    const table = mode === 'long64' ? 0x12000 : 0x11000;
    for (let n = d.below(12); n > 0; n--) g.put(table + 8 * (1 + d.below(500)), Uint8Array.from([...le(d.address() & ~0xfff | d.pick([7, 0x87, 0xe7, 1, 3])), ...d.pick([[0, 0, 0, 0], le(d.below(0x1000)), d.le32()])]));
  }
}

/** Registers at random, and now and then control registers, descriptors tables and the APIC base as well. */
function* disturb(d: Dice, g: Guest): Sys {
  const regs = yield* make(K.kvm_regs, { rip: BigInt(CODE), rflags: BigInt(d.pick([2, 0x202, 0x3202, 0x102, 0x40202])), rsp: BigInt(d.address()) });
  for (const name of ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r15'] as const) regs[name] = BigInt(d.address());
  yield* rawIoctl(g.m.vcpu, K.KVM_SET_REGS.nr, regs);
  if (d.below(3) !== 0) return;
  const s = yield* g.sregs();
  if (d.below(2) === 0) s.cr3 = BigInt(d.address() & ~0xfff);
  if (d.below(2) === 0) s.gdt.base = BigInt(d.address());
  if (d.below(2) === 0) s.idt.base = BigInt(d.address());
  if (d.below(4) === 0) s.tr.base = BigInt(d.address());
  if (d.below(4) === 0) s.ds.base = BigInt(d.address());
  yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s);
}

function* timer(microseconds: number): Sys {
  const t = yield* alloc(itimerval);
  t.it_value.tv_usec = BigInt(microseconds);
  t.it_interval.tv_usec = BigInt(microseconds);
  yield* syscall(__NR_setitimer, 0, addressOf(t), 0);
}

/** Where four bytes of the secret in a row, at any of its turns, lie in `image`; -1: nowhere. */
function secretIn(image: Uint8Array): number {
  const buffer = Buffer.from(image.buffer, image.byteOffset, image.length);
  for (let turn = 0; turn < 8; turn++) {
    const found = buffer.indexOf(Uint8Array.from({ length: 4 }, (_, i) => SECRET[(turn + i) % 8]!));
    if (found >= 0) return found;
  }
  return -1;
}

function* one(h: Hostility, d: Dice, sys: number, n: number): Sys {
  const mode = MODES[n % MODES.length]!;
  const m = yield* mk(sys, { vcpu: true, cpuid: true, tss: true, irqchip: d.below(2) === 0 });
  m.size = PAGES * PAGE;
  m.mem = yield* anon(m.size);
  const guard = yield* anon(m.size);
  const secret = Buffer.alloc(PAGE, SECRET);
  for (let page = 0; page < PAGES; page++) {
    storeBytes(m.mem + page * PAGE, new Uint8Array(1));
    storeBytes(guard + page * PAGE, secret);
  }
  yield* setmem(m.vm, 0, 0, 0n, m.size, m.mem);
  if (d.below(3) === 0) yield* setmem(m.vm, 1, 2, 0x10_0000n, 16 * PAGE, m.mem + 64 * PAGE);
  const g = new Guest(m, sys);
  yield* setMode(g, mode);
  fill(d, g, mode);
  yield* disturb(d, g);
  for (let i = 0, cut = 0; i < RUNS_EACH && cut < 3; i++) {
    const r = yield* rawIoctl(m.vcpu, K.KVM_RUN.nr, 0);
    h.runs++;
    if (r < 0) {
      h.interrupted++;
      cut++;
      continue;
    }
    const reason = m.run.exit_reason;
    h.exits.set(reason, (h.exits.get(reason) ?? 0) + 1);
    if (reason === K.KVM_EXIT_IO && m.run.io.direction === 0) storeBytes(m.runAt + Number(m.run.io.data_offset), Uint8Array.from(d.bytes(m.run.io.size * Math.min(m.run.io.count, 64))));
    if (reason === K.KVM_EXIT_SHUTDOWN || reason === K.KVM_EXIT_INTERNAL_ERROR || reason === K.KVM_EXIT_FAIL_ENTRY) break;
  }
  h.check();
  const image = loadBytes(guard, m.size);
  for (let at = 0; at < m.size; at += PAGE) if (secret.compare(image, at, at + PAGE) !== 0) h.leaks.push(`guest ${n} (${mode}) changed page ${at / PAGE} outside its memory`);
  const found = secretIn(loadBytes(m.mem, m.size));
  if (found >= 0) h.leaks.push(`guest ${n} (${mode}) has the secret at ${found}`);
  for (const [type, get] of [[K.kvm_regs, K.KVM_GET_REGS], [K.kvm_sregs, K.KVM_GET_SREGS], [K.kvm_fpu, K.KVM_GET_FPU], [K.kvm_debugregs, K.KVM_GET_DEBUGREGS]] as const) {
    const state = yield* make(type as typeof K.kvm_regs);
    yield* rawIoctl(m.vcpu, get.nr, state);
    if (secretIn(bytes(state, sizeof(state))) >= 0) h.leaks.push(`guest ${n} (${mode}) has the secret in a register`);
  }
  yield* rm(m);
  yield* syscall(11, guard, m.size);
}

export const hostileProgram = (h: Hostility): Program => ({
  name: 'hostile',
  main: _start(function* main(): Sys<number> {
    yield* sigaction(SIGALRM, function* ignore() {});
    const sys = yield* open('/dev/kvm', 2);
    const d = new Dice(h.seed);
    yield* timer(40);
    for (let n = 0; n < h.guests; n++) yield* one(h, d, sys, n);
    yield* timer(0);
    yield* readFile('/proc/meminfo');
    h.done = true;
    return 0;
  }),
});
