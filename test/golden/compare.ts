/** Comparing our answers with recorded ones: what was recorded must be there; what was not is free. */
import type { RunRecord } from './probe/guests.ts';
import type { Case } from './probe/recorder.ts';

export interface RecordedRun extends RunRecord { readonly registers_agree: boolean }

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The first difference of a case, or undefined. */
export function caseDifference(got: Case, want: Case): string | undefined {
  for (const key of ['fd', 'op', 'arg', 'req', 'ret', 'errno'] as const) {
    if (!same(got[key], want[key])) return `${key} is ${JSON.stringify(got[key])}, recorded ${JSON.stringify(want[key])}`;
  }
  for (const [key, value] of Object.entries(want.out ?? {})) {
    if (!same(got.out?.[key], value)) return `${key} is ${JSON.stringify(got.out?.[key])}, recorded ${JSON.stringify(value)}`;
  }
  return undefined;
}

/** What an exit says beyond registers; those differ between vendors where registers_agree is false. */
const REGISTERS = new Set(['if_flag', 'ready', 'flags', 'cr8', 'apic_base', 'rip', 'rflags', 'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'cs', 'cr0', 'cr2', 'efer']);
/** Of an internal error suberror, ndata and data0 are the contract. */
const cut = (key: string, value: unknown): unknown => {
  if (key !== 'internal') return value;
  const { suberror, ndata, data0 } = value as Record<string, unknown>;
  return { suberror, ndata, data0 };
};

export function runDifference(got: RunRecord, want: RecordedRun): string | undefined {
  for (const [i, step] of want.steps.entries()) {
    const mine = got.steps[i];
    if (mine === undefined) return `exit ${i} is missing`;
    for (const [key, value] of Object.entries(step)) {
      if (!want.registers_agree && REGISTERS.has(key)) continue;
      if (!same(cut(key, mine[key] ?? {}), cut(key, value)) && !same(mine[key], value)) return `exit ${i}: ${key} is ${JSON.stringify(mine[key])}, recorded ${JSON.stringify(value)}`;
    }
  }
  if (got.steps.length > want.steps.length) return `${got.steps.length} exits, recorded ${want.steps.length}`;
  for (const key of ['after', 'mem_2000'] as const) {
    if (want[key] !== undefined && !same(got[key], want[key])) return `${key} is ${JSON.stringify(got[key])}, recorded ${JSON.stringify(want[key])}`;
  }
  return undefined;
}
