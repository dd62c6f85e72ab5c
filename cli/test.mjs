/**
 * Runs every test file with node:test, one child process a file. Arguments narrow the run to files whose path
 * contains one of them. Files run two at a time: the whole suite is meant for two cores. test/slow/ holds what
 * takes minutes by itself: it runs with --slow (`make test-slow`, `make test-silicon`) and is left out otherwise.
 *
 * All files are bundled first, into modules that share their chunks: a process then loads the whole system in a tenth of the
 * time that reading its sources one by one would take it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

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

/** A source that asks where it lies is told where it lay: recorded answers and documents are found from there. */
const sourceUrls = {
  name: 'source-urls',
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      return text.includes('import.meta.url') ? { contents: text.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)), loader: 'ts' } : undefined;
    });
  },
};

const cache = join(root, 'node_modules', '.cache');
const folder = join(cache, 'tests.' + process.pid);

/** What a run that was killed has left behind. */
function sweep() {
  for (const name of existsSync(cache) ? readdirSync(cache) : []) {
    const pid = Number(/^tests\.(\d+)$/.exec(name)?.[1]);
    if (!(pid > 0)) continue;
    try { process.kill(pid, 0); } catch { rmSync(join(cache, name), { recursive: true, force: true }); }
  }
}

let status = 1;
sweep();
try {
  await build({
    absWorkingDir: root, entryPoints: files, outbase: root, outdir: folder, outExtension: { '.js': '.mjs' }, bundle: true, splitting: true, format: 'esm',
    platform: 'node', target: 'node20', packages: 'external', sourcemap: 'linked', logLevel: 'error', plugins: [sourceUrls],
  });
  const bundled = files.map((file) => join(folder, file.replace(/\.ts$/, '.mjs')));
  const args = ['--enable-source-maps', '--test', '--test-concurrency=2', `--test-timeout=${slow ? 3_600_000 : 240_000}`, ...bundled];
  status = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 1, 2] }).status ?? 1;
} catch {
  // esbuild has said what does not build.
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(status);
