/**
 * `script FILE.ts [args]`: a user program that lives outside the tree. It is bundled with `vitrine/libc` and
 * `vitrine/abi` left external and bound to the very modules the kernel's own programs use, and becomes one more
 * program in /bin. `script --new FILE.ts` writes a first one.
 */
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Plugin, build } from 'esbuild';
import type { Program } from '../abi/process.ts';
import { _start } from '../userland/libc.ts';
import { makeFolder } from './command-line.ts';

/** Where launch.mjs puts the bundle this file is part of: libc.mjs and abi.mjs lie beside it. */
const shared = new URL('.', import.meta.url);

const bindVitrine: Plugin = {
  name: 'vitrine',
  setup(build) {
    build.onResolve({ filter: /^vitrine\// }, ({ path }) => {
      if (path !== 'vitrine/libc' && path !== 'vitrine/abi') return { errors: [{ text: `${path}: a script has vitrine/libc and vitrine/abi` }] };
      return { path: new URL(`${path.slice('vitrine/'.length)}.mjs`, shared).href, external: true };
    });
  },
};

/** Node keeps a module by its URL: each load of a script that has changed needs one of its own. */
let loads = 0;

/** Bundles and loads a script. Throws an Error whose message is the line to print. */
export async function loadScript(file: string, cwd: string): Promise<Program> {
  const path = resolve(cwd, file);
  if (!existsSync(path)) throw new Error(`${file}: no such file`);
  if (!statSync(path).isFile()) throw new Error(`${file}: not a file`);
  const folder = new URL('scripts/', shared);
  mkdirSync(folder, { recursive: true });
  const output = new URL(`${basename(path).replace(/\W/g, '_')}.${process.pid}.mjs`, folder);
  try {
    const result = await build({
      entryPoints: [path], absWorkingDir: cwd, bundle: true, format: 'esm', platform: 'neutral', target: 'node20', write: false, sourcemap: 'inline',
      plugins: [bindVitrine], logLevel: 'silent', tsconfigRaw: {},
    });
    writeFileSync(output, result.outputFiles[0]!.contents);
  } catch (error) {
    const first = (error as { errors?: { text: string; location: { file: string; line: number; column: number } | null }[] }).errors?.[0];
    const where = first?.location ? `${first.location.file}:${first.location.line}:${first.location.column + 1}: ` : `${file}: `;
    throw new Error(where + (first?.text ?? String(error)));
  }
  let loaded: { main?: unknown };
  try {
    loaded = await import(`${output.href}?${loads++}`);
  } catch (error) {
    throw new Error(`${file}: fails while it is loaded: ${(error as Error).message}`);
  }
  if (typeof loaded.main !== 'function' || loaded.main.constructor.name !== 'GeneratorFunction') throw new Error(`${file}: has no \`export function* main(argv)\``);
  return { name: basename(path).replace(/\.[cm]?[jt]s$/, ''), main: _start(loaded.main as Program['main']) };
}

const firstScript = `// A user program: it has system calls, nothing else. Run it with: npm run script -- FILE.ts
import { KVM_CREATE_VM, KVM_GET_API_VERSION, O_RDWR } from 'vitrine/abi';
import { close, ioctl, open, printf } from 'vitrine/libc';

export function* main(argv: string[]) {
  const kvm = yield* open('/dev/kvm', O_RDWR);
  yield* printf('%s: KVM API version %d\\n', argv[0], yield* ioctl(kvm, KVM_GET_API_VERSION, 0));
  const vm = yield* ioctl(kvm, KVM_CREATE_VM, 0);
  yield* printf('a VM is a file descriptor: %d\\n', vm);
  yield* close(vm);
  return 0;
}
`;

/** Writes a first script, and beside it the tsconfig.json that gives an editor full types. Never overwrites. */
export function newScript(file: string, cwd: string, root: string): string {
  const path = resolve(cwd, file);
  if (!/\.ts$/.test(path)) throw new Error(`${file}: a script's name ends in .ts`);
  if (existsSync(path)) throw new Error(`${file}: exists already`);
  makeFolder(dirname(path));
  writeFileSync(path, firstScript);
  const made = [path, ...writeTsconfig(dirname(path), root)];
  return made.map((name) => `wrote ${relative(cwd, name) || name}`).join('\n');
}

/** The tsconfig.json that gives an editor full types in a folder of scripts. Gives what was written: never overwrites. */
export function writeTsconfig(folder: string, root: string): string[] {
  const config = join(folder, 'tsconfig.json');
  if (existsSync(config)) return [];
  const to = (target: string): string => {
    const way = relative(folder, join(root, target)).split('\\').join('/');
    return way.startsWith('.') ? way : `./${way}`;
  };
  writeFileSync(config, `${JSON.stringify({
    compilerOptions: {
      target: 'es2023', lib: ['es2023', 'dom'], module: 'esnext', moduleResolution: 'bundler', noEmit: true, allowImportingTsExtensions: true,
      strict: true, skipLibCheck: true, types: [],
      paths: { 'vitrine/libc': [to('userland/libc.ts')], 'vitrine/abi': [to('abi/index.ts')] },
    },
    include: ['*.ts'],
  }, null, 2)}\n`);
  return [config];
}
