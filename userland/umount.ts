/** umount: detaches file systems; -l at once though busy, -f by force. */
import type { Sys } from '../abi/process.ts';
import { EBUSY, EINVAL, ENOENT } from '../abi/errno.ts';
import { MNT_DETACH, MNT_FORCE } from '../abi/mount.ts';
import { Errno, eputs, umount } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'lf', { lazy: 0, force: 0 });
  if (parsed.error !== undefined || parsed.operands.length === 0) return yield* usageError('umount', parsed.error ?? 'bad usage');
  const flags = (parsed.has('l', 'lazy') ? MNT_DETACH : 0) | (parsed.has('f', 'force') ? MNT_FORCE : 0);
  let status = 0;
  for (const target of parsed.operands) {
    try {
      yield* umount(target, flags);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      const text = e.errno === EBUSY ? 'target is busy.' : e.errno === EINVAL ? 'not mounted.' : e.errno === ENOENT ? 'no mount point specified.' : `${e.text}.`;
      yield* eputs(`umount: ${target}: ${text}`);
      status = 32;
    }
  }
  return status;
}
