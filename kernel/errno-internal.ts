/**
 * Results that never reach user space: what the signal code turns into EINTR or into the call made again.
 * Linux: include/linux/errno.h
 */
/** Again if the handler has SA_RESTART or there is none, else EINTR. */
export const ERESTARTSYS = 512;
/** Always again. */
export const ERESTARTNOINTR = 513;
/** Again if there is no handler, else EINTR. */
export const ERESTARTNOHAND = 514;
export { ENOIOCTLCMD } from './fs/types.ts';
