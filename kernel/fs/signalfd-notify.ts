/**
 * Tells those who wait on a signalfd that a signal was sent. Apart from signalfd.ts, because sending signals must not
 * need the file system.
 */
import { POLLIN } from '../../abi/poll.ts';
import { kernelVariable } from '../current.ts';
import { wait_queue_head } from '../sched/wait.ts';

/** Who waits on any signalfd. All are woken by every signal sent, and look whether it is theirs. */
export const signalfd_wqh = kernelVariable(() => new wait_queue_head('signalfd_dequeue'));

/** A signal has become pending somewhere. */
export function signalfd_notify(): void {
  const wqh = signalfd_wqh();
  if (wqh.entries.length > 0) wqh.wake_up_all(POLLIN);
}
