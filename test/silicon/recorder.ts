/** Builds and asks the recorder, where there is an x86-64 Linux with gcc to ask. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Answer, CASE, type Case } from './layout.ts';

const source = fileURLToPath(new URL('../recorder/silicon.c', import.meta.url));
const folder = fileURLToPath(new URL('../../node_modules/.cache/silicon', import.meta.url));

/** The recorder's path; an Error of one line where it cannot be. */
export function buildRecorder(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error(`the silicon recorder needs an x86-64 Linux, not ${process.platform} on ${process.arch}`);
  const binary = join(folder, 'recorder');
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  mkdirSync(folder, { recursive: true });
  const gcc = spawnSync('gcc', ['-O1', '-o', binary, source], { encoding: 'utf8' });
  if (gcc.error) throw new Error('the silicon recorder needs gcc, which is not installed');
  if (gcc.status !== 0) throw new Error(`gcc cannot build the silicon recorder: ${gcc.stderr.split('\n')[0]}`);
  return binary;
}

/** What silicon answers to cases. */
export function record(cases: readonly Case[]): Answer[] {
  const input = Buffer.alloc(cases.length * CASE.size);
  cases.forEach((c, i) => { input.set(c.u8, i * CASE.size); });
  const run = spawnSync(buildRecorder(), { input, maxBuffer: 1 << 30 });
  if (run.status !== 0) throw new Error(`the silicon recorder ended with ${run.signal ?? run.status}`);
  const out = run.stdout;
  const answers: Answer[] = [];
  for (let at = 0; at < out.length;) {
    const size = out.readUInt32LE(at);
    const a = new Answer(size);
    a.u8.set(out.subarray(at, at + size));
    answers.push(a);
    at += size;
  }
  if (answers.length !== cases.length) throw new Error(`the silicon recorder answered ${answers.length} of ${cases.length} cases`);
  return answers;
}
