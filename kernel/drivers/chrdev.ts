/**
 * Character devices: numbers given to drivers, drivers found by number, nodes in /dev that appear and go with them.
 *
 * Linux: fs/char_dev.c, drivers/base/devtmpfs.c
 */
import { EBUSY, ENXIO } from '../../abi/errno.ts';
import { S_IFCHR, major, makedev, minor } from '../../abi/fcntl.ts';
import { kernelVariable } from '../current.ts';
import { devtmpfs_create, devtmpfs_remove } from '../fs/devtmpfs.ts';
import type { file_operations } from '../fs/types.ts';

interface Range { readonly name: string; readonly baseminor: number; readonly count: number; readonly fops: file_operations; readonly nodes: string[] }

/** Driver ranges by major number. */
const chrdevs = kernelVariable(() => new Map<number, Range[]>());

/** Registers `count` minors of a major number from `baseminor` on. 0, or -EBUSY when some are taken. */
export function register_chrdev_region(maj: number, baseminor: number, count: number, name: string, fops: file_operations): number {
  const ranges = chrdevs().get(maj) ?? [];
  if (ranges.some((r) => baseminor < r.baseminor + r.count && r.baseminor < baseminor + count)) return -EBUSY;
  ranges.push({ name, baseminor, count, fops, nodes: [] });
  chrdevs().set(maj, ranges);
  return 0;
}

export function unregister_chrdev_region(maj: number, baseminor: number): void {
  const ranges = chrdevs().get(maj);
  const i = ranges?.findIndex((r) => r.baseminor === baseminor) ?? -1;
  if (i < 0) return;
  for (const node of ranges!.splice(i, 1)[0]!.nodes) devtmpfs_remove(node);
  if (ranges!.length === 0) chrdevs().delete(maj);
}

const rangeOf = (dev: number): Range | undefined => {
  const min = minor(dev);
  return chrdevs().get(major(dev))?.find((r) => min >= r.baseminor && min < r.baseminor + r.count);
};

/** Makes the node /dev/NAME of a registered device; it goes with the registration. */
export function device_create(name: string, maj: number, min: number, mode: number): void {
  const dev = makedev(maj, min);
  devtmpfs_create(name, S_IFCHR | mode, dev);
  rangeOf(dev)?.nodes.push(name);
}

/** The driver behind a device number, or -ENXIO. */
export const chrdev_open = (dev: number): file_operations | number => rangeOf(dev)?.fops ?? -ENXIO;

/** /proc/devices. */
export function show_devices(): string {
  let text = 'Character devices:\n';
  for (const [maj, ranges] of [...chrdevs()].sort((a, b) => a[0] - b[0])) {
    for (const r of ranges) text += `${String(maj).padStart(3)} ${r.name}\n`;
  }
  return `${text}\nBlock devices:\n`;
}
