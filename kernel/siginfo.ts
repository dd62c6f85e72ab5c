/** Makes siginfo. Linux: kernel/signal.c (clear_siginfo, prepare_kill_siginfo) */
import { SI_KERNEL, SI_USER } from '../abi/signal.ts';
import type { kernel_siginfo, task_struct } from './sched/types.ts';

export const siginfo = (si_signo: number, si_code: number): kernel_siginfo =>
  ({ si_signo, si_code, si_errno: 0, si_pid: 0, si_uid: 0, si_status: 0, si_addr: 0, si_value: 0n });

/** A signal one task sends another. */
export const user_siginfo = (sig: number, sender: task_struct, code = SI_USER): kernel_siginfo => ({ ...siginfo(sig, code), si_pid: sender.tgid });

export const SEND_SIG_PRIV = (sig: number): kernel_siginfo => siginfo(sig, SI_KERNEL);
