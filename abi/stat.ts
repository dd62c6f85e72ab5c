/**
 * What the file system says of a file: stat, statx, directory entries, statfs.
 * Linux: arch/x86/include/uapi/asm/stat.h, include/uapi/linux/stat.h, include/linux/dirent.h
 */
import { type Of, array, flex, s32, s64, struct, u16, u32, u64, u8 } from './struct.ts';

// File types in st_mode
export const S_IFMT   = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK  = 0o120000;
export const S_IFREG  = 0o100000;
export const S_IFBLK  = 0o60000;
export const S_IFDIR  = 0o40000;
export const S_IFCHR  = 0o20000;
export const S_IFIFO  = 0o10000;

// Permission bits in st_mode
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;
export const S_IRWXU = 0o700;
export const S_IRUSR = 0o400;
export const S_IWUSR = 0o200;
export const S_IXUSR = 0o100;
export const S_IRWXG = 0o70;
export const S_IRGRP = 0o40;
export const S_IWGRP = 0o20;
export const S_IXGRP = 0o10;
export const S_IRWXO = 7;
export const S_IROTH = 4;
export const S_IWOTH = 2;
export const S_IXOTH = 1;

// d_type of a directory entry
export const DT_UNKNOWN = 0;
export const DT_FIFO    = 1;
export const DT_CHR     = 2;
export const DT_DIR     = 4;
export const DT_BLK     = 6;
export const DT_REG     = 8;
export const DT_LNK     = 10;
export const DT_SOCK    = 12;
export const DT_WHT     = 14;

// statx: what is asked for and what was filled in
export const STATX_TYPE        = 1;
export const STATX_MODE        = 2;
export const STATX_NLINK       = 4;
export const STATX_UID         = 0x8;
export const STATX_GID         = 0x10;
export const STATX_ATIME       = 0x20;
export const STATX_MTIME       = 0x40;
export const STATX_CTIME       = 0x80;
export const STATX_INO         = 0x100;
export const STATX_SIZE        = 0x200;
export const STATX_BLOCKS      = 0x400;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME       = 0x800;
export const STATX_ALL         = 0xfff;

export const S_ISDIR = (mode: number): boolean => (mode & S_IFMT) === S_IFDIR;
export const S_ISREG = (mode: number): boolean => (mode & S_IFMT) === S_IFREG;
export const S_ISCHR = (mode: number): boolean => (mode & S_IFMT) === S_IFCHR;
export const S_ISBLK = (mode: number): boolean => (mode & S_IFMT) === S_IFBLK;
export const S_ISLNK = (mode: number): boolean => (mode & S_IFMT) === S_IFLNK;
export const S_ISFIFO = (mode: number): boolean => (mode & S_IFMT) === S_IFIFO;
export const S_ISSOCK = (mode: number): boolean => (mode & S_IFMT) === S_IFSOCK;

/** struct stat's packing of a device number, as makedev gives it. Twelve bits of major, twenty of minor. */
export const makedev = (major: number, minor: number): number => ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
export const major = (dev: number): number => (dev >>> 8) & 0xfff;
export const minor = (dev: number): number => (dev & 0xff) | ((dev >>> 12) & 0xfff00);

export const stat = struct('stat', {
  st_dev: u64, st_ino: u64, st_nlink: u64, st_mode: u32, st_uid: u32, st_gid: u32, __pad0: u32, st_rdev: u64,
  st_size: s64, st_blksize: s64, st_blocks: s64,
  st_atime: u64, st_atime_nsec: u64, st_mtime: u64, st_mtime_nsec: u64, st_ctime: u64, st_ctime_nsec: u64,
  __unused: array(s64, 3),
});
export type stat = Of<typeof stat>;

export const statx_timestamp = struct('statx_timestamp', { tv_sec: s64, tv_nsec: u32, __reserved: s32 });
export type statx_timestamp = Of<typeof statx_timestamp>;

export const statx = struct('statx', {
  stx_mask: u32, stx_blksize: u32, stx_attributes: u64, stx_nlink: u32, stx_uid: u32, stx_gid: u32, stx_mode: u16,
  __spare0: array(u16, 1), stx_ino: u64, stx_size: u64, stx_blocks: u64, stx_attributes_mask: u64,
  stx_atime: statx_timestamp, stx_btime: statx_timestamp, stx_ctime: statx_timestamp, stx_mtime: statx_timestamp,
  stx_rdev_major: u32, stx_rdev_minor: u32, stx_dev_major: u32, stx_dev_minor: u32, stx_mnt_id: u64,
  stx_dio_mem_align: u32, stx_dio_offset_align: u32, __spare3: array(u64, 12),
});
export type statx = Of<typeof statx>;

/** What getdents64 fills its buffer with. d_reclen is rounded up to 8 bytes; d_name ends in a zero byte. */
export const linux_dirent64 = struct('linux_dirent64', { d_ino: u64, d_off: s64, d_reclen: u16, d_type: u8, d_name: flex(u8) });
export type linux_dirent64 = Of<typeof linux_dirent64>;
/** glibc's name for it. */
export { linux_dirent64 as dirent64 };

export const statfs = struct('statfs', {
  f_type: s64, f_bsize: s64, f_blocks: u64, f_bfree: u64, f_bavail: u64, f_files: u64, f_ffree: u64, f_fsid: array(s32, 2),
  f_namelen: s64, f_frsize: s64, f_flags: s64, f_spare: array(s64, 4),
});
export type statfs = Of<typeof statfs>;
