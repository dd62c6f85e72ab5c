/** MONITOR and MWAIT on two processors of a bare machine: what ends the wait, and when. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CpuState, EVENT_INTERRUPT } from '../../machine/cpu/state.ts';
import { QUANTUM } from '../../machine/costs.ts';
import { HLT, runTwo } from './two-processors.ts';

const FLAG = 0x6040, DELAY = 100_000;
const MONITOR = [0x0f, 0x01, 0xc8], MWAIT = [0x0f, 0x01, 0xc9];

/** AX = FLAG, until processor 0 halts; the cycle it did. */
function run(waiter: number[], writer: number[], setUp: (cpu: CpuState) => void = () => {}): { clock: number; halted: boolean; retired: number } {
  const { machine, ended } = runTwo([waiter, writer], (cpu, id) => {
    cpu.gpr[0] = BigInt(FLAG);
    if (id === 0) setUp(cpu);
  });
  const [p] = machine.processors;
  return { clock: p!.clock, halted: ended[0]!, retired: Number(p!.cpu.state.retired) };
}
/** MOV CX, n; LOOP; MOV [FLAG + 60], AL */
const writeLater = (address: number): number[] => [0xb9, DELAY / 2 & 0xff, DELAY / 2 >> 8, 0xe2, 0xfe, 0xa2, address & 0xff, address >> 8];
const WAIT = [...MONITOR, 0x31, 0xc0, ...MWAIT];

test('MWAIT waits until another processor changes a byte of the line, within a turn of it', () => {
  const r = run(WAIT, writeLater(FLAG + 60 - (FLAG & 63)));
  assert.ok(r.halted);
  assert.ok(r.clock > DELAY / 2 && r.clock < DELAY / 2 + 3 * QUANTUM, `${r.clock}`);
  assert.equal(r.retired, 4, 'no instruction passes in the wait');
});

test('a write to another line ends no wait, and without an armed line there is none', () => {
  assert.equal(run(WAIT, writeLater(FLAG + 64)).halted, false);
  assert.ok(run(MWAIT, [HLT]).clock < 100);
  const written = run([...MONITOR, 0xa3, FLAG & 0xff, FLAG >> 8, 0x31, 0xc0, ...MWAIT], [HLT]);
  assert.ok(written.clock < 100, 'its own store between the two disarms');
});

test('an interrupt ends it when it may be taken, and with bit 0 of ECX though IF keeps it out', () => {
  const pending = (cpu: CpuState): void => { cpu.pending |= EVENT_INTERRUPT; };
  assert.equal(run(WAIT, [HLT], pending).halted, false);
  const masked = run([0xb9, 0, 0, ...MONITOR, 0xb9, 1, 0, 0x31, 0xc0, ...MWAIT], [HLT], pending);
  assert.ok(masked.halted && masked.clock < 100);
});
