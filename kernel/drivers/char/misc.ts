/**
 * Miscellaneous devices: drivers that need one minor number only and share major 10.
 *
 * Linux: drivers/char/misc.c, include/linux/miscdevice.h
 */
import { EBUSY, EINVAL } from '../../../abi/errno.ts';
import { kernelVariable } from '../../current.ts';
import type { file_operations } from '../../fs/types.ts';
import { device_create, register_chrdev_region, unregister_chrdev_region } from '../chrdev.ts';

export const MISC_MAJOR = 10;
export const MISC_DYNAMIC_MINOR = 255;
export const KVM_MINOR = 232;

export interface miscdevice {
  readonly name: string;
  /** MISC_DYNAMIC_MINOR, or left out, takes the next free one; the number taken is written back. */
  minor?: number;
  readonly fops: file_operations;
  /** Permissions of the node in /dev, 0600 when left out. */
  readonly mode?: number;
}

/** Registered devices, the latest first, as /proc/misc lists them. */
const devices = kernelVariable<miscdevice[]>(() => []);

/** Makes /dev/NAME. 0, or -EBUSY when minor number or name is taken. */
export function misc_register(device: miscdevice): number {
  const list = devices();
  if (list.some((d) => d === device || d.name === device.name)) return -EBUSY;
  let { minor = MISC_DYNAMIC_MINOR } = device;
  if (minor === MISC_DYNAMIC_MINOR) {
    // dynamic numbers count down from 127, as they do in Linux
    minor = 127;
    while (minor >= 0 && list.some((d) => d.minor === minor)) minor--;
    if (minor < 0) return -EBUSY;
  }
  const error = register_chrdev_region(MISC_MAJOR, minor, 1, 'misc', device.fops);
  if (error < 0) return error;
  device.minor = minor;
  list.unshift(device);
  device_create(device.name, MISC_MAJOR, minor, device.mode ?? 0o600);
  return 0;
}

export function misc_deregister(device: miscdevice): number {
  const list = devices();
  const i = list.indexOf(device);
  if (i < 0) return -EINVAL;
  list.splice(i, 1);
  unregister_chrdev_region(MISC_MAJOR, device.minor!);
  return 0;
}

/** /proc/misc. */
export const show_misc = (): string => devices().map((d) => `${String(d.minor).padStart(3)} ${d.name}\n`).join('');
