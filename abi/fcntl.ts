/**
 * Files: flags of open, commands of fcntl, the structs that pass through them, and all of stat.ts.
 * Linux: include/uapi/asm-generic/fcntl.h, include/uapi/linux/fcntl.h
 */
import { type Of, s16, s32, s64, struct, u64 } from './struct.ts';

// Flags of open
export const O_RDONLY    = 0;
export const O_WRONLY    = 1;
export const O_RDWR      = 2;
export const O_ACCMODE   = 3;
export const O_CREAT     = 0o100;
export const O_EXCL      = 0o200;
export const O_NOCTTY    = 0o400;
export const O_TRUNC     = 0o1000;
export const O_APPEND    = 0o2000;
export const O_NONBLOCK  = 0o4000;
export const O_DSYNC     = 0o10000;
export const O_ASYNC     = 0o20000;
export const O_DIRECT    = 0o40000;
export const O_LARGEFILE = 0o100000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW  = 0o400000;
export const O_NOATIME   = 0o1000000;
export const O_CLOEXEC   = 0o2000000;
export const O_SYNC      = 0o4010000;
export const O_PATH      = 0o10000000;
export const O_TMPFILE   = 0o20200000;

// Commands of fcntl
export const F_DUPFD         = 0;
export const F_GETFD         = 1;
export const F_SETFD         = 2;
export const F_GETFL         = 3;
export const F_SETFL         = 4;
export const F_GETLK         = 5;
export const F_SETLK         = 6;
export const F_SETLKW        = 7;
export const F_SETOWN        = 8;
export const F_GETOWN        = 9;
export const F_SETSIG        = 10;
export const F_GETSIG        = 11;
export const F_OFD_GETLK     = 36;
export const F_OFD_SETLK     = 37;
export const F_OFD_SETLKW    = 38;
export const F_SETLEASE      = 1024;
export const F_GETLEASE      = 1025;
export const F_NOTIFY        = 1026;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ    = 1031;
export const F_GETPIPE_SZ    = 1032;
export const F_ADD_SEALS     = 1033;
export const F_GET_SEALS     = 1034;
export const FD_CLOEXEC      = 1;
export const F_RDLCK         = 0;
export const F_WRLCK         = 1;
export const F_UNLCK         = 2;

// Flags of the *at calls
export const AT_FDCWD            = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EACCESS          = 0x200;
export const AT_REMOVEDIR        = 0x200;
export const AT_SYMLINK_FOLLOW   = 0x400;
export const AT_NO_AUTOMOUNT     = 0x800;
export const AT_EMPTY_PATH       = 0x1000;

// access, lseek, flock, renameat2
export const F_OK             = 0;
export const X_OK             = 1;
export const W_OK             = 2;
export const R_OK             = 4;
export const SEEK_SET         = 0;
export const SEEK_CUR         = 1;
export const SEEK_END         = 2;
export const SEEK_DATA        = 3;
export const SEEK_HOLE        = 4;
export const LOCK_SH          = 1;
export const LOCK_EX          = 2;
export const LOCK_NB          = 4;
export const LOCK_UN          = 8;
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE  = 2;

// Seals, memfd_create, getrandom
export const F_SEAL_SEAL         = 1;
export const F_SEAL_SHRINK       = 2;
export const F_SEAL_GROW         = 4;
export const F_SEAL_WRITE        = 8;
export const F_SEAL_FUTURE_WRITE = 16;
export const MFD_CLOEXEC         = 1;
export const MFD_ALLOW_SEALING   = 2;
export const MFD_HUGETLB         = 4;
export const GRND_NONBLOCK       = 1;
export const GRND_RANDOM         = 2;

export const flock = struct('flock', { l_type: s16, l_whence: s16, l_start: s64, l_len: s64, l_pid: s32 });
export type flock = Of<typeof flock>;

export const iovec = struct('iovec', { iov_base: u64, iov_len: u64 });
export type iovec = Of<typeof iovec>;

/** The longest path, and the longest name in it, without the closing zero byte. */
export const PATH_MAX = 4096;
export const NAME_MAX = 255;
/** A pipe takes writes of up to this many bytes whole. */
export const PIPE_BUF = 4096;

export * from './stat.ts';
