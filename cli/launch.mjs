/**
 * The first file that runs, on whatever Node the user has and before anything is installed: plain
 * JavaScript without dependencies. Checks Node's version, installs packages when node_modules is missing
 * or older than the lock file, bundles the command line with esbuild when a source is newer than the
 * cached bundle, and starts it. Writes only to stderr and takes nothing from stdin.
 *
 *   node cli/launch.mjs COMMAND [args]      see cli/main.ts
 *   node cli/launch.mjs --setup             set-up only: packages and bundle
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, 'node_modules', '.cache', 'vitrine');

function fail(line) {
  process.stderr.write('vitrine: ' + line + '\n');
  process.exit(1);
}

const version = process.versions.node.split('.').map(Number);
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  fail('Node ' + process.versions.node + ' is too old: 20.19 or newer is needed (https://nodejs.org)');
}

/** esbuild's first complaint as one line. */
function firstError(error) {
  const first = error.errors?.[0];
  return first ? (first.location ? first.location.file + ':' + first.location.line + ': ' : '') + first.text : String(error.message ?? error).split('\n')[0];
}

const mtime = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0);

/** npm leaves node_modules/.package-lock.json behind each install: older than the lock file means stale. */
function install() {
  const installed = mtime(join(root, 'node_modules', '.package-lock.json'));
  if (installed && installed >= mtime(join(root, 'package-lock.json')) && existsSync(join(root, 'node_modules', 'esbuild'))) return;
  process.stderr.write('vitrine: installing packages (npm ci) ...\n');
  const windows = process.platform === 'win32';
  const npm = spawnSync(windows ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root, stdio: ['ignore', 2, 2], shell: windows,
  });
  if (npm.status !== 0) fail('npm ci failed' + (npm.error ? ': ' + npm.error.message : '') + '; mend that and try again');
  // An install that changed nothing keeps the marker's old time.
  const marker = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(marker)) writeFileSync(marker, readFileSync(marker));
}

/** What makes the bundle out of the sources. */
const BUNDLERS = ['cli/launch.mjs', 'cli/constants.mjs'];

/** The bundle is fresh when every source it was made of, or by, is older than it. */
function bundleIsFresh() {
  const made = mtime(join(cache, 'inputs.json'));
  if (!made || made < mtime(join(root, 'package-lock.json'))) return false;
  const inputs = JSON.parse(readFileSync(join(cache, 'inputs.json'), 'utf8'));
  return [...BUNDLERS, ...inputs].every((file) => {
    const time = mtime(join(root, file));
    return time !== 0 && time <= made;
  });
}

/**
 * Command line, libc and abi become three modules that share their chunks, so that a script outside the
 * tree, bundled against `vitrine/libc`, runs with the very libc the kernel's programs use.
 */
async function bundle() {
  const esbuild = await import('esbuild');
  const { keepConstants } = await import('./constants.mjs');
  const fresh = cache + '.' + process.pid;
  mkdirSync(fresh, { recursive: true });
  try {
    const result = await esbuild.build({
      absWorkingDir: root,
      entryPoints: { main: 'cli/main.ts', libc: 'userland/libc.ts', abi: 'abi/index.ts', watchdog: 'cli/watchdog.ts', orphan: 'cli/orphan.ts' },
      outdir: fresh, outExtension: { '.js': '.mjs' }, bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'node20',
      packages: 'external', sourcemap: 'linked', metafile: true, logLevel: 'silent', write: false,
    });
    await Promise.all(result.outputFiles.map(async ({ path, text }) => writeFileSync(path, path.endsWith('.mjs') ? await keepConstants(esbuild, text) : text)));
    const inputs = Object.keys(result.metafile.inputs).filter((file) => !file.startsWith('node_modules'));
    writeFileSync(join(fresh, 'inputs.json'), JSON.stringify(inputs));
    // Another process may have been quicker, and runs from what it made.
    if (bundleIsFresh()) rmSync(fresh, { recursive: true });
    else {
      rmSync(cache, { recursive: true, force: true });
      renameSync(fresh, cache);
    }
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (!bundleIsFresh()) fail('the sources do not build: ' + firstError(error));
  }
}

install();
if (!bundleIsFresh()) await bundle();
if (process.argv[2] !== '--setup') {
  await import(pathToFileURL(join(cache, 'main.mjs')).href);
}
