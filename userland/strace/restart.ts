/** The kernel's own results that a tracer sees and a program never does: the call will be made again, or not. */
export const ERESTARTNAMES: Readonly<Record<number, string>> = {
  512: 'ERESTARTSYS (To be restarted if SA_RESTART is set)',
  513: 'ERESTARTNOINTR (To be restarted)',
  514: 'ERESTARTNOHAND (To be restarted if no handler)',
  516: 'ERESTART_RESTARTBLOCK (Interrupted by signal)',
};
