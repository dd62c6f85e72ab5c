import assert from 'node:assert/strict';
import test from 'node:test';
import * as esbuild from 'esbuild';

const { keepConstants } = await import(new URL('../../cli/constants.mjs', import.meta.url).href) as { keepConstants: (by: typeof esbuild, code: string) => Promise<string> };

/** What esbuild makes of one source, with its constants given back. */
async function bundled(source: string): Promise<string> {
  const { outputFiles } = await esbuild.build({ stdin: { contents: source }, bundle: true, format: 'esm', write: false });
  return keepConstants(esbuild, outputFiles[0]!.text);
}

test('a bundle declares with const what its sources assign once', async () => {
  const code = await bundled('const STATE = { rip: 8 }; const RIP = STATE.rip >>> 2, CR2 = 3; class Engine {} export { RIP, CR2, Engine };');
  assert.match(code, /^const STATE = /m);
  assert.match(code, /^const RIP = STATE.rip >>> 2;$/m);
  assert.match(code, /^const CR2 = 3;$/m);
  assert.match(code, /^const Engine = class/m);
});

test('a bundle declares with var what is assigned again, in whatever way, or declared without a value', async () => {
  const code = await bundled(`
    let counted = 0, stepped = 0, first = 1, second = 2, bare, each = 0, half = 0, empty;
    let alone = 5;
    export function use() { counted += 1; stepped++; [first, second] = [second, first]; bare = 3; for (each of [1]) ; ({ half } = { half: 1 }); alone = 6; alone = 7; empty = 1; return [counted, stepped, first, second, bare, each, half, alone, empty]; }
  `);
  assert.doesNotMatch(code, /^const /m);
  const { use } = await import(`data:text/javascript,${encodeURIComponent(code)}`) as { use: () => number[] };
  assert.deepEqual(use(), [1, 1, 2, 1, 3, 1, 1, 7, 1]);
});
