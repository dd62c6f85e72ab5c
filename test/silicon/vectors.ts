/**
 * The committed vectors: of each form the 32-bit digests (compare.ts) of what silicon answered to CASES cases. The cases
 * themselves follow from the form's name by forms.ts, encode.ts and state.ts: whoever changes those records again
 * (`npm run silicon -- --record`).
 *
 * A file a group: for each form the length of its name in two bytes, the name, and CASES digests of four bytes, little-endian.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { digest, normalize } from './compare.ts';
import { type Encoding, encode } from './encode.ts';
import { type Form, forms } from './forms.ts';
import { type Answer, Case, SYSTEM_CALL, TIMED_OUT } from './layout.ts';
import { Random, hashOf } from './random.ts';
import { fill } from './state.ts';

export const ENCODINGS = 25, STATES = 8, CASES = ENCODINGS * STATES;
export const GROUPS = ['integer', 'system', 'sse', 'mmx', 'x87'] as const;
export type Group = (typeof GROUPS)[number];
/** Of a case that cannot be compared, for it did not come to an end. */
export const NO_DIGEST = 0;

export function groupOf(form: Form): Group {
  const { row, operands } = form;
  if (row.attributes.has('sse')) return 'sse';
  if (operands.some((o) => 'PQN'.includes(o.kind)) || row.mnemonic === 'EMMS') return 'mmx';
  if (/^(D[8-F]|9B)\b/.test(row.opcode)) return 'x87';
  return 'exec' in row.meaning ? 'system' : 'integer';
}

/** An encoding of a form. Seed 0 gives those of the vectors. */
export function encodingOf(form: Form, n: number, seed = 0, mode: 64 | 32 | 16 = form.mode): Encoding {
  return encode(form, new Random(seed, hashOf(form.key), n), mode);
}
/** A case of an encoding, put into `test`. */
export function caseOf(form: Form, e: Encoding, n: number, state: number, seed = 0, edges = false, test = new Case()): Case {
  fill(form, e, new Random(seed, hashOf(form.key), n, state + 1), test, edges);
  return test;
}
/** The digest of what silicon answered. */
export function silicon(a: Answer, test: Case, insn: Insn): number {
  if (a.trap === TIMED_OUT || a.trap === SYSTEM_CALL) return NO_DIGEST;
  normalize(a, test, insn, true);
  return digest(a) || 1;
}

const pathOf = (group: Group): string => fileURLToPath(new URL(`./vectors/${group}.bin`, import.meta.url));

export type Vectors = Map<string, Uint32Array>;
export function readVectors(group: Group): Vectors {
  const vectors: Vectors = new Map();
  if (!existsSync(pathOf(group))) return vectors;
  const bytes = readFileSync(pathOf(group));
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt16LE(at);
    const key = bytes.toString('latin1', at + 2, at + 2 + length);
    at += 2 + length;
    vectors.set(key, Uint32Array.from({ length: CASES }, (_, i) => bytes.readUInt32LE(at + 4 * i)));
    at += 4 * CASES;
  }
  return vectors;
}
export function writeVectors(group: Group, vectors: Vectors): void {
  const parts: Buffer[] = [];
  for (const [key, digests] of vectors) {
    const head = Buffer.alloc(2);
    head.writeUInt16LE(key.length);
    const body = Buffer.alloc(4 * CASES);
    digests.forEach((d, i) => { body.writeUInt32LE(d, 4 * i); });
    parts.push(head, Buffer.from(key, 'latin1'), body);
  }
  writeFileSync(pathOf(group), Buffer.concat(parts));
}
export const formsOf = (group: Group): readonly Form[] => forms.filter((f) => groupOf(f) === group);
