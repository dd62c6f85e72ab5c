/**
 * The tools against GNU's and util-linux's: each script of tools-cases.json with what coreutils 9.1, grep 3.8, sed 4.9,
 * util-linux 2.38 and procps 4.0 printed on both outputs, and the status. Recorded in an empty directory.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { run } from './boot.ts';

interface Case { readonly script: string; readonly output: string; readonly status: number }
const cases = JSON.parse(readFileSync(new URL('tools-cases.json', import.meta.url), 'utf8')) as Case[];

const files = new Map(cases.map(({ script }, i) => [`/cases/${i}`, `exec 2>&1\n${script}\n`] as const));
const loop = cases.map((_, i) => `cd /; rm -rf /tmp/w; mkdir /tmp/w; cd /tmp/w; echo "@@ ${i}"; sh /cases/${i} </dev/null >/tmp/out; s=$?; cat /tmp/out; echo; echo "== $s"`).join('\n');

test('a tool prints and returns what the one it is named after does', () => {
  assert.ok(cases.length >= 40, `${cases.length} cases`);
  const { output } = run('sh /all', { files: new Map([...files, ['/all', `${loop}\n`]]), limit: 300 });
  const seen = new Map([...output.replaceAll('\r\n', '\n').matchAll(/^@@ (\d+)\n([\s\S]*?)\n== (\d+)\n(?=@@|$)/gm)].map(([, i, text, status]) => [Number(i), { output: text ?? '', status: Number(status) }]));
  for (const [i, { script, output: expected, status }] of cases.entries()) assert.deepEqual({ script, ...seen.get(i) }, { script, output: expected, status });
});
