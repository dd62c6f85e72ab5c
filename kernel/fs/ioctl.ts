/**
 * ioctl: the few requests that mean the same on every file, then the file's own.
 *
 * Linux: fs/ioctl.c
 */
import { EBADF, EFAULT, ENOTTY } from '../../abi/errno.ts';
import { O_ASYNC, O_NONBLOCK, O_PATH, S_ISREG } from '../../abi/fcntl.ts';
import type { Word } from '../../abi/process.ts';
import { FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD } from '../../abi/termios.ts';
import { get_user32, put_user32 } from '../mm/uaccess.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { fd_lookup, fput, get_file } from './file.ts';
import { ENOIOCTLCMD, type file } from './types.ts';

const CLEX = FIOCLEX.nr;
const NCLEX = FIONCLEX.nr;
const NBIO = FIONBIO.nr;
const ASYNC = FIOASYNC.nr;
const NREAD = FIONREAD.nr;
const FIGETBSZ = 2;

export function sys_ioctl(task: task_struct, fd: number, cmd: number, arg: Word): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  cmd = cmd >>> 0;
  switch (cmd) {
    case CLEX: case NCLEX:
      if ((f.f_flags & O_PATH) !== 0) return -EBADF;
      task.files!.close_on_exec[fd] = cmd === CLEX ? 1 : 0;
      return 0;
    case NBIO: case ASYNC: return setFlag(f, cmd === NBIO ? O_NONBLOCK : O_ASYNC, Number(arg));
    case FIGETBSZ: return (f.f_flags & O_PATH) !== 0 ? -EBADF : put_user32(Number(arg), 4096);
    case NREAD:
      if (S_ISREG(f.f_inode.i_mode)) return put_user32(Number(arg), Math.max(0, f.f_inode.i_size - f.f_pos));
      break;
  }
  const op = f.f_op;
  if (op.ioctl === undefined) return (f.f_flags & O_PATH) !== 0 ? -EBADF : -ENOTTY;
  const answer = op.ioctl(f, cmd, arg);
  if (typeof answer !== 'number') return finish(get_file(f), answer);
  return answer === -ENOIOCTLCMD ? -ENOTTY : answer;
}

function* finish(f: file, answering: MaySleep<number>): MaySleep<number> {
  const answer = yield* answering;
  fput(f);
  return answer === -ENOIOCTLCMD ? -ENOTTY : answer;
}

function setFlag(f: file, flag: number, address: number): number {
  if ((f.f_flags & O_PATH) !== 0) return -EBADF;
  const on = get_user32(address);
  if (on === undefined) return -EFAULT;
  f.f_flags = on !== 0 ? f.f_flags | flag : f.f_flags & ~flag;
  return 0;
}
