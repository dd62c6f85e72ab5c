/**
 * Runs the guest of state-guest.ts through stops at exact instruction counts, either staying in its VM or moving to a new
 * one at each, and says what was seen: both must see the same.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { _start, open, sigaction } from '../../userland/libc.ts';
import { rawIoctl } from '../golden/probe/recorder.ts';
import { run } from '../support/boot.ts';
import { GuestStops } from './guest-stops.ts';
import { type Subject, VECTOR, drop, runOn, subject } from './state-guest.ts';
import { type State, comparable, restore, save } from './vm-state.ts';

/** One stop of a run: how many instructions further, and what user space does there. */
interface Stop { readonly after: number; readonly event: 'none' | 'interrupt' | 'nmi' | 'smi' }
/** What was seen at a stop: instructions so far, a digest of each part of the state, and where the guest was caught. */
export interface Seen { readonly retired: number; readonly digests: Record<string, string>; readonly caught: readonly string[] }

const digest = (value: Uint8Array | bigint): string => (typeof value === 'bigint' ? value.toString(16) : createHash('sha256').update(value).digest('hex').slice(0, 12));

/** What is special about a moment: what the state test must have met to be worth its name. */
function caught(s: State): string[] {
  const view = (name: string) => { const b = s.blobs.get(name)!; return new DataView(b.buffer, b.byteOffset, b.byteLength); };
  const regs = view('regs');
  const events = view('events');
  const rip = regs.getBigUint64(K.kvm_regs.offset.rip, true);
  const rcx = regs.getBigUint64(K.kvm_regs.offset.rcx, true);
  const at = K.kvm_vcpu_events.offset;
  const found: string[] = [];
  if (rip === 0x1071n && rcx > 0n && rcx < 200n) found.push('in the middle of REP');
  if (events.getUint8(at.smi) !== 0) found.push('in SMM');
  if (events.getUint8(at.smi + 1) !== 0) found.push('with an SMI pending');
  if (events.getUint8(at.nmi + 1) !== 0) found.push('with an NMI pending');
  if (events.getUint8(at.nmi + 2) !== 0) found.push('with NMIs masked');
  if (events.getUint8(at.interrupt) !== 0) found.push('with an interrupt pending');
  return found;
}

function* cause(s: Subject, event: Stop['event']): Sys {
  const { run: page } = s.g.m;
  if (event === 'nmi') yield* rawIoctl(s.vcpu, K.KVM_NMI.nr, 0);
  if (event === 'smi') yield* rawIoctl(s.vcpu, K.KVM_SMI.nr, 0);
  if (event === 'interrupt' && page.ready_for_interrupt_injection !== 0 && page.if_flag !== 0) yield* s.g.interrupt(VECTOR);
}

/** Runs the guest through all stops; with `move` it goes on in a new VM after each. */
function through(stops: readonly Stop[], move: boolean): Seen[] {
  const seen: Seen[] = [];
  const hook = new GuestStops();
  const program = {
    name: 'state',
    main: _start(function* main() {
      yield* sigaction(SIGALRM, function* ignore() {});
      const sys = yield* open('/dev/kvm', 2);
      let s = yield* subject(sys, false, true);
      for (const { after, event } of stops) {
        hook.stopAfter(after);
        assert.equal(yield* runOn(s), 'stopped');
        yield* cause(s, event);
        const state = yield* save(s);
        seen.push({ retired: hook.retired, digests: Object.fromEntries(comparable(state).map(([name, value]) => [name, digest(value)])), caught: caught(state) });
        if (!move) continue;
        yield* drop(s);
        s = yield* subject(sys, false, false);
        yield* restore(s, state);
      }
      return 0;
    }),
  };
  const { status, output } = run({ init: ['-c', 'state'], programs: [program], prepare: hook.install, cpus: 1, seconds: 600 });
  assert.equal(status, 0, output);
  return seen;
}

const events = ['none', 'interrupt', 'nmi', 'smi'] as const;
/** `n` stops, up to `most` instructions from one to the next. */
export function randomStops(n: number, most: number, seed: number): Stop[] {
  let x = seed;
  const random = (): number => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Array.from({ length: n }, () => ({ after: 1 + Math.floor(random() * most), event: events[Math.floor(random() * 4)]! }));
}

export function same(stops: readonly Stop[]): Seen[] {
  const stayed = through(stops, false);
  const moved = through(stops, true);
  for (const [i, a] of stayed.entries()) assert.deepEqual(moved[i], a, `stop ${i} after ${a.retired} instructions`);
  return stayed;
}
