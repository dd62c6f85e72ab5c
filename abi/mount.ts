/**
 * mount and umount2.
 * Linux: include/uapi/linux/mount.h, include/linux/fs.h
 */

// Flags of mount
export const MS_RDONLY      = 1;
export const MS_NOSUID      = 2;
export const MS_NODEV       = 4;
export const MS_NOEXEC      = 8;
export const MS_SYNCHRONOUS = 16;
export const MS_REMOUNT     = 32;
export const MS_MANDLOCK    = 64;
export const MS_DIRSYNC     = 128;
export const MS_NOATIME     = 1024;
export const MS_NODIRATIME  = 2048;
export const MS_BIND        = 4096;
export const MS_MOVE        = 8192;
export const MS_REC         = 16384;
export const MS_SILENT      = 32768;
export const MS_PRIVATE     = 262144;
export const MS_SHARED      = 1048576;
export const MS_RELATIME    = 2097152;
export const MS_STRICTATIME = 16777216;
export const MS_LAZYTIME    = 33554432;

// Flags of umount2
export const MNT_FORCE       = 1;
export const MNT_DETACH      = 2;
export const MNT_EXPIRE      = 4;
export const UMOUNT_NOFOLLOW = 8;
