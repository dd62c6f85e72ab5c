/** docs/tracing.md shows what its commands print. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sh } from '../support/boot.ts';

test('the commands of docs/tracing.md print the lines it shows, at virtual times of their own', () => {
  const page = readFileSync(new URL('../../docs/tracing.md', import.meta.url), 'utf8');
  const commands = page.split('\n').filter((line) => line.startsWith('    ')).map((line) => line.trim()).join('\n');
  const shown = /```\n([\s\S]*?)```/.exec(page)![1]!;
  const { output } = sh(commands, { cpus: 1 });
  const steps = (text: string): string[] => text.split('\n').filter((line) => line.includes('KVM-')).map((line) => line.replace(/\d+\.\d{6}/, '').trimEnd().replace(/ +/g, ' '));
  assert.equal(steps(shown).length, 9);
  assert.deepEqual(steps(output), steps(shown));
});
