/**
 * Open files without a name: descriptors that stand for a kernel object (an eventfd, a VM, a vCPU).
 *
 * Linux: fs/anon_inodes.c, fs/file_table.c (alloc_file_pseudo)
 */
import { O_ACCMODE, O_CLOEXEC, O_NONBLOCK, O_RDWR } from '../../abi/fcntl.ts';
import { current, kernelVariable } from '../current.ts';
import { fd_install, get_unused_fd, hold } from './file.ts';
import { get_anon_bdev, kern_mount } from './namespace.ts';
import { FMODE_LSEEK, FMODE_READ, FMODE_STREAM, FMODE_WRITE, type file_operations, type file_system_type, dentry, file, inode, super_block } from './types.ts';

const none: file_system_type = { name: 'anon_inodefs', nodev: true, mount: () => -1 };
export const ANON_INODE_FS_MAGIC = 0x09041934;

/** A mount of objects without names, of its own device number. */
export function pseudo_mount(type: file_system_type, magic: number) {
  const sb = new super_block(type, get_anon_bdev(), magic);
  sb.s_volatile = true;
  sb.s_root = new dentry(`${type.name}:`, undefined, sb, new inode(sb, 0o40755, {}, {}));
  return kern_mount(sb);
}

const anon = kernelVariable(() => {
  const mnt = pseudo_mount(none, ANON_INODE_FS_MAGIC);
  return { mnt, inode: new inode(mnt.mnt_sb, 0o600, {}, {}) };
});

/** A file on a nameless inode. `name` is what /proc/<pid>/fd shows. */
export function alloc_file_pseudo(node: inode, mnt: ReturnType<typeof pseudo_mount>, name: string, flags: number, fops: file_operations): file {
  const mode = (flags & O_ACCMODE) === O_RDWR ? FMODE_READ | FMODE_WRITE : (flags & O_ACCMODE) === 0 ? FMODE_READ : FMODE_WRITE;
  const f = new file({ mnt, dentry: new dentry(name, undefined, mnt.mnt_sb, node) }, node, fops, flags, mode | (fops.llseek === undefined ? FMODE_STREAM : FMODE_LSEEK));
  hold(f);
  return f;
}

export function anon_inode_getfile(name: string, fops: file_operations, priv: unknown, flags: number): file {
  const { mnt, inode } = anon();
  const f = alloc_file_pseudo(inode, mnt, `anon_inode:${name}`, flags & (O_ACCMODE | O_NONBLOCK), fops);
  f.private_data = priv;
  return f;
}

/** A descriptor of the current task for it, or -EMFILE; then nothing was made and fops.release is not called. */
export function anon_inode_getfd(name: string, fops: file_operations, priv: unknown, flags: number): number {
  const task = current();
  const fd = get_unused_fd(task);
  if (fd >= 0) fd_install(task.files!, fd, anon_inode_getfile(name, fops, priv, flags), (flags & O_CLOEXEC) !== 0);
  return fd;
}
