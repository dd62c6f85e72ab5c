/**
 * `lab N [--folder DIR]`: a working copy of the lab in lab-work/ (never overwritten), and a booted shell in which the copy is the
 * program NN-name. At a terminal the program is loaded anew whenever the file has changed, so one edits it beside the
 * shell and just runs it again; the folder is at /lab.
 */
import { copyFileSync, existsSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { Program } from '../abi/process.ts';
import { _start, eputs } from '../userland/libc.ts';
import { atTerminal, headFor, runSystem } from './boot.ts';
import { commandLine, makeFolder } from './command-line.ts';
import { labOf, workFolder } from './grade.ts';
import { root } from './root.ts';
import { loadScript, writeTsconfig } from './script.ts';
import { UsageError } from './usage.ts';

/** How often a terminal session looks whether the file has changed. */
const LOOK_MS = 300;

/** The working copy as a program: always the newest version that was loaded, or one that says why it cannot be. */
async function latestOf(file: string, name: string): Promise<{ program: Program; reload(): Promise<void> }> {
  let latest: Program['main'];
  let loaded = -1;
  const reload = async (): Promise<void> => {
    const { mtimeMs } = statSync(file);
    if (mtimeMs === loaded) return;
    loaded = mtimeMs;
    try {
      latest = (await loadScript(file, process.cwd())).main;
    } catch (error) {
      const { message } = error as Error;
      latest = _start(function* broken() {
        yield* eputs(message);
        return 1;
      });
    }
  };
  await reload();
  return { program: { name, main: function* main(argv, envp) { return yield* latest(argv, envp); } }, reload };
}

export async function lab(argv: readonly string[]): Promise<number> {
  const options = commandLine(argv, 'lab', '$0 N [--folder DIR]   opens lab N')
    .option('folder', { type: 'string', requiresArg: true, describe: 'where the working copy is (default: a folder in lab-work/)' })
    .parserConfiguration({ 'parse-numbers': false, 'parse-positional-numbers': false })
    .strictOptions()
    .parseSync();
  if (options['help']) return 0;
  if (options._.length !== 1) throw new UsageError('lab takes the number of one lab, such as 01');
  const chosen = labOf(String(options._[0]));
  const folder = options.folder === undefined ? workFolder(chosen) : resolve(process.env['INIT_CWD'] ?? process.cwd(), options.folder);
  const file = join(folder, 'start.ts');
  const shown = relative(process.cwd(), file);
  makeFolder(folder);
  if (existsSync(file)) process.stderr.write(`lab ${chosen.name}: your copy is ${shown}\n`);
  else {
    copyFileSync(join(root, 'labs', chosen.name, 'start.ts'), file);
    process.stderr.write(`lab ${chosen.name}: wrote your copy, ${shown}\n`);
  }
  writeTsconfig(folder, root);
  const number = chosen.name.slice(0, 2);
  process.stderr.write(`  read it:  labs/${chosen.name}/README.md\n  run it:   ${chosen.name}           (in the shell below; poweroff leaves it)\n  grade it: make grade N=${number}\n`);
  const { program, reload } = await latestOf(file, chosen.name);
  const watching = atTerminal() ? setInterval(() => void reload().catch(() => {}), LOOK_MS) : undefined;
  try {
    return await runSystem({
      head: headFor({ cpus: 2, memory: 512 << 20, seed: 1, mhz: 1000, command: null, quiet: true, terminal: atTerminal() }),
      init: [], mounts: [{ host: folder, guest: '/lab', writable: false }], programs: [program],
    });
  } finally {
    clearInterval(watching);
  }
}
