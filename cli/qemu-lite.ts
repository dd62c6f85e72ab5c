/**
 * `qemu-lite [options]`: boots quietly and runs /bin/qemu-lite as the only program, with files named by host paths.
 * It runs where the user stands, so that only absolute paths differ inside. The exit status is qemu-lite's own.
 */
import { isAbsolute, sep } from 'node:path';
import { renameFiles } from '../qemu-lite/options.ts';
import { atTerminal, headFor, runSystem } from './boot.ts';
import { hostCwd, hostMounts, inside } from './host-root.ts';

export async function qemuLite(argv: readonly string[]): Promise<number> {
  const cwd = process.env['INIT_CWD'] ?? process.cwd();
  return runSystem({
    head: headFor({ cpus: 2, memory: 512 << 20, seed: 1, mhz: 1000, command: null, quiet: true, terminal: atTerminal() }),
    init: ['-C', hostCwd(cwd), '--', '/bin/qemu-lite', ...renameFiles(argv, (path) => (isAbsolute(path) ? inside(path, cwd) : path.split(sep).join('/')))],
    mounts: hostMounts(cwd),
  });
}
