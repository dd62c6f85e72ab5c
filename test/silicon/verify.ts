/** Runs committed vectors through a tier. */
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { CS } from '../../machine/cpu/state.ts';
import { describe, differingParts, digest, normalize } from './compare.ts';
import type { Form } from './forms.ts';
import { type Answer, Case } from './layout.ts';
import { type MachineUnderTest, NOPS } from './machine.ts';
import { NO_DIGEST, STATES, caseOf, encodingOf } from './vectors.ts';

export interface Verdict { compared: number; readonly wrong: string[] }

/** A memory operand in the code segment, where the hot tier has NOPs. */
export const readsCode = (insn: Insn, mode: number): boolean => insn.seg === CS && mode !== 64;
/** By the cold tier's answer, the case went on at one of the breakpoints where the hot tier has NOPs. */
export const entersNops = (cold: Answer, test: Case): boolean => cold.trap === 3 && ((test.codeAt - Number(cold.rip & 0xfffn)) & 0xfff) < NOPS;

const test = new Case();
/** The cases `states` of encoding `n` of a form against their digests. */
export function verify(form: Form, digests: Uint32Array, n: number, states: number, tiers: readonly MachineUnderTest[], verdict: Verdict): void {
  const e = encodingOf(form, n);
  for (let s = 0; s < states; s++) {
    const index = n * STATES + s, want = digests[index]!;
    if (want === NO_DIGEST) continue;
    caseOf(form, e, n, s, 0, false, test);
    let hotDiffers = readsCode(e.insn, e.insn.codeSize === 8 ? 64 : 32);
    for (const [i, tier] of tiers.entries()) {
      if (i === 1 && hotDiffers) continue;
      const got = tier.run(test);
      hotDiffers ||= entersNops(got, test);
      normalize(got, test, e.insn, false);
      const is = digest(got) || 1;
      verdict.compared++;
      if (is !== want) verdict.wrong.push(`${form.key}, case ${index}, ${i ? 'hot' : 'cold'} tier: ${differingParts(want, is).join(', ')}\n    ${describe(test)}\n    npm run -s silicon -- --form '${form.key}' --case ${index}  shows silicon's answer`);
    }
  }
}
