/** All of the probe's questions, asked in the order they were recorded in. */
import { O_CLOEXEC, O_RDWR } from '../../../abi/fcntl.ts';
import type { Program, Sys } from '../../../abi/process.ts';
import { _start, open } from '../../../userland/libc.ts';
import { askCpuid, askMsrs } from './ask-cpuid-msrs.ts';
import { askLife } from './ask-life.ts';
import { askMemory } from './ask-memory.ts';
import { askSregs } from './ask-sregs.ts';
import { askExtensions, askLists, askSystem } from './ask-system.ts';
import { askVcpus } from './ask-vcpus.ts';
import { askVm } from './ask-vm.ts';
import { type RunRecord, runGuests } from './guests.ts';
import { type Case, Recorder } from './recorder.ts';

export interface Answers { readonly cases: Case[]; readonly runs: RunRecord[] }

/** The program /bin/probe: asks everything, and leaves the answers in `answers`. */
export function probe(answers: Answers, wanted: { readonly cases: boolean; readonly run: (id: string) => boolean }): Program {
  return {
    name: 'probe',
    main: _start(function* main(): Sys<number> {
      const sys = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);
      if (wanted.cases) {
        const q = new Recorder();
        for (const section of [askSystem, askExtensions, askLists, askMemory, askVcpus, askSregs, askCpuid, askMsrs, askVm, askLife]) yield* section(q, sys);
        answers.cases.push(...q.cases);
      }
      yield* runGuests(sys, wanted.run, (r) => { answers.runs.push(r); });
      return 0;
    }),
  };
}
