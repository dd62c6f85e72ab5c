/** Host time from node's start to the shell's first command, with the bundle in its cache. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** Milliseconds, the median of five runs after one to warm up. */
export function timeBoot(root: string): number {
  const runs = Array.from({ length: 6 }, () => {
    const start = process.hrtime.bigint();
    const run = spawnSync(process.execPath, [join(root, 'cli', 'launch.mjs'), 'boot', '--command', 'echo ready'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    if (run.status !== 0 || !run.stdout.includes('ready')) throw new Error(`boot failed with status ${run.status}`);
    return Number(process.hrtime.bigint() - start) / 1e6;
  });
  return runs.slice(1).sort((a, b) => a - b)[2]!;
}
