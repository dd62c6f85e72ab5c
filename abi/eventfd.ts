/**
 * eventfd: a counter with a file descriptor.
 * Linux: include/uapi/linux/eventfd.h
 */

// eventfd
export const EFD_SEMAPHORE = 1;
export const EFD_CLOEXEC   = 0o2000000;
export const EFD_NONBLOCK  = 0o4000;
