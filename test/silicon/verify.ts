/** Runs committed vectors through a tier. */
import { describe, differingParts, digest, normalize } from './compare.ts';
import type { Form } from './forms.ts';
import { Case } from './layout.ts';
import type { MachineUnderTest } from './machine.ts';
import { NO_DIGEST, STATES, caseOf, encodingOf } from './vectors.ts';

export interface Verdict { compared: number; readonly wrong: string[] }

const test = new Case();
/** The cases `states` of encoding `n` of a form against their digests. */
export function verify(form: Form, digests: Uint32Array, n: number, states: number, tiers: readonly MachineUnderTest[], verdict: Verdict): void {
  const e = encodingOf(form, n);
  for (let s = 0; s < states; s++) {
    const index = n * STATES + s, want = digests[index]!;
    if (want === NO_DIGEST) continue;
    caseOf(form, e, n, s, 0, test);
    for (const [i, tier] of tiers.entries()) {
      const got = tier.run(test);
      normalize(got, test, e.insn, false);
      const is = digest(got) || 1;
      verdict.compared++;
      if (is !== want) verdict.wrong.push(`${form.key}, case ${index}, ${i ? 'hot' : 'cold'} tier: ${differingParts(want, is).join(', ')}\n    ${describe(test)}\n    npm run -s silicon -- --form '${form.key}' --case ${index}  shows silicon's answer`);
    }
  }
}
