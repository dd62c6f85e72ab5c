/**
 * Host directories for hostfs (machine/platform.ts, HostFiles), on Node. Nothing outside the mounted directories
 * can be named, and nothing under a read-only one can be changed, whatever the kernel asks for.
 */
import * as fs from 'node:fs';
import { join, sep } from 'node:path';
import * as errno from '../abi/errno.ts';
import type { HostFiles, HostStat } from '../machine/platform.ts';
import type { HostMount } from './platform-node.ts';

const byName: Readonly<Record<string, number>> = errno as unknown as Record<string, number>;

/** The host's error as a negative Linux errno: by name, because numbers differ between hosts. */
function linuxErrno(error: unknown): number {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return -(byName[code] ?? errno.EIO);
}

function attempt<T>(call: () => T): T | number {
  try {
    return call();
  } catch (error) {
    return linuxErrno(error);
  }
}

const kindOf = (stat: fs.BigIntStats): HostStat['kind'] =>
  stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'other';

export function hostFiles(mounts: readonly HostMount[]): HostFiles {
  const mountOf = (path: string): HostMount | undefined =>
    mounts.filter((m) => path === m.host || path.startsWith(m.host.endsWith(sep) ? m.host : m.host + sep))
      .sort((a, b) => b.host.length - a.host.length)[0];
  const readable = (path: string): boolean => mountOf(path) !== undefined && !path.split(/[\\/]/).includes('..');
  /** 0, or why the path cannot be changed. */
  const changeable = (path: string): number => (!readable(path) ? -errno.EACCES : mountOf(path)!.writable ? 0 : -errno.EROFS);
  const change = (path: string, call: () => void): number => {
    const why = changeable(path);
    if (why !== 0) return why;
    const result = attempt(call);
    return typeof result === 'number' ? result : 0;
  };

  return {
    stat(path) {
      if (!readable(path)) return -errno.EACCES;
      return attempt((): HostStat => {
        const stat = fs.lstatSync(path, { bigint: true });
        return { kind: kindOf(stat), mode: Number(stat.mode) & 0o7777, size: Number(stat.size), ino: Number(stat.ino), nlink: Number(stat.nlink), mtime: stat.mtimeNs };
      });
    },
    readdir(path) {
      if (!readable(path)) return -errno.EACCES;
      return attempt(() => fs.readdirSync(path).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    },
    readlink(path) {
      return readable(path) ? attempt(() => fs.readlinkSync(path)) : -errno.EACCES;
    },
    open(path, writable) {
      const why = writable ? changeable(path) : readable(path) ? 0 : -errno.EACCES;
      if (why !== 0) return why;
      const { O_RDWR, O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = fs.constants;
      return attempt(() => fs.openSync(path, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK));
    },
    close: (handle) => attempt(() => (fs.closeSync(handle), 0)),
    read: (handle, dst, position) => attempt(() => fs.readSync(handle, dst, 0, dst.length, position)),
    write: (handle, src, position) => attempt(() => fs.writeSync(handle, src, 0, src.length, position)),
    truncate: (handle, size) => attempt(() => (fs.ftruncateSync(handle, size), 0)),
    create: (path, mode) => change(path, () => fs.closeSync(fs.openSync(path, 'wx', mode & 0o777))),
    mkdir: (path, mode) => change(path, () => fs.mkdirSync(path, mode & 0o777)),
    unlink: (path) => change(path, () => fs.unlinkSync(path)),
    rmdir: (path) => change(path, () => fs.rmdirSync(path)),
    rename: (from, to) => changeable(from) || change(to, () => fs.renameSync(from, to)),
  };
}

/** `HOSTDIR:/mnt[:rw]` of --mount. Throws an Error whose message is the line to print. */
export function parseMount(text: string, cwd: string): HostMount {
  const match = /^(.+?):(\/[^:]*)(?::(rw|ro))?$/.exec(text);
  if (!match) throw new Error(`--mount ${text}: give HOSTDIR:/mountpoint or HOSTDIR:/mountpoint:rw`);
  const path = join(cwd.length > 0 && !match[1]!.startsWith('/') && !/^[A-Za-z]:/.test(match[1]!) ? cwd : '', match[1]!);
  const host = attempt(() => fs.realpathSync(path));
  if (typeof host !== 'string') throw new Error(`--mount ${text}: ${path} does not exist`);
  if (!fs.statSync(host).isDirectory()) throw new Error(`--mount ${text}: ${host} is not a directory`);
  return { host, guest: match[2]!, writable: match[3] === 'rw' };
}
