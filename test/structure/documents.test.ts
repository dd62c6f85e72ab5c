/** What the documents name is there: files of the tree, commands of package.json and of the Makefile. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/root.ts';

const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)).split('\\').join('/'))
  .filter((file) => !/^(node_modules|\.|lab-work)/.test(file));
const documents = files.filter((file) => file.endsWith('.md')).map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }));

test('a file of ours that a document names is in the tree', () => {
  let seen = 0;
  const missing: string[] = [];
  for (const { file, text } of documents) {
    for (const [, code = ''] of text.matchAll(/`([^`\n]+)`/g)) {
      for (const [name] of code.matchAll(/(?<![\w/.-])(?:[\w.-]+\/)*[\w-][\w.-]*\.(?:ts|mjs|md|asm|tsv)(?![\w/])/g)) {
        if (/^(lab-work\/|my\.ts|FILE)/.test(name)) continue;
        seen++;
        if (!existsSync(join(root, dirname(file), name)) && !files.some((f) => f === name || f.endsWith(`/${name}`))) missing.push(`${file}: ${name}`);
      }
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(seen > 100, `only ${seen} names seen`);
});

test('a command that a document names is one', () => {
  const scripts = Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }).scripts);
  const targets = [...readFileSync(join(root, 'Makefile'), 'utf8').matchAll(/^([\w-]+):/gm)].map(([, name]) => name!);
  let seen = 0;
  const wrong: string[] = [];
  for (const { file, text } of documents) {
    const code = text.match(/`[^`\n]+`|^ {4}.*$/gm)?.join('\n') ?? '';
    for (const [line, kind, name = ''] of code.matchAll(/\b(npm run|make)(?: -s)? ([a-z][\w-]*)/g)) {
      seen++;
      if (!(kind === 'make' ? targets : scripts).includes(name)) wrong.push(`${file}: ${line}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen > 20, `only ${seen} commands seen`);
});
