/**
 * The form of a lab: what its check.ts exports. A test judges what was seen of one run of the student's program;
 * tests that name the same arguments share that run.
 */
import { errnoName } from '../../abi/errno.ts';
import * as K from '../../abi/kvm/index.ts';
import { SIGSEGV } from '../../abi/signal.ts';
import type { IoExit, RunExit, Seen } from './seen.ts';

export interface LabTest {
  readonly name: string;
  readonly points: number;
  /** Arguments the program is started with. */
  readonly args: readonly string[];
  /** Throws Wrong when the points are not earned. */
  readonly judge: (seen: Seen) => void;
}

export interface Lab {
  /** The folder's name, which is also the program's: 01-hlt. */
  readonly name: string;
  readonly tests: readonly LabTest[];
}

/** Why a test gives no points, in two lines that a student can act on. */
export class Wrong extends Error {
  readonly expected: string;
  readonly seen: string;
  constructor(expected: string, seen: string) {
    super(`expected ${expected}, seen ${seen}`);
    this.expected = expected;
    this.seen = seen;
  }
}

export function expect(condition: boolean, expected: string, seen: string | (() => string)): asserts condition {
  if (!condition) throw new Wrong(expected, typeof seen === 'string' ? seen : seen());
}

// ---------------------------------------------------------------- words for what was seen

const reasons = new Map(Object.entries(K).flatMap(([name, value]) =>
  (/^KVM_EXIT_[A-Z0-9_]+$/.test(name) && !/^KVM_EXIT_(IO|HYPERV|XEN|MEMORY)_./.test(name) && typeof value === 'number' ? [[value, name] as const] : [])));

export const reasonName = (reason: number): string => reasons.get(reason) ?? `exit reason ${reason}`;

const hex = (n: number): string => `0x${n.toString(16)}`;

export const describeIo = (io: IoExit): string =>
  `${io.direction === 'out' ? 'OUT to' : 'IN from'} port ${hex(io.port)}, ${io.count > 1 ? `${io.count} elements of ` : ''}${io.size} byte${io.size === 1 ? '' : 's'}`;

export function describeRun(run: RunExit): string {
  if (run.result < 0) return `-1 ${errnoName(-run.result)}`;
  return reasonName(run.reason) + (run.io ? ` (${describeIo(run.io)})` : run.detail ? ` (${run.detail})` : '');
}

const times = (n: number): string => (n === 1 ? 'once' : n === 2 ? 'twice' : `${n} times`);

/** What came of the KVM_RUNs, as a sentence. */
export function describeRuns(seen: Seen): string {
  const ending = describeEnd(seen);
  const failed = seen.calls.find((call) => call.result < 0);
  const why = failed ? `${failed.name} failed with ${errnoName(-failed.result)}; ` : '';
  if (seen.runCount === 0) return `${why}KVM_RUN never returned; ${ending}`;
  const halt = seen.runs.findIndex((run) => run.result === 0 && run.reason === K.KVM_EXIT_HLT) + 1;
  if (halt > 0 && halt < seen.runCount) return `${why}KVM_RUN number ${halt} returned ${describeRun(seen.runs[halt - 1]!)}, yet it was called again, ${seen.runCount} times in all; ${ending}`;
  const last = seen.runs.at(-1)!;
  return `${why}KVM_RUN returned ${times(seen.runCount)}, ${seen.runCount > seen.runs.length ? `number ${seen.runs.length}` : seen.runCount > 1 ? 'the last time' : 'and that'} with ${describeRun(last)}; ${ending}`;
}

/** How the program ended, as half a sentence about it. */
export function describeEnd({ end, thrown, output }: Seen): string {
  switch (end.how) {
    case 'exit': {
      const said = output.trim().split('\n').at(-1) ?? '';
      const words = thrown !== '' ? ` after an uncaught ${thrown}` : end.status !== 0 && said !== '' ? `, having said: ${quote(said, 160)}` : '';
      const signal = end.status === 128 + SIGSEGV ? ' (SIGSEGV: it used an address that is not mapped)' : '';
      return `the program ended with status ${end.status}${signal}${words}`;
    }
    case 'time': return `the program did not end: ${end.doing}`;
    case 'computes': return 'the program did not end: it runs in a loop without any system call';
    case 'sleeps': return 'the program did not end: it waits for something that never comes';
    case 'output': return 'the program did not end: it prints without end';
    case 'memory': return 'the program used up the memory it may have';
    case 'died': return `the simulator ended: ${end.message}`;
    case 'load': return `the program cannot be loaded: ${end.message}`;
  }
}

/** Text for a message: quoted, shortened in the middle. */
export function quote(text: string, length = 72): string {
  const quoted = JSON.stringify(text);
  return quoted.length <= length ? quoted : `${quoted.slice(0, length / 2)} … ${quoted.slice(-length / 3)}`;
}
