import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Program, Sys } from '../../abi/process.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { _start, loadBytes, open, sigaction } from '../../userland/libc.ts';
import type { Guest } from '../golden/probe/guest.ts';
import { rm } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, IRET, STI, X2APIC_EOI, X2APIC_LVTT, X2APIC_TMICT, apicOn, machine, make, next, out, picOn, rawIoctl, wrmsr } from './chips-program.ts';
import { GuestStops } from './guest-stops.ts';
import { randomStops, same } from './state-run.ts';
import { type Parts, restore, save } from './vm-state.ts';

test('a guest moved to a new VM at any instruction goes on as if it had stayed: ten million instructions', () => {
  const seen = same(randomStops(40, 520_000, 1));
  assert.ok(seen.at(-1)!.retired >= 10_000_000, `${seen.at(-1)!.retired}`);
});

test('moved after every few instructions, also with events pending, in SMM and in the middle of REP', () => {
  const seen = same(randomStops(200, 60, 2));
  const met = new Set(seen.flatMap((s) => s.caught));
  assert.deepEqual([...met].sort(), ['in SMM', 'in the middle of REP', 'with NMIs masked', 'with an NMI pending', 'with an SMI pending', 'with an interrupt pending']);
});

/** Runs `body` with stops; its notes. */
function withStops(body: (sys: number, hook: GuestStops, note: (line: string) => void) => Sys): string[] {
  const lines: string[] = [];
  const hook = new GuestStops();
  const program: Program = {
    name: 'state',
    main: _start(function* main() {
      yield* sigaction(SIGALRM, function* ignore() {});
      yield* body(yield* open('/dev/kvm', 2), hook, (line) => { lines.push(line); });
      return 0;
    }),
  };
  const { status, output } = run({ init: ['-c', 'state'], programs: [program], prepare: hook.install, cpus: 1, seconds: 600 });
  assert.equal(status, 0, output);
  return lines;
}
const partsOf = (g: Guest, chips: boolean): Parts => ({ vm: g.m.vm, vcpu: g.m.vcpu, sys: g.sys, memories: [g.m.mem], memorySize: g.m.size, chips });
/** The same guest in a new VM; the old one is gone. */
function* moved(g: Guest, chips: boolean): Sys<Guest> {
  const state = yield* save(partsOf(g, chips));
  yield* rm(g.m);
  const to = yield* machine(g.sys, chips ? { irqchip: true, pit: true } : {}, [], []);
  yield* restore(partsOf(to, chips), state);
  return to;
}
const dword = (g: Guest, at: number): number => new DataView(loadBytes(g.m.mem + at, 4).buffer).getUint32(0, true);

test('with the clocks of the local APIC and the interval timer running, a guest that moves computes what one that stays does', () => {
  // Both timers count their interrupts at 3000h and 3004h; EAX goes through 50,000 rounds of a generator, each stored.
  const count = (at: number) => [0x66, 0xff, 0x06, at & 0xff, at >> 8];
  const apicTick = [0x66, 0x60, ...count(0x3000), ...wrmsr(X2APIC_EOI, 0), 0x66, 0x61, IRET];
  const pitTick = [0x50, ...count(0x3004), ...out(0x20, 0x20), 0x58, IRET];
  const code = [
    ...apicOn, ...wrmsr(X2APIC_LVTT, 0x20030), ...wrmsr(X2APIC_TMICT, 6000), ...wrmsr(0x835, 0x700), ...picOn(0xfe), ...out(0x43, 0x34), ...out(0x40, 0x10), ...out(0x40, 0), STI,
    0x66, 0xb9, 0x50, 0xc3, 0, 0, 0xbf, 0, 0x40,                                            // MOV ECX,50000; MOV DI,4000h
    0x66, 0x69, 0xc0, 0x0d, 0x66, 0x19, 0, 0x66, 0x05, 0x5f, 0xf3, 0x6e, 0x3c,              // IMUL EAX,EAX,0019660Dh; ADD EAX,3C6EF35Fh
    0x66, 0x89, 0x05, 0x83, 0xc7, 4, 0x81, 0xe7, 0xff, 0x5f, 0x66, 0x49, 0x75, 0xe4,        // MOV [DI],EAX; ADD DI,4; AND DI,5FFFh; DEC ECX; JNZ
    ...out(0x11, 1), HLT,
  ];
  const results = (move: boolean): string[] => withStops(function* body(sys, hook, note) {
    let g = yield* machine(sys, { irqchip: true, pit: true }, code, pitTick);
    g.put(0x1980, Uint8Array.from(apicTick));
    g.put32(0x30 * 4, 0x1980);
    let moves = 0;
    let last = [0, 0];
    for (;;) {
      hook.stopAfter(20_011);
      const line = yield* next(g);
      if (line === 'out 11') break;
      assert.equal(line, 'error 4');
      if (!move) continue;
      last = [dword(g, 0x3000), dword(g, 0x3004)];
      g = yield* moved(g, true);
      moves++;
    }
    const regs = yield* make(K.kvm_regs);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
    note(`EDI ${regs.rdi.toString(16)} ECX ${regs.rcx} ${Buffer.from(loadBytes(g.m.mem + 0x4000, 0x2000)).toString('base64').slice(0, 200)}`);
    if (move) assert.ok(moves > 5 && last[0]! > 0 && last[1]! > 0, `${moves} moves, ${last}`);
    else assert.ok(dword(g, 0x3000) > 5 && dword(g, 0x3004) > 1, `${dword(g, 0x3000)} and ${dword(g, 0x3004)} ticks`);
    yield* rm(g.m);
  });
  assert.deepEqual(results(true), results(false));
});

test('moved inside an interrupt shadow, the guest runs the shadowed instruction before the NMI that waits', () => {
  assert.deepEqual(withStops(function* body(sys, hook, note) {
    // MOV AX,SS; MOV SS,AX; MOV [2000h],AL; OUT 10h,AL
    let g = yield* machine(sys, {}, [0x8c, 0xd0, 0x8e, 0xd0, 0xa2, 0x00, 0x20, ...out(0x10, 1)], []);
    g.put(0x1900, Uint8Array.of(...out(0x30, 1), HLT));
    g.put32(2 * 4, 0x1900);
    hook.stopAfter(2);
    note(yield* next(g));
    yield* rawIoctl(g.m.vcpu, K.KVM_NMI.nr, 0);
    const events = yield* make(K.kvm_vcpu_events);
    for (let i = 0; i < 2; i++) {
      yield* rawIoctl(g.m.vcpu, K.KVM_GET_VCPU_EVENTS.nr, events);
      note(`shadow ${events.interrupt.shadow} NMI ${events.nmi.pending}`);
      if (i === 0) g = yield* moved(g, false);
    }
    note(yield* next(g));
    note(`returns to ${(dword(g, 0x7000 - 6) & 0xffff).toString(16)}`);
    yield* rm(g.m);
  }), ['error 4', 'shadow 1 NMI 1', 'shadow 1 NMI 1', 'out 30', 'returns to 1007']);
});
