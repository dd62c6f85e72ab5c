/** What the command line says to options and files that make no sense, without a process for each. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { main } from '../../bench/main.ts';
import { checkWritable, commandLine, makeFolder } from '../../cli/command-line.ts';
import { readRecord } from '../../cli/record.ts';
import { root } from '../support/root.ts';
import { UsageError } from '../../cli/usage.ts';

const folder = mkdtempSync(join(tmpdir(), 'vitrine-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('an option without its argument, given twice, unknown or with a value that is no choice is a usage error of one line', () => {
  const parse = (...argv: string[]) => commandLine(argv, 'thing', '$0', ['mount'])
    .option('file', { type: 'string', requiresArg: true })
    .option('mount', { type: 'string', array: true, nargs: 1 })
    .option('set', { choices: ['tiny', 'small'] as const })
    .strict().parseSync();
  for (const argv of [['--file'], ['--file', 'a', '--file', 'b'], ['--nonsense'], ['stray'], ['--set', 'huge']]) {
    assert.throws(() => parse(...argv), (error: Error) => error instanceof UsageError && !error.message.includes('\n'), argv.join(' '));
  }
  assert.deepEqual(parse('--mount', 'a', '--mount', 'b', '--file', 'x').mount, ['a', 'b']);
});

const head = {
  format: 'vitrine-record-1', cpus: 2, memory: 1 << 29, seed: 1, mhz: 1000, command: null, quiet: true, terminal: false, size: { cols: 80, rows: 24 }, startDate: '0',
};
function replay(...lines: unknown[]): ReturnType<typeof readRecord> {
  const file = join(folder, 'record');
  writeFileSync(file, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
  return readRecord(file);
}

test('a record whose first line no run could have written is not replayed', () => {
  assert.equal(replay(head).head.cpus, 2);
  for (const wrong of [
    { format: 'vitrine-record-2' }, { cpus: 0 }, { cpus: 17 }, { cpus: '2' }, { memory: 1 }, { memory: 2 ** 40 }, { memory: (1 << 29) + 1 }, { seed: -1 }, { mhz: 0 },
    { command: 5 }, { quiet: 'no' }, { terminal: null }, { size: {} }, { startDate: 'today' },
  ]) assert.throws(() => replay({ ...head, ...wrong }), /not a record/, JSON.stringify(wrong));
  for (const line of ['', 'null', '[]', '5', '{', '\0\xff']) assert.throws(() => replay(line), /not a record/, line);
  assert.throws(() => readRecord(folder), /EISDIR/);
});

test('a record with a damaged input is not replayed, and the line says which', () => {
  const good = [{ read: 'eof' }, { read: 'aGk=' }, { at: 5, input: '' }, { at: 6, size: { cols: 100, rows: 50 } }];
  assert.deepEqual(replay(head, ...good).entries, good);
  for (const wrong of [5, null, {}, '{"read', { read: 5 }, { read: '!!!!' }, { at: 'x', input: '' }, { at: 1e300, input: '' }, { at: -1, input: '' }, { at: 1, size: { cols: 0, rows: 1 } }, { at: 1 }]) {
    assert.throws(() => replay(head, good[0], wrong), /input 2 is damaged/, JSON.stringify(wrong));
  }
});

test('a file that cannot be written at the end is refused at the start', () => {
  checkWritable('json', undefined);
  checkWritable('json', join(folder, 'new.json'));
  assert.throws(() => checkWritable('json', folder), /^Error: --json .*EISDIR/);
  assert.throws(() => checkWritable('json', join(folder, 'no', 'such')), /ENOENT/);
});

test('a folder is made with its parents, and not where a file is in the way', () => {
  makeFolder(join(folder, 'a', 'b', 'c'));
  makeFolder(join(folder, 'a', 'b', 'c'));
  assert.throws(() => mkdirSync(join(folder, 'a', 'b', 'c')), /EEXIST/);
  assert.throws(() => makeFolder(join(folder, 'new.json', 'b')), /ENOTDIR/);
});

test('bare silicon loads multiboot kernels only, and none that is damaged', () => {
  const m = new BareMachine(16 << 20);
  const file = join(folder, 'kernel');
  const kernel = readFileSync(join(root, 'bench', 'guests', 'built', 'tiny', 'fib.32.elf'));
  const load = (bytes: Uint8Array) => { writeFileSync(file, bytes); m.loadElf(file); };
  load(kernel);
  assert.throws(() => load(new Uint8Array(0)), /not a multiboot kernel/);
  assert.throws(() => load(readFileSync(join(root, 'README.md'))), /not a multiboot kernel/);
  assert.throws(() => load(kernel.subarray(0, 5000)), /outside the file/);
  const far = Uint8Array.from(kernel);
  new DataView(far.buffer).setUint32(new DataView(far.buffer).getUint32(28, true) + 12, 0xffff_f000, true);
  assert.throws(() => load(far), /does not fit/);
});

test('a measurement nobody has is named before anything is measured', async () => {
  await assert.rejects(main({ root, set: 'tiny', only: ['nonsense'], json: undefined, tcg: false }), UsageError);
});
