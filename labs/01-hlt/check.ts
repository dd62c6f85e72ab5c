/** Tests of lab 01-hlt. */
import { KVM_EXIT_HLT } from '../../abi/kvm/index.ts';
import { errnoName } from '../../abi/errno.ts';
import { type Lab, describeEnd, describeRun, describeRuns, expect, quote, reasonName } from '../grading/lab.ts';
import type { KvmCall, RunExit, Seen } from '../grading/seen.ts';

const ENTRY = 0x1000;

/** What became of the calls of one name, for a message. */
function describeCalls(seen: Seen, name: string): string {
  const calls = seen.calls.filter((call) => call.name === name);
  const failed = calls.find((call) => call.result < 0);
  if (failed) return `${name} failed with ${errnoName(-failed.result)}`;
  return calls.length === 0 ? `no ${name}; ${describeEnd(seen)}` : `${name} returned ${calls[0]!.result}`;
}

const done = (seen: Seen, name: string): KvmCall | undefined => seen.calls.find((call) => call.name === name && call.result >= 0);

/** The return of KVM_RUN that the lab is about. */
const halted = (seen: Seen): RunExit | undefined => seen.runs.find((run) => run.result === 0 && run.reason === KVM_EXIT_HLT);

function theHalt(seen: Seen): RunExit {
  const halt = halted(seen);
  expect(halt !== undefined, 'a KVM_RUN that ends with KVM_EXIT_HLT', () => describeRuns(seen));
  return halt;
}

const hex = (n: number): string => `0x${n.toString(16)}`;
const test = (name: string, points: number, judge: (seen: Seen) => void) => ({ name, points, judge, args: [] });

export const lab: Lab = {
  name: '01-hlt',
  tests: [
    test('asks for the API version', 5, (seen) => {
      const call = done(seen, 'KVM_GET_API_VERSION');
      expect(call?.result === 12, 'KVM_GET_API_VERSION on /dev/kvm, which gives 12', () => describeCalls(seen, 'KVM_GET_API_VERSION'));
      expect(/^KVM API version 12$/m.test(seen.output), 'the line "KVM API version 12"', () => quote(seen.output));
    }),
    test('makes a VM with a vCPU', 10, (seen) => {
      for (const name of ['KVM_CREATE_VM', 'KVM_CREATE_VCPU']) expect(done(seen, name) !== undefined, `a descriptor from ${name}`, () => describeCalls(seen, name));
      expect(seen.mapped, "the vCPU's descriptor mapped with mmap: kvm_run is how the kernel says why the guest stopped", `no mapping of it; ${describeEnd(seen)}`);
    }),
    test('gives the VM memory with a HLT', 15, (seen) => {
      expect(done(seen, 'KVM_SET_USER_MEMORY_REGION') !== undefined, 'a memory slot from KVM_SET_USER_MEMORY_REGION', () => describeCalls(seen, 'KVM_SET_USER_MEMORY_REGION'));
      expect(seen.memory.length > 0, 'memory in place when KVM_RUN is called', () => describeRuns(seen));
      const slot = seen.memory.find((s) => s.guestAddress <= ENTRY && ENTRY < s.guestAddress + s.size);
      expect(slot !== undefined, `memory at guest-physical address ${hex(ENTRY)}`, () => `slots at ${seen.memory.map((s) => `${hex(s.guestAddress)} (${hex(s.size)} bytes)`).join(', ')}`);
      expect(slot.hlt >= 0, 'a HLT (0xf4) in guest memory before the guest runs', 'none in that slot');
      expect(slot.hlt === ENTRY, `the HLT at guest-physical address ${hex(ENTRY)}`, `it lies at ${hex(slot.hlt)}`);
    }),
    test('runs the guest to its HLT', 25, (seen) => {
      theHalt(seen);
      expect(seen.runCount === 1, 'one KVM_RUN: the first instruction is the HLT', () => describeRuns(seen));
      expect(seen.guestInstructions <= 1, 'one guest instruction', `${seen.guestInstructions} instructions in guest mode`);
      expect(/^KVM_EXIT_HLT$/m.test(seen.output), 'the line "KVM_EXIT_HLT"', () => quote(seen.output));
    }),
    test('the vCPU is a thread of its own', 15, (seen) => {
      const halt = theHalt(seen);
      expect(halt.tid !== halt.pid, 'KVM_RUN called by a thread made with pthread_create', `it was called by the main thread (tid ${halt.tid} of process ${halt.pid})`);
      expect(halt.comm === 'CPU 0/KVM', 'a vCPU thread named "CPU 0/KVM", as QEMU names its first', `its name is ${JSON.stringify(halt.comm)}`);
    }),
    test('tells which thread the vCPU is', 10, (seen) => {
      const halt = theHalt(seen);
      const line = /^thread: pid (\d+), tid (\d+), (.*)$/m.exec(seen.output);
      expect(line !== null, 'a line "thread: pid P, tid T, NAME"', () => quote(seen.output));
      expect(Number(line[1]) === halt.pid && Number(line[2]) === halt.tid, `pid ${halt.pid} and tid ${halt.tid}: KVM_RUN was called there`, JSON.stringify(line[0]));
      expect(line[3] === halt.comm, `the thread's name as /proc has it, ${JSON.stringify(halt.comm)}`, JSON.stringify(line[0]));
    }),
    test('tells how often guest mode was left', 10, (seen) => {
      const halt = theHalt(seen);
      const line = /^guest mode: (\d+) exits?$/m.exec(seen.output);
      expect(line !== null, 'a line "guest mode: N exits"', () => quote(seen.output));
      const truth = seen.runs.at(-1)!.exits;
      expect(Number(line[1]) === truth, `${truth} exits, as KVM's own counter has it`,
        `${JSON.stringify(line[0])}${Number(line[1]) === seen.runCount ? ': that is how often KVM_RUN returned; KVM handled the others itself' : ''}`);
      expect(halt.exits > 0, 'an exit', reasonName(halt.reason));
    }),
    test('ends with status 0', 10, (seen) => {
      expect(seen.end.how === 'exit' && seen.end.status === 0 && seen.runCount > 0, 'the program to end with status 0 after its guest has halted', () => (seen.runCount === 0 ? describeRuns(seen) : `${describeEnd(seen)}; KVM_RUN: ${describeRun(seen.runs.at(-1)!)}`));
    }),
  ],
};
