/**
 * Bundles the page: `node web/build.mjs [OUTDIR]` writes main.js and index.html (default: web/dist). Any static
 * web server can serve the folder.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import { keepConstants } from '../cli/constants.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'dist');
mkdirSync(out, { recursive: true });
const { outputFiles } = await esbuild.build({ entryPoints: [join(here, 'main.ts')], outfile: join(out, 'main.js'), bundle: true, format: 'esm', platform: 'browser', target: 'es2022', sourcemap: 'linked', logLevel: 'error', write: false });
for (const { path, text } of outputFiles) writeFileSync(path, path.endsWith('.js') ? await keepConstants(esbuild, text) : text);
copyFileSync(join(here, 'index.html'), join(out, 'index.html'));
process.stdout.write(`wrote ${join(out, 'index.html')}\n`);
