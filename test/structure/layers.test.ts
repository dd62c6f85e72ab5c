/**
 * The floor plan: which folder may import which, and which folders may touch the real host.
 * Reads every source file as text, so that dynamic imports and both kinds of quotes count too.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import { test } from 'node:test';
import { root } from '../support/root.ts';


/** Every folder of source, and what its files may import: a folder, or single files or folders of one. */
const mayImport: Record<string, readonly string[]> = {
  abi: ['abi', 'lib'],
  lib: ['abi', 'lib'],
  machine: ['machine', 'abi', 'lib'],
  kernel: ['kernel', 'abi', 'lib', 'machine'],
  kvm: ['kvm', 'abi', 'lib', 'machine/vmx', 'machine/cpu', 'machine/chips', 'machine/processor.ts', 'machine/machine.ts', 'kernel/exports.ts'],
  userland: ['userland', 'abi', 'lib'],
  'qemu-lite': ['qemu-lite', 'abi', 'lib', 'machine/chips', 'userland/libc.ts'],
  'labs/start': ['abi', 'userland/libc.ts', 'userland/asm'],
  'labs/solution': ['abi', 'userland/libc.ts', 'userland/asm'],
  'labs/check': ['*'],
  system: ['system', 'abi', 'lib', 'machine', 'kernel', 'kvm', 'userland', 'qemu-lite', 'labs'],
  cli: ['*'],
  web: ['*'],
  bench: ['*'],
  test: ['*'],
};
const hostFolders = new Set(['cli', 'web', 'test', 'bench', 'labs/check']);
/** Top-level folders without source of the project. */
const noSource = new Set(['docs', 'node_modules']);

const folderOf = (file: string): string => {
  const [top = ''] = file.split('/');
  if (top !== 'labs') return top;
  return file.endsWith('/check.ts') || file.startsWith('labs/grading') ? 'labs/check' : file.includes('solution') ? 'labs/solution' : 'labs/start';
};

const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(ts|mts|js|mjs)$/.test(entry.name))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)).split('\\').join('/'))
  .filter((file) => !/^(node_modules|\.|lab-work)/.test(file));

/** Comments go, string contents stay: imports are strings. */
const withoutComments = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
/** Strings go as well, where words of code are looked for. */
const withoutStrings = (text: string): string =>
  text.replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\$]|\\.|\$(?!\{))*`/g, "''");

/** Every module a text names: import … from, export … from, import '…', import('…'), require('…'). */
export function importsOf(text: string): string[] {
  const found: string[] = [];
  for (const match of withoutComments(text).matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)(['"`])([^'"`\n]+)\1/g)) found.push(match[2]!);
  return found;
}

const vitrine: Record<string, string> = { 'vitrine/libc': 'userland/libc.ts', 'vitrine/abi': 'abi/index.ts' };

test('every folder with source stands in the floor plan and every folder of the plan holds source', () => {
  const seen = new Set(files.map(folderOf));
  const top = readdirSync(root, { withFileTypes: true }).filter((e) => e.isDirectory() && !e.name.startsWith('.')).map((e) => e.name);
  for (const name of top) assert.ok(noSource.has(name) || name === 'labs' || name === 'lab-work' || name in mayImport, `folder ${name}/ is not in the floor plan`);
  for (const name of Object.keys(mayImport)) if (!['labs/solution'].includes(name)) assert.ok(seen.has(name), `${name}/ of the floor plan holds no source`);
});

test('imports follow the table of the floor plan', () => {
  let scanned = 0, imports = 0;
  const wrong: string[] = [];
  for (const file of files) {
    const allowed = mayImport[folderOf(file)];
    if (!allowed) continue;
    scanned++;
    for (const name of importsOf(readFileSync(join(root, file), 'utf8'))) {
      imports++;
      const target = name.startsWith('.') ? posix.join(posix.dirname(file), name) : vitrine[name];
      if (target === undefined) {
        if (!hostFolders.has(folderOf(file))) wrong.push(`${file}: imports the package ${name}`);
        continue;
      }
      const own = folderOf(file).split('/')[0] === target.split('/')[0] && folderOf(file).startsWith('labs') && posix.dirname(target) === posix.dirname(file);
      if (!own && !allowed.includes('*') && !allowed.some((a) => target === a || target.startsWith(`${a}/`))) wrong.push(`${file}: may not import ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(scanned > 60, `only ${scanned} files scanned`);
  assert.ok(imports > 200, `only ${imports} imports seen`);
});

test('the core touches neither host facilities nor the wall clock', () => {
  const banned = /\b(Date|setTimeout|setInterval|setImmediate|queueMicrotask|Promise|process|Buffer|performance|fetch|globalThis|crypto|console|navigator)\b|Math\.random|\basync\b|\bawait\b|\brequire\s*\(/;
  let scanned = 0;
  const wrong: string[] = [];
  for (const file of files) {
    if (hostFolders.has(folderOf(file)) || !(folderOf(file) in mayImport)) continue;
    scanned++;
    const lines = withoutStrings(withoutComments(readFileSync(join(root, file), 'utf8'))).split('\n');
    for (const line of lines) {
      const word = banned.exec(line);
      if (!word) continue;
      // A name of our own (a property, a parameter or a type such as `console: ConsolePort`) is not the host's.
      const escaped = word[0].replace('.', '\\.');
      if (/^(console|process|crypto|fetch)$/.test(word[0]) && !new RegExp(`(^|[^.\\w])${escaped}\\.(log|error|warn|exit|env|argv|stdout|stdin|getRandomValues|subtle)\\b`).test(line)) continue;
      wrong.push(`${file}: ${line.trim().slice(0, 100)}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(scanned > 60, `only ${scanned} files scanned`);
});

test('the scanner sees every way to name a module', () => {
  assert.deepEqual(importsOf(`import a from './a.ts'; export * from "./b.ts"; import('./c.ts'); import "./d.ts"; const e = require('./e.ts');
    // import './f.ts'
    import type { G } from 'vitrine/abi';`), ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', 'vitrine/abi']);
});

test('programs and libc keep no mutable module state', () => {
  let scanned = 0;
  const wrong: string[] = [];
  for (const file of files) {
    if (!/^(userland|qemu-lite)\//.test(file)) continue;
    scanned++;
    for (const line of withoutComments(readFileSync(join(root, file), 'utf8')).split('\n')) {
      if (/^(export\s+)?(let|var)\b/.test(line)) wrong.push(`${file}: ${line.trim().slice(0, 100)}`);
      // A module-level container may only be a table: frozen by its type.
      if (/^(export\s+)?const\s+\w+(\s*:[^=]*)?\s*=\s*(new (Map|Set|Array|WeakMap|Uint8Array)\b|\[\s*\]\s*;|\{\s*\}\s*;)/.test(line) && !/Readonly(Map|Set|Array)|readonly /.test(line)) wrong.push(`${file}: ${line.trim().slice(0, 100)}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(scanned > 20, `only ${scanned} files scanned`);
});
