/**
 * The shell's grammar against real shells: each script of sh-cases.json with what bash 5.2 (--posix) and, where it
 * differs, dash 0.5.12 printed and returned. Recorded with standard error left out and an empty standard input.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { run } from './boot.ts';

interface Case { readonly script: string; readonly answers: readonly { readonly output: string; readonly status: number }[] }
const cases = JSON.parse(readFileSync(new URL('sh-cases.json', import.meta.url), 'utf8')) as Case[];

const files = new Map(cases.map(({ script }, i) => [`/cases/${i}`, `${script}\n`] as const));
const loop = cases.map((_, i) => `cd /; rm -rf /tmp/*; echo "@@ ${i}"; sh /cases/${i} </dev/null 2>/dev/null; s=$?; echo; echo "== $s"`).join('\n');

test('a shell script prints and returns what bash or dash does', () => {
  assert.ok(cases.length >= 150, `${cases.length} cases`);
  const { output } = run('sh /all', { files: new Map([...files, ['/all', `${loop}\n`]]), limit: 300 });
  const seen = new Map([...output.replaceAll('\r\n', '\n').matchAll(/^@@ (\d+)\n([\s\S]*?)\n== (\d+)\n(?=@@|$)/gm)].map(([, i, text, status]) => [Number(i), { output: text ?? '', status: Number(status) }]));
  const wrong = cases.flatMap(({ script, answers }, i) => {
    const got = seen.get(i);
    return answers.some((a) => a.output === got?.output && a.status === got.status) ? [] : [{ script, got, expected: answers }];
  });
  assert.deepEqual(wrong, []);
});
