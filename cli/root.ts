/** The project's folder. The command line runs as a bundle in node_modules/.cache/vitrine (cli/launch.mjs). */
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
