/** How `script` and `qemu-lite` let host paths work inside: the whole host appears under /host. */
import { parse, relative, resolve } from 'node:path';
import type { HostMount } from './platform-node.ts';

const slashes = (path: string): string => path.split('\\').join('/');

/** The file system that holds `cwd`, at /host, writable: these commands run the user's own program on the user's own files. */
export const hostMounts = (cwd: string): HostMount[] => [{ host: parse(cwd).root, guest: '/host', writable: true }];

/** A host path as seen inside. */
export function inside(path: string, cwd: string): string {
  const absolute = resolve(cwd, path);
  return `/host/${slashes(relative(parse(absolute).root, absolute))}`;
}
export const hostCwd = (cwd: string): string => inside('.', cwd);
