/**
 * Runs one instruction twice in a 64-bit guest: with its operand in memory, where the processor executes it, and in a
 * hole, where KVM's emulator does and the user program stands in for memory byte by byte. Both must end alike.
 */
import * as K from '../../abi/kvm/index.ts';
import type { Program, Sys } from '../../abi/process.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { _start, loadBytes, open, sigaction } from '../../userland/libc.ts';
import { Guest, setMode } from '../golden/probe/guest.ts';
import { make, mk, rm } from '../golden/probe/machine.ts';
import { rawIoctl } from '../golden/probe/recorder.ts';

export const REGS = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
export type RegName = (typeof REGS)[number];
/** `points` names the registers that hold the operand's address; `ram` those that always point to memory. */
export interface Trial { readonly name: string; readonly code: Uint8Array; readonly regs: Readonly<Record<RegName, bigint>>; readonly flags: bigint; readonly memory: Uint8Array; readonly points: readonly RegName[] }
export interface Outcome { readonly exit: number; readonly exits: number; readonly rip: bigint; readonly flags: bigint; readonly regs: Record<string, bigint>; readonly memory: Uint8Array }

export const OPERAND_BYTES = 64;
const CODE = 0x1000, HLT = 0xf4;
/** The operand lies in the middle of 64 bytes, so that strings may go either way. */
const RAM_AT = 0x2000, HOLE_AT = 0x100000, MIDDLE = 32;

function* once(g: Guest, t: Trial, at: number): Sys<Outcome> {
  const { run, vcpu } = g.m;
  g.put(CODE, Uint8Array.of(...t.code, HLT));
  g.put(RAM_AT, t.memory);
  const hole = Uint8Array.from(t.memory);
  const regs = yield* make(K.kvm_regs, { rip: BigInt(CODE), rflags: t.flags | 2n, ...t.regs, ...Object.fromEntries(t.points.map((r) => [r, BigInt(at + MIDDLE)])) });
  yield* rawIoctl(vcpu, K.KVM_SET_REGS.nr, regs);
  let exits = 0;
  for (; exits < 64; exits++) {
    if ((yield* rawIoctl(vcpu, K.KVM_RUN.nr, 0)) !== 0 || run.exit_reason !== K.KVM_EXIT_MMIO) break;
    const { phys_addr, len, is_write, data } = run.mmio;
    for (let i = 0; i < len; i++) {
      const where = Number(phys_addr) - HOLE_AT + i;
      if (is_write !== 0) hole[where] = data.get(i);
      else data.set(i, hole[where]!);
    }
  }
  yield* rawIoctl(vcpu, K.KVM_GET_REGS.nr, regs);
  const values: Record<string, bigint> = {};
  for (const r of REGS) values[r] = t.points.includes(r) ? regs[r] - BigInt(at) : regs[r];
  return { exit: run.exit_reason, exits, rip: regs.rip, flags: regs.rflags, regs: values, memory: at === RAM_AT ? loadBytes(g.m.mem + RAM_AT, OPERAND_BYTES) : hole };
}

/** Runs every trial both ways and hands over the two outcomes. */
export const emulatorProgram = (trials: readonly Trial[], done: (t: Trial, native: Outcome, emulated: Outcome) => void): Program => ({
  name: 'emulate',
  main: _start(function* main() {
    yield* sigaction(SIGALRM, function* ignore() {});
    const sys = yield* open('/dev/kvm', 2);
    const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true });
    const g = new Guest(m, sys);
    yield* setMode(g, 'long64');
    for (const t of trials) done(t, yield* once(g, t, RAM_AT), yield* once(g, t, HOLE_AT));
    yield* rm(m);
    return 0;
  }),
});
