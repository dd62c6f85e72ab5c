/** mount: attaches a file system, `mount -t TYPE [-o OPTIONS] SOURCE TARGET`; alone, lists what is mounted. */
import type { Sys } from '../abi/process.ts';
import { EBUSY, ENODEV, ENOENT } from '../abi/errno.ts';
import * as MS from '../abi/mount.ts';
import { Errno, eputs, mount, puts, readFile } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

const FLAGS: Readonly<Record<string, number>> = {
  ro: MS.MS_RDONLY, nosuid: MS.MS_NOSUID, nodev: MS.MS_NODEV, noexec: MS.MS_NOEXEC, remount: MS.MS_REMOUNT, bind: MS.MS_BIND, rw: 0, defaults: 0,
};

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 't:o:rwanv', { types: 1, options: 1, 'read-only': 0, bind: 0 });
  if (parsed.error !== undefined) return yield* usageError('mount', parsed.error);
  const type = parsed.value('t', 'types');
  const [source, target] = parsed.operands;
  if (source === undefined) {
    for (const line of (yield* readFile('/proc/mounts')).split('\n').filter((l) => l !== '')) {
      const [device, where, kind = '', options] = line.split(' ');
      if (type === undefined || type === kind) yield* puts(`${device} on ${where} type ${kind} (${options})`);
    }
    return 0;
  }
  if (target === undefined) {
    yield* eputs(`mount: ${source}: can't find in /etc/fstab.`);
    return 1;
  }
  const options = parsed.options.filter(({ name }) => name === 'o' || name === 'options').flatMap(({ value }) => value.split(','));
  let flags = parsed.has('r', 'read-only') ? MS.MS_RDONLY : 0;
  if (parsed.has('bind')) flags |= MS.MS_BIND;
  const data: string[] = [];
  for (const option of options) {
    const flag = FLAGS[option];
    if (flag === undefined) data.push(option);
    else flags |= flag;
  }
  try {
    yield* mount(source, target, type ?? 'none', flags, data.join(','));
    return 0;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    const text = e.errno === ENOENT ? 'mount point does not exist.'
      : e.errno === ENODEV ? `unknown filesystem type '${type ?? 'none'}'.`
      : e.errno === EBUSY ? `${source} already mounted or mount point busy.`
      : `mount failed: ${e.text}.`;
    yield* eputs(`mount: ${target}: ${text}`);
    return 32;
  }
}
