/**
 * Waiting for files: poll, ppoll and epoll.
 * Linux: include/uapi/asm-generic/poll.h, include/uapi/linux/eventpoll.h
 */
import { type Of, s16, s32, struct, u32, u64 } from './struct.ts';

// Events of poll
export const POLLIN     = 1;
export const POLLPRI    = 2;
export const POLLOUT    = 4;
export const POLLERR    = 0x8;
export const POLLHUP    = 0x10;
export const POLLNVAL   = 0x20;
export const POLLRDNORM = 0x40;
export const POLLRDBAND = 0x80;
export const POLLWRNORM = 0x100;
export const POLLWRBAND = 0x200;
export const POLLMSG    = 0x400;
export const POLLRDHUP  = 0x2000;

// epoll
export const EPOLL_CLOEXEC  = 0x80000;
export const EPOLL_CTL_ADD  = 1;
export const EPOLL_CTL_DEL  = 2;
export const EPOLL_CTL_MOD  = 3;
export const EPOLLIN        = 1;
export const EPOLLPRI       = 2;
export const EPOLLOUT       = 4;
export const EPOLLERR       = 0x8;
export const EPOLLHUP       = 0x10;
export const EPOLLRDNORM    = 0x40;
export const EPOLLRDBAND    = 0x80;
export const EPOLLWRNORM    = 0x100;
export const EPOLLWRBAND    = 0x200;
export const EPOLLMSG       = 0x400;
export const EPOLLRDHUP     = 0x2000;
export const EPOLLEXCLUSIVE = 0x10000000;
export const EPOLLWAKEUP    = 0x20000000;
export const EPOLLONESHOT   = 0x40000000;
export const EPOLLET        = 0x80000000;

export const pollfd = struct('pollfd', { fd: s32, events: s16, revents: s16 });
export type pollfd = Of<typeof pollfd>;

/** Packed on x86-64 only, so that 32-bit programs have the same layout. */
export const epoll_event = struct('epoll_event', { events: u32, data: u64 }, { packed: true });
export type epoll_event = Of<typeof epoll_event>;
