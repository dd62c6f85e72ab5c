/**
 * `qemu-lite [options]`: boots quietly and runs /bin/qemu-lite as the only program, with files named by host paths.
 * It runs where the user stands, so that only absolute paths differ inside. The exit status is qemu-lite's own.
 */
import { isAbsolute, sep } from 'node:path';
import { parseOptions, renameFiles } from '../qemu-lite/options.ts';
import { atTerminal, headFor, runSystem } from './boot.ts';
import { hostCwd, hostMounts, inside } from './host-root.ts';

const MIB = 2 ** 20;
const MEMORY = 512 * MIB;
const MAX_MEMORY = 3 * 1024 * MIB;
/** What the kernel and qemu-lite itself need beside the guest's RAM. */
const OVERHEAD = 64 * MIB;

/** RAM for a guest of the size asked for. What is wrong with the options qemu-lite itself will say. */
function memoryFor(argv: readonly string[]): number {
  try {
    return Math.min(Math.max(MEMORY, parseOptions(argv).memory + OVERHEAD), MAX_MEMORY);
  } catch {
    return MEMORY;
  }
}

export async function qemuLite(argv: readonly string[]): Promise<number> {
  const cwd = process.env['INIT_CWD'] ?? process.cwd();
  return runSystem({
    head: headFor({ cpus: 2, memory: memoryFor(argv), seed: 1, mhz: 1000, command: null, quiet: true, terminal: atTerminal() }),
    init: ['-C', hostCwd(cwd), '--', '/bin/qemu-lite', ...renameFiles(argv, (path) => (isAbsolute(path) ? inside(path, cwd) : path.split(sep).join('/')))],
    mounts: hostMounts(cwd),
  });
}
