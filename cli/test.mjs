/**
 * Runs every test file with node:test, one child process a file. Arguments narrow the run to files whose path
 * contains one of them. Files run two at a time: the whole suite is meant for two cores. test/slow/ holds what
 * takes minutes by itself: it runs with --slow (`make test-slow`, `make test-silicon`) and is left out otherwise.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const slow = process.argv.includes('--slow');
const wanted = process.argv.slice(2).filter((word) => word !== '--slow');
const files = readdirSync(join(root, 'test'), { recursive: true })
  .map((file) => join('test', String(file)))
  .filter((file) => file.endsWith('.test.ts') && file.startsWith(join('test', 'slow')) === slow)
  .filter((file) => wanted.length === 0 || wanted.some((word) => file.includes(word)))
  .sort();
if (files.length === 0) {
  process.stderr.write('vitrine: no test file matches ' + wanted.join(' ') + '\n');
  process.exit(1);
}
const args = ['--import', 'tsx', '--test', '--test-concurrency=2', `--test-timeout=${slow ? 3_600_000 : 240_000}`, ...files];
const run = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 1, 2] });
process.exit(run.status ?? 1);
