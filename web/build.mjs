/**
 * Bundles the page: `node web/build.mjs [OUTDIR]` writes main.js and index.html (default: web/dist). Any static
 * web server can serve the folder.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'dist');
mkdirSync(out, { recursive: true });
await build({ entryPoints: [join(here, 'main.ts')], outfile: join(out, 'main.js'), bundle: true, format: 'esm', platform: 'browser', target: 'es2022', sourcemap: 'linked', logLevel: 'error' });
copyFileSync(join(here, 'index.html'), join(out, 'index.html'));
process.stdout.write(`wrote ${join(out, 'index.html')}\n`);
