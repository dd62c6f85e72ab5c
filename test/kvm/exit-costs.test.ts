/** What a guest loses to exits that KVM handles, on its own clock: exactly what the costs table says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { costs } from '../../machine/costs.ts';
import { IRET, machine, make, next, notes, out, rawIoctl, rm } from './chips-program.ts';

const TURNS = 100;
/** rdtsc; mov esi,eax; mov bp,TURNS; the loop; rdtsc; sub eax,esi; mov edx,eax; out. */
const timed = (body: readonly number[]): number[] =>
  [0x0f, 0x31, 0x66, 0x89, 0xc6, 0xbd, TURNS, 0, ...body, 0x4d, 0x75, 256 - (body.length + 3), 0x0f, 0x31, 0x66, 0x29, 0xf0, 0x66, 0x89, 0xc2, ...out(0x10, 1)];

/** Cycles between the guest's two looks at its clock. */
function* cycles(sys: number, body: readonly number[]): Sys<number> {
  const g = yield* machine(sys, {}, timed(body), [IRET]);
  assert.equal(yield* next(g), 'out 10');
  const regs = yield* make(K.kvm_regs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
  const passed = Number(regs.rdx & 0xffff_ffffn);
  yield* rm(g.m);
  return passed;
}

test('an exit that the kernel handles costs the guest the exit, the entry, and KVM between them', () => {
  notes(function* body(sys) {
    const nothing = yield* cycles(sys, [0x66, 0x31, 0xc0]);
    const cpuid = yield* cycles(sys, [0x66, 0x31, 0xc0, 0x0f, 0xa2]);
    assert.equal(cpuid - nothing, TURNS * (costs.vmExit + costs.kvmExit + costs.vmEntry));
  });
});
