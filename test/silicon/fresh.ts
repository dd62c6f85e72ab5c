/** Fresh random instructions: every form in 64-, 32- and 16-bit code, both tiers against the silicon at hand. */
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { describe, differences, digest, normalize } from './compare.ts';
import { type Form, forms, narrowForms } from './forms.ts';
import { inexact } from './inexact.ts';
import { entersNops, readsCode } from './verify.ts';
import type { Answer, Case } from './layout.ts';
import { MachineUnderTest } from './machine.ts';
import { record } from './recorder.ts';
import { NO_DIGEST, caseOf, encodingOf, silicon } from './vectors.ts';

export interface Summary {
  compared: number;
  /** Cases that did not come to an end on silicon. */
  left: number;
  regions: number;
  readonly wrong: Map<string, string[]>;
}
/** Cases of an encoding. */
const STATES = 4;
const BATCH = 4000;

export interface Job { readonly name: string; readonly insn: Insn; readonly test: Case }

/** Has silicon and both tiers run the jobs. */
export class Comparison {
  readonly summary: Summary = { compared: 0, left: 0, regions: 0, wrong: new Map() };
  private readonly tiers = [new MachineUnderTest(false), new MachineUnderTest(true)] as const;
  private jobs: Job[] = [];

  add(job: Job): void {
    this.jobs.push(job);
    if (this.jobs.length >= BATCH) this.flush();
  }
  flush(): void {
    const { jobs, summary } = this;
    if (jobs.length === 0) return;
    record(jobs.map((j) => j.test)).forEach((want, i) => { this.compare(jobs[i]!, want); });
    this.jobs = [];
    summary.regions = this.tiers[1].regions;
  }
  private compare({ name, insn, test }: Job, want: Answer): void {
    const { summary } = this;
    const expected = silicon(want, test, insn);
    if (expected === NO_DIGEST) { summary.left++; return; }
    summary.compared++;
    let hotDiffers = readsCode(insn, test.mode);
    for (const [i, tier] of this.tiers.entries()) {
      if (i === 1 && hotDiffers) continue;
      const got = tier.run(test);
      hotDiffers ||= entersNops(got, test);
      normalize(got, test, insn, false);
      if ((digest(got) || 1) === expected) continue;
      const list = summary.wrong.get(name) ?? [];
      summary.wrong.set(name, list);
      list.push(list.length > 3 ? '' : `${i ? 'hot' : 'cold'}: ${differences(want, got).join('\n    ')}\n    ${describe(test)}`);
    }
  }
}

export function freshInstructions(count: number, seed: number, filter: RegExp, edges: boolean): Summary {
  const all: { form: Form; mode: 64 | 32 | 16 }[] = [];
  for (const form of forms) if (form.mode === 64) all.push({ form, mode: 64 }, { form, mode: 64 });
  for (const form of narrowForms) all.push({ form, mode: 32 }, { form, mode: 16 });
  const wanted = all.filter(({ form }) => filter.test(form.key) && inexact(form.row) === undefined);
  if (wanted.length === 0) throw new Error(`no form matches ${filter}`);
  const comparison = new Comparison();
  let made = 0;
  for (let n = 0; made < count; n++) {
    for (const { form, mode } of wanted) {
      if (made >= count) break;
      const number = n * 3 + (mode === 16 ? 2 : mode === 32 ? 1 : 0);
      const e = encodingOf(form, number, seed, mode);
      for (let s = 0; s < STATES; s++, made++) comparison.add({ name: `${form.key}${mode === 64 ? '' : ` (${mode}-bit code)`}`, insn: e.insn, test: caseOf(form, e, number, s, seed, edges) });
    }
  }
  comparison.flush();
  return comparison.summary;
}
