/**
 * Job control: which session a terminal belongs to, which process group may read it, and who is told when it goes.
 *
 * Linux: drivers/tty/tty_jobctrl.c
 */
import { EFAULT, EINVAL, EIO, ENOTTY, EPERM, ESRCH } from '../../../abi/errno.ts';
import { SIGCONT, SIGHUP, SIGTTIN, SIGTTOU } from '../../../abi/signal.ts';
import { TOSTOP } from '../../../abi/termios.ts';
import { current } from '../../current.ts';
import { ERESTARTSYS } from '../../errno-internal.ts';
import { get_user32, put_user32 } from '../../mm/uaccess.ts';
import { for_each_process, is_orphaned_pgrp } from '../../pid.ts';
import type { task_struct } from '../../sched/types.ts';
import { action_of, kill_pgrp, recalc_sigpending, sigmask } from '../../signal.ts';
import type { tty_struct } from './tty.ts';

const SIG_IGN = 1n;

const isIgnored = (task: task_struct, sig: number): boolean =>
  (task.blocked & sigmask(sig)) !== 0n || action_of(task, sig).sa_handler === SIG_IGN;

/**
 * May the current task use its controlling terminal in a way that only the foreground may? 0; -EIO; or -ERESTARTSYS with
 * the signal under way that stops the task's group, after which the call is made again.
 */
export function __tty_check_change(tty: tty_struct, sig: number): number {
  const task = current();
  const { pgrp } = task.signal;
  if (task.signal.tty !== tty || tty.pgrp === 0 || pgrp === tty.pgrp) return 0;
  if (isIgnored(task, sig)) return sig === SIGTTIN ? -EIO : 0;
  if (is_orphaned_pgrp(pgrp)) return -EIO;
  kill_pgrp(pgrp, sig);
  recalc_sigpending(task);
  return -ERESTARTSYS;
}

/** Before changing a setting of the terminal. */
export const tty_check_change = (tty: tty_struct): number => __tty_check_change(tty, SIGTTOU);

/** Before writing to it: only when the user asked for it with `stty tostop`. */
export const tty_check_write = (tty: tty_struct): number => ((tty.termios.c_lflag & TOSTOP) !== 0 ? tty_check_change(tty) : 0);

/** A session leader without a terminal gets this one, if it is free. */
export function tty_open_proc_set_tty(tty: tty_struct): void {
  const { signal } = current();
  if (signal.leader && signal.tty === undefined && tty.session === 0) proc_set_tty(tty);
}

function proc_set_tty(tty: tty_struct): void {
  const { signal } = current();
  tty.session = signal.session;
  tty.pgrp = signal.pgrp;
  signal.tty = tty;
}

const sessionOf = (session: number): task_struct[] => for_each_process().filter((t) => t.signal.session === session);

export function tiocsctty(tty: tty_struct, steal: boolean): number {
  const { signal } = current();
  if (signal.leader && signal.session === tty.session) return 0;
  if (!signal.leader || signal.tty !== undefined) return -EPERM;
  if (tty.session !== 0) {
    if (!steal) return -EPERM;
    for (const task of sessionOf(tty.session)) if (task.signal.tty === tty) task.signal.tty = undefined;
  }
  proc_set_tty(tty);
  return 0;
}

/** TIOCNOTTY: the process gives its terminal up; a session leader does so for the whole session. */
export function tiocnotty(tty: tty_struct): number {
  const { signal } = current();
  if (signal.tty !== tty) return -ENOTTY;
  if (signal.leader) disassociate_ctty(tty, false);
  else signal.tty = undefined;
  return 0;
}

/**
 * The session leader exits or lets go. Its foreground group is told by SIGHUP, then SIGCONT in case it is stopped; on
 * exit the terminal is hung up, so that nobody left behind can use it.
 */
export function disassociate_ctty(tty: tty_struct, onExit = true): void {
  const { session, pgrp } = tty;
  if (onExit) tty.hangup();
  if (pgrp !== 0) {
    kill_pgrp(pgrp, SIGHUP);
    kill_pgrp(pgrp, SIGCONT);
  }
  tty.session = 0;
  tty.pgrp = 0;
  for (const task of sessionOf(session)) if (task.signal.tty === tty) task.signal.tty = undefined;
}

export function tiocgpgrp(tty: tty_struct, address: number): number {
  if (current().signal.tty !== tty) return -ENOTTY;
  return put_user32(address, tty.pgrp);
}

export function tiocspgrp(tty: tty_struct, address: number): number {
  const error = tty_check_change(tty);
  if (error === -EIO) return -ENOTTY;
  if (error < 0) return error;
  const { signal } = current();
  if (signal.tty !== tty || tty.session !== signal.session) return -ENOTTY;
  const pgrp = get_user32(address);
  if (pgrp === undefined) return -EFAULT;
  if (pgrp < 0) return -EINVAL;
  const members = for_each_process().filter((t) => t.signal.pgrp === pgrp);
  if (members.length === 0) return -ESRCH;
  if (!members.some((t) => t.signal.session === signal.session)) return -EPERM;
  tty.pgrp = pgrp;
  return 0;
}

export function tiocgsid(tty: tty_struct, address: number): number {
  if (current().signal.tty !== tty || tty.session === 0) return -ENOTTY;
  return put_user32(address, tty.session);
}
