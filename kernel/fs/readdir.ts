/**
 * getdents64, getcwd.
 *
 * Linux: fs/readdir.c, fs/d_path.c
 */
import { EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR, ERANGE } from '../../abi/errno.ts';
import { linux_dirent64 } from '../../abi/fcntl.ts';
import { utf8 } from '../../lib/text.ts';
import { copy_to_user } from '../mm/uaccess.ts';
import type { task_struct } from '../sched/types.ts';
import { getcwd_path } from './dcache.ts';
import { fd_lookup } from './file.ts';
import { FMODE_READ } from './types.ts';

const D_NAME = linux_dirent64.offset.d_name;
/** The longest record: head, a name of 255 characters of up to 4 bytes, NUL, rounded up. */
const record = new Uint8Array(1056);
const words = new DataView(record.buffer);

export function sys_getdents64(task: task_struct, fd: number, address: number, count: number): number {
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_mode & FMODE_READ) === 0) return -EBADF;
  if (f.f_op.iterate_shared === undefined) return -ENOTDIR;
  if (f.f_path.dentry.d_unhashed) return -ENOENT;
  let done = 0;
  let error = 0;
  const result = f.f_op.iterate_shared(f, (name, ino, type, next) => {
    const text = utf8(name);
    const size = Math.ceil((D_NAME + text.length + 1) / 8) * 8;
    if (size > (count >>> 0) - done) { error = -EINVAL; return false; }
    record.fill(0, 0, size);
    words.setBigUint64(0, BigInt(ino), true);
    words.setBigInt64(8, BigInt(next), true);
    words.setUint16(16, size, true);
    words.setUint8(18, type);
    record.set(text, D_NAME);
    if (copy_to_user(address + done, record.subarray(0, size)) !== 0) { error = -EFAULT; return false; }
    done += size;
    return true;
  });
  return done > 0 ? done : result < 0 ? result : error;
}

export function sys_getcwd(task: task_struct, address: number, size: number): number {
  const name = getcwd_path(task.fs!.pwd, task.fs!.root);
  if (name === undefined) return -ENOENT;
  const bytes = utf8(`${name}\0`);
  if (bytes.length > size) return -ERANGE;
  return copy_to_user(address, bytes) !== 0 ? -EFAULT : bytes.length;
}
