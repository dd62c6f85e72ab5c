/** `script FILE.ts [args]` and `script --new FILE.ts`. The exit status is the script's own. */
import { atTerminal, headFor, runSystem } from './boot.ts';
import { hostCwd, hostMounts } from './host-root.ts';
import { root } from './root.ts';
import { loadScript, newScript } from './script.ts';
import { UsageError } from './usage.ts';

export async function script(argv: readonly string[]): Promise<number> {
  const cwd = process.env['INIT_CWD'] ?? process.cwd();
  const [file, ...args] = argv;
  if (file === undefined || file === '--help') {
    process.stderr.write('usage: npm run script -- FILE.ts [args]      runs a TypeScript user program\n       npm run script -- --new FILE.ts       writes a first one\n');
    return file ? 0 : 2;
  }
  if (file === '--new') {
    if (args.length !== 1) throw new UsageError('--new takes one FILE.ts');
    process.stdout.write(`${newScript(args[0]!, cwd, root)}\n`);
    return 0;
  }
  if (file.startsWith('-')) throw new UsageError(`${file}: unknown option; usage: npm run script -- FILE.ts [args]`);
  const program = await loadScript(file, cwd);
  return runSystem({
    head: headFor({ cpus: 2, memory: 512 << 20, seed: 1, mhz: 1000, command: null, quiet: true, terminal: atTerminal() }),
    init: ['-C', hostCwd(cwd), '--', `/bin/${program.name}`, ...args],
    mounts: hostMounts(cwd), programs: [program],
  });
}
