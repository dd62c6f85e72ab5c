#!/usr/bin/env python3
"""Asks the Linux it runs on how its file system calls answer, and writes questions and answers to
test/golden/fs-cases.json. Run as root, in a directory on tmpfs:  fs-cases.py > test/golden/fs-cases.json

A case is a list of calls made one after the other by a fresh process in an empty directory, with nothing open but
0, 1 and 2. An argument is a number, a string (a pointer to it), R(i) (what call i answered), B(bytes) (a pointer to
them), O(n) (a pointer to n zero bytes; what is in them afterwards is recorded) or O(n, (offset, size)…) (only those).
"""
import ctypes, json, os, struct, sys, tempfile, platform, signal
from fcntl import *
from os import *

NR = dict(read=0, write=1, open=2, close=3, stat=4, fstat=5, lstat=6, poll=7, lseek=8, mmap=9, munmap=11, ioctl=16, pread64=17, pwrite64=18, readv=19, writev=20,
          access=21, pipe=22, select=23, dup=32, dup2=33, sendfile=40, fcntl=72, flock=73, fsync=74, truncate=76, ftruncate=77, getdents64=217, getcwd=79, chdir=80, fchdir=81,
          rename=82, mkdir=83, rmdir=84, creat=85, link=86, unlink=87, symlink=88, readlink=89, chmod=90, fchmod=91, umask=95, mknod=133, mount=165, umount2=166,
          openat=257, mkdirat=258, unlinkat=263, renameat=264, linkat=265, symlinkat=266, readlinkat=267, fchmodat=268, faccessat=269, newfstatat=262,
          epoll_create1=291, epoll_ctl=233, epoll_wait=232, eventfd2=290, dup3=292, pipe2=293, timerfd_create=283, timerfd_settime=286, renameat2=316, faccessat2=439, close_range=436,
          utime=132, utimes=235, utimensat=280, fallocate=285, memfd_create=319, copy_file_range=326, fadvise64=221, signalfd4=289, rt_sigprocmask=14, getpid=39, kill=62, tkill=200)
AT_FDCWD = -100
BAD = 1
O_PATH = 0o10000000
AT_REMOVEDIR = 0x200
AT_EMPTY_PATH = 0x1000
TIMES = ((72, 16), (88, 16))
MODE_NLINK_SIZE = ((24, 4), (16, 8), (48, 8))

class R:
    def __init__(self, i): self.i = i
class B:
    def __init__(self, b): self.b = b
class O:
    def __init__(self, n, *show): self.n, self.show = n, show
class P:
    """A pointer to pointers: iovecs of (bytes or O-size)."""
    def __init__(self, *parts): self.parts = parts

class F(B):
    """Bytes that the call may change: a struct flock, whose pid is not recorded."""
def i32(*n): return B(b''.join(int(x).to_bytes(4, 'little', signed=True) for x in n))
def pollfd(*rows): return [r for r in rows]
def FL(type, whence, start, length, pid=0): return F(struct.pack('hhxxxxqqixxxx', type, whence, start, length, pid))
W = 0o102  # O_RDWR|O_CREAT

long_name = 'n' * 256
long_path = '/'.join(['d' * 200] * 25)

cases = {
 # ---- open and close
 'open-missing': [('open', 'f', 0, 0)],
 'open-empty-name': [('open', '', 0, 0)],
 'open-bad-pointer': [('open', BAD, 0, 0)],
 'open-long-name': [('open', long_name, 0, 0), ('open', long_name, W, 0o644)],
 'open-long-path': [('open', long_path, 0, 0)],
 'open-create-then-excl': [('open', 'f', W, 0o644), ('open', 'f', W | O_EXCL, 0o644), ('open', 'f', O_RDONLY, 0)],
 'open-lowest-fd': [('open', 'f', W, 0o644), ('open', 'f', 0, 0), ('close', R(0)), ('open', 'f', 0, 0), ('close', 99), ('close', -1), ('close', R(0)), ('close', R(0))],
 'open-directory-for-writing': [('mkdir', 'd', 0o755), ('open', 'd', O_RDWR, 0), ('open', 'd', O_WRONLY, 0), ('open', 'd', O_RDONLY | O_TRUNC, 0), ('open', 'd', O_RDONLY | O_CREAT, 0o644), ('open', 'd', O_RDONLY, 0)],
 'open-o-directory': [('open', 'f', W, 0o644), ('open', 'f', O_DIRECTORY, 0), ('open', 'f', O_DIRECTORY | O_CREAT, 0), ('open', '.', O_DIRECTORY, 0)],
 'open-trailing-slash': [('open', 'f', W, 0o644), ('open', 'f/', 0, 0), ('open', 'f/x', 0, 0), ('open', 'g/', W, 0o644), ('open', 'f/', W, 0o644), ('mkdir', 'd/', 0o755), ('open', 'd/', 0, 0)],
 'open-dot-creat': [('open', '.', O_CREAT, 0o644), ('open', '..', O_CREAT, 0o644), ('open', '/', O_CREAT, 0o644), ('open', '.', O_CREAT | O_EXCL, 0o644), ('open', '/', O_CREAT | O_EXCL, 0o644), ('open', 'x/.', O_CREAT, 0o644)],
 'open-missing-parent': [('open', 'd/f', W, 0o644), ('open', 'd/e/f', 0, 0)],
 'open-nofollow': [('symlink', 'f', 'l'), ('open', 'l', O_NOFOLLOW, 0), ('open', 'l', 0, 0), ('open', 'l', W | O_EXCL, 0o644), ('open', 'l', W, 0o644), ('open', 'l', 0, 0), ('open', 'l', O_NOFOLLOW | O_CREAT, 0o644), ('open', 'l', O_PATH | O_NOFOLLOW, 0)],
 'open-loop': [('symlink', 'a', 'b'), ('symlink', 'b', 'a'), ('open', 'a', 0, 0), ('open', 'a/x', 0, 0), ('stat', 'a', O(144, *MODE_NLINK_SIZE)), ('open', 'a', W, 0o644)],
 'open-truncates': [('open', 'f', W, 0o644), ('write', R(0), B(b'hello'), 5), ('open', 'f', O_RDWR | O_TRUNC, 0), ('fstat', R(0), O(144, *MODE_NLINK_SIZE)), ('read', R(2), O(8), 8)],
 'open-mode-umask': [('umask', 0o027), ('open', 'f', W, 0o666), ('fstat', R(1), O(144, (24, 4))), ('umask', 0o022), ('mkdir', 'd', 0o777), ('stat', 'd', O(144, (24, 4), (16, 8)))],
 'open-path-only': [('open', 'f', W, 0o644), ('open', 'f', O_PATH, 0), ('read', R(1), O(1), 1), ('write', R(1), B(b'x'), 1), ('lseek', R(1), 0, 0), ('fstat', R(1), O(144, (24, 4))), ('ftruncate', R(1), 0), ('fchmod', R(1), 0o600), ('ioctl', R(1), 0x5401, O(64)), ('fcntl', R(1), 3, 0), ('fcntl', R(1), 4, 0), ('dup', R(1)), ('fsync', R(1))],
 'open-invalid-combination': [('open', 'f', O_CREAT | O_DIRECTORY | O_RDWR, 0o644), ('open', 'f', 3 | O_CREAT, 0o644), ('read', R(1), O(4), 4), ('write', R(1), B(b'abcd'), 4)],
 'openat': [('mkdir', 'd', 0o755), ('open', 'd', O_RDONLY, 0), ('openat', R(1), 'f', W, 0o644), ('openat', 99, 'f', 0, 0), ('openat', 99, '/', 0, 0), ('openat', R(2), 'f', 0, 0), ('openat', AT_FDCWD, 'd/f', 0, 0), ('openat', R(1), '../d/f', 0, 0)],
 'creat': [('creat', 'f', 0o600), ('read', R(0), O(1), 1), ('write', R(0), B(b'a'), 1), ('creat', 'd/f', 0o600)],
 'close-range': [('open', 'f', W, 0o644), ('dup', R(0)), ('dup', R(0)), ('close_range', 4, 5, 0), ('dup', R(0)), ('close_range', 5, 4, 0), ('close_range', 3, 100, 4), ('fcntl', 3, 1, 0), ('close_range', 3, 3, 8)],
 # ---- read and write
 'read-write-modes': [('open', 'f', W, 0o644), ('write', R(0), B(b'abcdef'), 6), ('lseek', R(0), 0, 0), ('read', R(0), O(4), 4), ('read', R(0), O(4), 4), ('read', R(0), O(4), 4), ('open', 'f', O_WRONLY, 0), ('read', R(6), O(1), 1), ('open', 'f', O_RDONLY, 0), ('write', R(8), B(b'x'), 1)],
 'read-bad': [('read', 99, O(1), 1), ('read', -1, O(1), 1), ('open', 'f', W, 0o644), ('write', R(2), B(b'abc'), 3), ('lseek', R(2), 0, 0), ('read', R(2), BAD, 2), ('read', R(2), O(4), -1), ('read', R(2), BAD, 0), ('read', R(2), 0, 0), ('write', R(2), BAD, 4), ('write', R(2), B(b'x'), -1), ('write', R(2), 0, 0)],
 'read-directory': [('open', '.', O_RDONLY, 0), ('read', R(0), O(8), 8), ('write', R(0), B(b'x'), 1), ('pread64', R(0), O(8), 8, 0), ('readv', R(0), P(4), 1)],
 'append': [('open', 'f', W | O_APPEND, 0o644), ('write', R(0), B(b'abc'), 3), ('lseek', R(0), 0, 0), ('write', R(0), B(b'de'), 2), ('lseek', R(0), 0, 1), ('pwrite64', R(0), B(b'Z'), 1, 0), ('pread64', R(0), O(8), 8, 0)],
 'pread-pwrite': [('open', 'f', W, 0o644), ('pwrite64', R(0), B(b'xyz'), 3, 5), ('lseek', R(0), 0, 1), ('pread64', R(0), O(10), 10, 0), ('pread64', R(0), O(2), 2, 100), ('pread64', R(0), O(2), 2, -1), ('pwrite64', R(0), B(b'q'), 1, -5), ('pread64', 99, O(1), 1, 0), ('pread64', 99, O(1), 1, -1)],
 'hole': [('open', 'f', W, 0o644), ('lseek', R(0), 10000, 0), ('write', R(0), B(b'end'), 3), ('fstat', R(0), O(144, (48, 8))), ('pread64', R(0), O(8), 8, 9998), ('pread64', R(0), O(4), 4, 5000)],
 'lseek': [('open', 'f', W, 0o644), ('write', R(0), B(b'0123456789'), 10), ('lseek', R(0), 3, 0), ('lseek', R(0), 2, 1), ('lseek', R(0), -4, 2), ('lseek', R(0), -100, 1), ('lseek', R(0), 0, 7), ('lseek', R(0), 100, 0), ('read', R(0), O(2), 2), ('lseek', R(0), -1, 0), ('lseek', 99, 0, 0), ('lseek', R(0), 0, 3), ('lseek', R(0), 0, 4), ('lseek', R(0), 10, 3), ('lseek', R(0), 11, 4)],
 'lseek-not-seekable': [('pipe2', O(8), 0), ('lseek', 3, 0, 0), ('lseek', 3, 0, 9), ('pread64', 3, O(1), 1, 0), ('pwrite64', 4, B(b'x'), 1, 0), ('eventfd2', 0, 0), ('lseek', R(5), 0, 1), ('open', '/dev/null', O_RDWR, 0), ('lseek', R(7), 5, 0), ('open', '.', 0, 0), ('lseek', R(9), 0, 2)],
 'readv-writev': [('open', 'f', W, 0o644), ('writev', R(0), P(b'ab', b'', b'cde'), 3), ('lseek', R(0), 1, 0), ('readv', R(0), P(1, 2, 9), 3), ('readv', R(0), P(1), -1), ('readv', R(0), P(1), 1025), ('readv', R(0), BAD, 1), ('readv', R(0), BAD, 0), ('writev', R(0), P(), 0), ('readv', 99, P(1), 1)],
 'truncate': [('open', 'f', W, 0o644), ('write', R(0), B(b'0123456789'), 10), ('ftruncate', R(0), 4), ('pread64', R(0), O(10), 10, 0), ('ftruncate', R(0), 8), ('pread64', R(0), O(10), 10, 0), ('ftruncate', R(0), -1), ('truncate', 'f', 2), ('fstat', R(0), O(144, (48, 8))), ('truncate', 'g', 0), ('truncate', '.', 0), ('truncate', 'f', -1), ('truncate', '', 0), ('open', 'f', 0, 0), ('ftruncate', R(13), 1), ('ftruncate', 99, 0), ('open', '/dev/null', O_RDWR, 0), ('ftruncate', R(16), 0), ('truncate', '/dev/null', 0), ('truncate', 'f/x', 0)],
 'sendfile': [('open', 'a', W, 0o644), ('write', R(0), B(b'0123456789'), 10), ('open', 'b', W, 0o644), ('lseek', R(0), 2, 0), ('sendfile', R(2), R(0), 0, 3), ('lseek', R(0), 0, 1), ('pread64', R(2), O(8), 8, 0), ('sendfile', R(2), 99, 0, 1), ('sendfile', 99, R(0), 0, 1), ('sendfile', R(2), R(0), BAD, 1), ('sendfile', R(2), R(0), 0, 100), ('open', 'b', O_WRONLY | O_APPEND, 0), ('sendfile', R(11), R(0), 0, 1)],
 'fsync': [('open', 'f', W, 0o644), ('fsync', R(0)), ('fsync', 99), ('pipe2', O(8), 0), ('fsync', 4)],
 # ---- names
 'mkdir-rmdir': [('mkdir', 'd', 0o755), ('mkdir', 'd', 0o755), ('mkdir', 'd/e/f', 0o755), ('mkdir', '', 0o755), ('mkdir', '.', 0o755), ('mkdir', '/', 0o755), ('mkdir', 'd/e/', 0o755), ('rmdir', 'd'), ('rmdir', 'd/.'), ('rmdir', 'd/..'), ('rmdir', '/'), ('rmdir', 'd/e/'), ('rmdir', 'd/e'), ('rmdir', ''), ('rmdir', 'd'), ('open', 'f', W, 0o644), ('rmdir', 'f'), ('mkdir', 'f', 0o755), ('mkdir', 'f/x', 0o755), ('mkdir', BAD, 0o755), ('mkdir', long_name, 0o755)],
 'mkdir-links': [('mkdir', 'd', 0o755), ('stat', 'd', O(144, (16, 8))), ('mkdir', 'd/a', 0o755), ('mkdir', 'd/b', 0o755), ('stat', 'd', O(144, (16, 8))), ('rmdir', 'd/a'), ('stat', 'd', O(144, (16, 8)))],
 'unlink': [('open', 'f', W, 0o644), ('write', R(0), B(b'abc'), 3), ('unlink', 'f'), ('unlink', 'f'), ('pread64', R(0), O(3), 3, 0), ('fstat', R(0), O(144, *MODE_NLINK_SIZE)), ('mkdir', 'd', 0o755), ('unlink', 'd'), ('unlink', 'd/'), ('unlink', '.'), ('unlink', ''), ('open', 'g', W, 0o644), ('unlink', 'g/'), ('unlink', 'g/x'), ('unlink', 'd/x'), ('unlinkat', AT_FDCWD, 'd', AT_REMOVEDIR), ('unlinkat', AT_FDCWD, 'g', 1), ('unlinkat', AT_FDCWD, 'g', AT_REMOVEDIR), ('unlinkat', 99, 'g', 0)],
 'link': [('open', 'f', W, 0o644), ('link', 'f', 'g'), ('fstat', R(0), O(144, (16, 8))), ('link', 'f', 'g'), ('link', 'x', 'y'), ('mkdir', 'd', 0o755), ('link', 'd', 'e'), ('link', 'f', 'd/'), ('link', 'f', 'x/y'), ('link', 'f', 'new/'), ('unlink', 'f'), ('fstat', R(0), O(144, (16, 8))), ('symlink', 'g', 's'), ('link', 's', 't'), ('lstat', 't', O(144, (24, 4), (16, 8))), ('linkat', AT_FDCWD, 's', AT_FDCWD, 'u', 0x400), ('lstat', 'u', O(144, (24, 4), (16, 8))), ('linkat', AT_FDCWD, 's', AT_FDCWD, 'v', 1)],
 'symlink-readlink': [('symlink', 'target', 'l'), ('readlink', 'l', O(16), 16), ('readlink', 'l', O(3), 3), ('readlink', 'l', O(3), 0), ('readlink', 'l', O(3), -1), ('readlink', 'x', O(3), 3), ('open', 'f', W, 0o644), ('readlink', 'f', O(3), 3), ('readlink', '', O(3), 3), ('readlink', 'l/', O(3), 3), ('symlink', '', 'm'), ('symlink', 'a', 'l'), ('symlink', 'a', 'f/x'), ('symlink', 'a', 'x/'), ('lstat', 'l', O(144, *MODE_NLINK_SIZE)), ('stat', 'l', O(144, (24, 4))), ('unlink', 'l'), ('readlink', 'f', BAD, 3), ('symlink', BAD, 'q')],
 'symlink-walk': [('mkdir', 'd', 0o755), ('open', 'd/f', W, 0o644), ('symlink', 'd', 'l'), ('stat', 'l/f', O(144, (24, 4))), ('lstat', 'l', O(144, (24, 4))), ('lstat', 'l/', O(144, (24, 4))), ('stat', 'l/../d/./f', O(144, (24, 4))), ('symlink', '/../../..//', 'root'), ('stat', 'root/.', O(144, (24, 4))), ('unlink', 'l/'), ('rmdir', 'l'), ('rmdir', 'l/'), ('symlink', 'd/f', 'lf'), ('stat', 'lf/', O(144, (24, 4))), ('open', 'lf/', 0, 0), ('mkdir', 'lf', 0o755), ('symlink', 'nowhere', 'dangling'), ('mkdir', 'dangling', 0o755), ('mkdir', 'dangling/', 0o755), ('open', 'dangling', W | O_EXCL, 0o644)],
 'rename': [('open', 'a', W, 0o644), ('rename', 'a', 'b'), ('rename', 'a', 'c'), ('rename', 'b', 'b'), ('mkdir', 'd', 0o755), ('mkdir', 'e', 0o755), ('rename', 'b', 'd'), ('rename', 'd', 'b'), ('rename', 'd', 'd/x'), ('rename', 'd', 'e'), ('mkdir', 'd', 0o755), ('open', 'e/f', W, 0o644), ('rename', 'd', 'e'), ('rename', 'e/f', '.'), ('rename', '.', 'x'), ('rename', '..', 'x'), ('rename', 'b', ''), ('rename', '', 'b'), ('rename', 'b', 'new/'), ('rename', 'd', 'new/'), ('rename', 'b/', 'c'), ('rename', 'e', 'e/f/x'), ('rename', 'e/f', 'e'), ('rename', 'b', 'missing/x'), ('rename', 'b', 'e/f'), ('stat', 'e/f', O(144, (16, 8))), ('rename', '/', 'x'), ('rename', 'b', '/proc/x')],
 'rename-links': [('open', 'a', W, 0o644), ('link', 'a', 'b'), ('rename', 'a', 'b'), ('stat', 'a', O(144, (16, 8))), ('stat', 'b', O(144, (16, 8))), ('open', 'c', W, 0o644), ('rename', 'c', 'b'), ('fstat', R(0), O(144, (16, 8))), ('renameat2', AT_FDCWD, 'a', AT_FDCWD, 'b', 1), ('renameat2', AT_FDCWD, 'a', AT_FDCWD, 'n', 1), ('renameat2', AT_FDCWD, 'n', AT_FDCWD, 'b', 8), ('renameat2', AT_FDCWD, 'n', AT_FDCWD, 'b', 3)],
 'rename-directory-counts': [('mkdir', 'd', 0o755), ('mkdir', 'd/s', 0o755), ('mkdir', 'e', 0o755), ('rename', 'd/s', 'e/s'), ('stat', 'd', O(144, (16, 8))), ('stat', 'e', O(144, (16, 8))), ('mkdir', 'd/t', 0o755), ('rename', 'd/t', 'e/s'), ('stat', 'd', O(144, (16, 8))), ('stat', 'e', O(144, (16, 8)))],
 'mknod': [('mknod', 'f', 0o100644, 0), ('stat', 'f', O(144, (24, 4))), ('mknod', 'p', 0o010644, 0), ('stat', 'p', O(144, (24, 4))), ('mknod', 'n', 0o020666, 0x103), ('open', 'n', O_RDWR, 0), ('write', R(5), B(b'x'), 1), ('read', R(5), O(1), 1), ('stat', 'n', O(144, (24, 4), (40, 8))), ('mknod', 'x', 0o040755, 0), ('mknod', 'f', 0o100644, 0), ('mknod', 'y', 0o170000, 0), ('mknod', 'u', 0o020666, 0x2a01), ('open', 'u', O_RDWR, 0), ('mknod', 's', 0o140644, 0), ('open', 's', 0, 0), ('mknod', 'plain', 0o644, 0), ('stat', 'plain', O(144, (24, 4)))],
 # ---- attributes
 'stat-errors': [('stat', 'x', O(144, (24, 4))), ('stat', '', O(144, (24, 4))), ('stat', BAD, O(144, (24, 4))), ('stat', '.', BAD), ('fstat', 99, O(144, (24, 4))), ('stat', long_name, O(144, (24, 4))), ('newfstatat', AT_FDCWD, '', O(144, (24, 4)), AT_EMPTY_PATH), ('newfstatat', AT_FDCWD, '.', O(144, (24, 4)), 0x10), ('newfstatat', 1, '', O(144, (48, 0)), AT_EMPTY_PATH), ('newfstatat', 99, '', O(144, (24, 4)), AT_EMPTY_PATH), ('newfstatat', 99, 'x', O(144, (24, 4)), 0)],
 'chmod': [('open', 'f', W, 0o644), ('chmod', 'f', 0o4711), ('fstat', R(0), O(144, (24, 4))), ('fchmod', R(0), 0o177777), ('fstat', R(0), O(144, (24, 4))), ('chmod', 'x', 0), ('fchmod', 99, 0), ('symlink', 'f', 'l'), ('fchmodat', AT_FDCWD, 'l', 0o600), ('lstat', 'l', O(144, (24, 4))), ('stat', 'f', O(144, (24, 4))), ('chmod', '', 0)],
 'access': [('open', 'f', W, 0o644), ('access', 'f', 0), ('access', 'f', 4), ('access', 'f', 2), ('access', 'f', 1), ('access', 'f', 8), ('access', 'x', 0), ('access', '.', 1), ('chmod', 'f', 0), ('access', 'f', 6), ('chmod', 'f', 0o001), ('access', 'f', 1), ('access', '', 0), ('faccessat2', AT_FDCWD, 'f', 0, 1), ('faccessat2', AT_FDCWD, 'f', 0, 0x200), ('access', 'f/x', 0), ('access', BAD, 0)],
 'chdir': [('mkdir', 'd', 0o755), ('open', 'f', W, 0o644), ('chdir', 'f'), ('chdir', 'x'), ('chdir', ''), ('fchdir', R(1)), ('fchdir', 99), ('chdir', 'd'), ('stat', '../f', O(144, (24, 4))), ('getcwd', O(1, (0, 0)), 1), ('getcwd', O(1, (0, 0)), 0), ('rmdir', '../d'), ('getcwd', O(256, (0, 0)), 256), ('open', 'new', W, 0o644), ('mkdir', 'new', 0o755), ('stat', '.', O(144, (16, 8))), ('open', '.', 0, 0), ('getdents64', R(16), O(512, (0, 0)), 512), ('chdir', '..'), ('stat', 'f', O(144, (24, 4)))],
 'getcwd-root': [('chdir', '/'), ('getcwd', O(4), 4), ('getcwd', O(4), 2), ('getcwd', O(4), 1), ('getcwd', BAD, 4), ('chdir', '..'), ('getcwd', O(4), 4)],
 'getdents': [('open', '.', 0, 0), ('getdents64', R(0), O(128, (18, 6), (42, 6)), 128), ('getdents64', R(0), O(128), 128), ('getdents64', R(0), O(128), 10), ('lseek', R(0), 0, 0), ('getdents64', R(0), O(128, (0, 0)), 10), ('getdents64', R(0), O(128, (0, 0)), 24), ('getdents64', R(0), O(128, (0, 0)), 24), ('getdents64', R(0), O(128, (0, 0)), 24), ('open', 'f', W, 0o644), ('getdents64', R(9), O(128, (0, 0)), 128), ('getdents64', 99, O(128, (0, 0)), 128)],
 # ---- descriptors
 'dup': [('open', 'f', W, 0o644), ('dup', R(0)), ('dup', 99), ('dup', -1), ('dup2', R(0), 10), ('dup2', R(0), R(0)), ('dup2', 99, 5), ('dup2', 99, 99), ('dup2', R(0), -1), ('dup2', R(0), 1 << 20), ('dup3', R(0), R(0), 0), ('dup3', R(0), 11, 0o2000000), ('fcntl', 11, 1, 0), ('fcntl', 10, 1, 0), ('dup3', R(0), 12, 4), ('dup3', 99, 12, 0), ('dup3', 99, 99, 0), ('write', 10, B(b'abc'), 3), ('lseek', R(0), 0, 1)],
 'fcntl': [('open', 'f', W | O_CLOEXEC, 0o644), ('fcntl', R(0), 1, 0), ('fcntl', R(0), 2, 0), ('fcntl', R(0), 1, 0), ('fcntl', R(0), 2, 3), ('fcntl', R(0), 1, 0), ('fcntl', R(0), 3, 0), ('fcntl', R(0), 4, O_APPEND | O_NONBLOCK | O_WRONLY | O_CREAT), ('fcntl', R(0), 3, 0), ('fcntl', R(0), 0, 20), ('fcntl', R(0), 0, -1), ('fcntl', R(0), 0, 1 << 30), ('fcntl', R(0), 1030, 20), ('fcntl', 21, 1, 0), ('fcntl', 99, 1, 0), ('fcntl', R(0), 999, 0), ('fcntl', R(0), 1032, 0)],
 'getfl': [('open', 'f', W | O_EXCL | O_NOCTTY | O_TRUNC | O_NOFOLLOW, 0o644), ('fcntl', R(0), 3, 0), ('open', 'f', O_RDONLY, 0), ('fcntl', R(2), 3, 0), ('open', '.', O_DIRECTORY, 0), ('fcntl', R(4), 3, 0), ('pipe2', O(8), O_NONBLOCK), ('fcntl', 6, 3, 0), ('fcntl', 7, 3, 0), ('eventfd2', 0, 0), ('fcntl', R(9), 3, 0), ('epoll_create1', 0), ('fcntl', R(11), 3, 0), ('open', 'f', O_WRONLY | O_APPEND | O_SYNC, 0), ('fcntl', R(13), 3, 0)],
 'ioctl': [('open', 'f', W, 0o644), ('ioctl', R(0), 0x5451, 0), ('fcntl', R(0), 1, 0), ('ioctl', R(0), 0x5450, 0), ('fcntl', R(0), 1, 0), ('ioctl', R(0), 0x5421, i32(1)), ('fcntl', R(0), 3, 0), ('ioctl', R(0), 0x5421, i32(0)), ('fcntl', R(0), 3, 0), ('ioctl', R(0), 0x5421, BAD), ('ioctl', R(0), 0x12345, 0), ('ioctl', 99, 0x5451, 0), ('ioctl', R(0), 0x5401, O(64)), ('write', R(0), B(b'abcdef'), 6), ('lseek', R(0), 2, 0), ('ioctl', R(0), 0x541b, O(4)), ('ioctl', R(0), 2, O(4)), ('pipe2', O(8), 0), ('write', 5, B(b'abc'), 3), ('ioctl', 4, 0x541b, O(4)), ('ioctl', 4, 0x5401, O(64)), ('open', '/dev/null', 2, 0), ('ioctl', R(21), 0x5401, O(64)), ('ioctl', R(21), 0x541b, O(4))],
 # ---- pipes, eventfd, poll
 'pipe': [('pipe2', O(8), O_NONBLOCK), ('read', 3, O(4), 4), ('write', 4, B(b'hello'), 5), ('read', 3, O(3), 3), ('read', 3, O(9), 9), ('write', 3, B(b'x'), 1), ('read', 4, O(1), 1), ('read', 3, O(1), 0), ('write', 4, B(b''), 0), ('write', 4, BAD, 3), ('write', 4, B(b'ab'), 2), ('read', 3, BAD, 2), ('read', 3, O(2), 2), ('close', 4), ('read', 3, O(2), 2), ('pipe2', BAD, 0), ('pipe2', O(8), 1), ('pipe', O(8))],
 'pipe-epipe': [('pipe2', O(8), 0), ('close', 3), ('write', 4, B(b'x'), 1), ('write', 4, B(b'x'), 0), ('poll', B(bytes([4, 0, 0, 0, 4, 0, 0, 0])), 1, 0)],
 'pipe-full': [('pipe2', O(8), O_NONBLOCK), ('fcntl', 4, 1032, 0), ('write', 4, B(b'x' * 65536), 65536), ('write', 4, B(b'y'), 1), ('poll', O(8), 0, 0), ('read', 3, O(4096, (0, 4)), 4095), ('write', 4, B(b'y' * 4096), 4096), ('read', 3, O(8, (0, 1)), 1), ('write', 4, B(b'y' * 4096), 4096), ('write', 4, B(b'z' * 8192), 8192), ('fcntl', 4, 1031, 4096), ('fcntl', 4, 1031, 100000), ('fcntl', 3, 1032, 0), ('fcntl', 4, 1031, -1), ('fcntl', 4, 1031, 1 << 30)],
 'fifo': [('mknod', 'p', 0o010644, 0), ('open', 'p', O_WRONLY | O_NONBLOCK, 0), ('open', 'p', O_RDONLY | O_NONBLOCK, 0), ('read', R(2), O(1), 1), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('open', 'p', O_WRONLY | O_NONBLOCK, 0), ('write', R(5), B(b'abc'), 3), ('read', R(2), O(3), 3), ('read', R(2), O(3), 3), ('close', R(5)), ('read', R(2), O(3), 3), ('lseek', R(2), 0, 0), ('open', 'p', O_RDWR | O_NONBLOCK, 0), ('read', R(12), O(1), 1)],
 'eventfd': [('eventfd2', 5, 0), ('read', R(0), O(8), 8), ('eventfd2', 0, O_NONBLOCK), ('read', R(2), O(8), 8), ('write', R(2), B((7).to_bytes(8, 'little')), 8), ('write', R(2), B((3).to_bytes(8, 'little')), 8), ('read', R(2), O(7), 7), ('read', R(2), O(9), 9), ('write', R(2), B(b'\xff' * 8), 8), ('write', R(2), B(b'\xfe' + b'\xff' * 7), 8), ('write', R(2), B((1).to_bytes(8, 'little')), 8), ('write', R(2), B(b'123'), 3), ('eventfd2', 2, 1 | O_NONBLOCK), ('read', R(12), O(8), 8), ('read', R(12), O(8), 8), ('read', R(12), O(8), 8), ('eventfd2', 0, 2), ('read', R(2), BAD, 8), ('write', R(2), BAD, 8)],
 'poll': [('pipe2', O(8), 0), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0])), 2, 0), ('write', 4, B(b'x'), 1), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0])), 2, 0), ('poll', B(bytes([99, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('poll', B(bytes([255, 255, 255, 255, 1, 0, 0, 0])), 1, 0), ('poll', BAD, 1, 0), ('poll', 0, 0, 0), ('poll', 0, 1 << 30, 0), ('close', 4), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('read', 3, O(1), 1), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('open', 'f', W, 0o644), ('poll', B(bytes([4, 0, 0, 0, 0xff, 0x3f, 0, 0])), 1, 0), ('eventfd2', 0, 0), ('poll', B(bytes([5, 0, 0, 0, 5, 0, 0, 0])), 1, 0), ('open', '/dev/null', O_RDWR, 0), ('poll', B(bytes([6, 0, 0, 0, 5, 0, 0, 0])), 1, 0)],
 'select': [('pipe2', O(8), 0), ('select', 5, B(bytes([8] + [0] * 7)), B(bytes([16] + [0] * 7)), 0, O(16)), ('write', 4, B(b'x'), 1), ('select', 5, B(bytes([8] + [0] * 7)), B(bytes([16] + [0] * 7)), 0, O(16)), ('select', -1, 0, 0, 0, O(16)), ('select', 64, B(bytes([0, 0, 0, 0, 2, 0, 0, 0])), 0, 0, O(16)), ('select', 5, BAD, 0, 0, O(16)), ('select', 0, 0, 0, 0, BAD), ('select', 3, B(bytes([0] * 8)), 0, 0, B(b'\xff' * 16))],
 'epoll': [('epoll_create1', 0), ('pipe2', O(8), 0), ('epoll_ctl', R(0), 1, 4, B(bytes([1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]))), ('epoll_wait', R(0), O(24), 2, 0), ('write', 5, B(b'x'), 1), ('epoll_wait', R(0), O(24), 2, 0), ('epoll_wait', R(0), O(24), 2, 0), ('epoll_ctl', R(0), 1, 4, B(bytes(12))), ('epoll_ctl', R(0), 3, 5, B(bytes(12))), ('epoll_ctl', R(0), 2, 5, 0), ('epoll_ctl', R(0), 1, R(0), B(bytes(12))), ('epoll_ctl', R(0), 1, 99, B(bytes(12))), ('epoll_ctl', 99, 1, 4, B(bytes(12))), ('epoll_ctl', 4, 1, 5, B(bytes(12))), ('epoll_ctl', R(0), 9, 4, B(bytes(12))), ('epoll_ctl', R(0), 1, 5, BAD), ('open', 'f', W, 0o644), ('epoll_ctl', R(0), 1, R(16), B(bytes(12))), ('epoll_wait', R(0), O(24), 0, 0), ('epoll_wait', R(0), BAD, 1, 0), ('epoll_wait', 4, O(24), 1, 0), ('epoll_wait', 99, O(24), 1, 0), ('epoll_create1', 1), ('epoll_ctl', R(0), 3, 4, B(bytes([1, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0]))), ('epoll_wait', R(0), O(24), 2, 0), ('epoll_wait', R(0), O(24), 2, 0), ('close', 5), ('epoll_wait', R(0), O(24), 2, 0), ('close', 4), ('epoll_wait', R(0), O(24), 2, 0)],
 'epoll-oneshot': [('epoll_create1', 0), ('eventfd2', 1, 0), ('epoll_ctl', R(0), 1, R(1), B(bytes([1, 0, 0, 0x40, 3, 0, 0, 0, 0, 0, 0, 0]))), ('epoll_wait', R(0), O(12), 1, 0), ('epoll_wait', R(0), O(12), 1, 0), ('epoll_ctl', R(0), 3, R(1), B(bytes([5, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]))), ('epoll_wait', R(0), O(12), 1, 0), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('epoll_create1', 0), ('epoll_ctl', R(8), 1, R(0), B(bytes([1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]))), ('epoll_wait', R(8), O(12), 1, 0), ('epoll_ctl', R(0), 1, R(8), B(bytes([1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0])))],
 # ---- times, memory files, signalfd
 'utime': [('open', 'f', W, 0o644), ('utime', 'f', B((1000).to_bytes(8, 'little') + (2000).to_bytes(8, 'little'))), ('stat', 'f', O(144, *TIMES)), ('utimes', 'f', B(b''.join(x.to_bytes(8, 'little') for x in (5, 6, 7, 8)))), ('stat', 'f', O(144, *TIMES)), ('utimes', 'f', B(b''.join(x.to_bytes(8, 'little') for x in (5, 1000000, 7, 8)))), ('utimensat', AT_FDCWD, 'f', B(b''.join(x.to_bytes(8, 'little') for x in (9, 999999999, 0, 0x3ffffffe))), 0), ('stat', 'f', O(144, *TIMES)), ('utimensat', AT_FDCWD, 'f', B(b''.join(x.to_bytes(8, 'little') for x in (9, 1000000000, 0, 0))), 0), ('utimensat', R(0), 0, B(b''.join(x.to_bytes(8, 'little') for x in (1, 2, 3, 4))), 0), ('fstat', R(0), O(144, *TIMES)), ('utimensat', R(0), 0, 0, 0x100), ('utimensat', 99, 0, 0, 0), ('utime', 'x', 0), ('utime', 'f', BAD), ('symlink', 'f', 'l'), ('utimensat', AT_FDCWD, 'l', B(bytes(32)), 0x100), ('stat', 'f', O(144, *TIMES)), ('lstat', 'l', O(144, *TIMES)), ('utimensat', AT_FDCWD, 'f', 0, 1)],
 'memfd': [('memfd_create', 'x', 0), ('fstat', R(0), O(144, *MODE_NLINK_SIZE)), ('write', R(0), B(b'abc'), 3), ('pread64', R(0), O(4), 4, 0), ('fcntl', R(0), 1034, 0), ('fcntl', R(0), 1033, 2), ('memfd_create', 'y', 2), ('fcntl', R(6), 1034, 0), ('ftruncate', R(6), 10), ('fcntl', R(6), 1033, 2), ('ftruncate', R(6), 5), ('ftruncate', R(6), 20), ('fcntl', R(6), 1033, 4), ('ftruncate', R(6), 30), ('pwrite64', R(6), B(b'zz'), 2, 19), ('fcntl', R(6), 1033, 8), ('write', R(6), B(b'a'), 1), ('fcntl', R(6), 1033, 1), ('fcntl', R(6), 1033, 2), ('fcntl', R(6), 1034, 0), ('fcntl', R(6), 1033, 64), ('memfd_create', 'x' * 250, 0), ('memfd_create', 'x' * 249, 0), ('memfd_create', BAD, 0), ('memfd_create', 'z', 0x100), ('fcntl', R(0), 3, 0), ('open', 'f', W, 0o644), ('lseek', R(0), 0, 2)],
 'fallocate': [('open', 'f', W, 0o644), ('fallocate', R(0), 0, 0, 5000), ('fstat', R(0), O(144, (48, 8))), ('fallocate', R(0), 1, 0, 9000), ('fstat', R(0), O(144, (48, 8))), ('pwrite64', R(0), B(b'x' * 40), 40, 4090), ('fallocate', R(0), 3, 4092, 10), ('pread64', R(0), O(20), 20, 4088), ('fallocate', R(0), 2, 0, 10), ('fallocate', R(0), 0, 0, 0), ('fallocate', R(0), 0, -1, 10), ('fallocate', 99, 0, 0, 10), ('open', 'f', 0, 0), ('fallocate', R(12), 0, 0, 10), ('pipe2', O(8), 0), ('fallocate', 6, 0, 0, 10), ('fallocate', R(0), 0x80, 0, 10)],
 'copy-file-range': [('open', 'a', W, 0o644), ('write', R(0), B(b'0123456789'), 10), ('open', 'b', W, 0o644), ('copy_file_range', R(0), 0, R(2), 0, 10, 0), ('lseek', R(0), 2, 0), ('copy_file_range', R(0), 0, R(2), 0, 5, 0), ('lseek', R(0), 0, 1), ('lseek', R(2), 0, 1), ('copy_file_range', R(0), B(bytes(8)), R(2), 0, 3, 0), ('pread64', R(2), O(12), 12, 0), ('copy_file_range', R(0), 0, R(2), 0, 1, 1), ('copy_file_range', R(0), 0, 99, 0, 1, 0), ('pipe2', O(8), 0), ('copy_file_range', 5, 0, R(2), 0, 1, 0), ('open', '.', 0, 0), ('copy_file_range', R(14), 0, R(2), 0, 1, 0)],
 'flock': [('open', 'f', W, 0o644), ('open', 'f', O_RDONLY, 0), ('flock', R(0), 2), ('flock', R(1), 1 | 4), ('flock', R(1), 2 | 4), ('flock', R(0), 1), ('flock', R(1), 1 | 4), ('flock', R(0), 2 | 4), ('flock', R(1), 8), ('flock', R(0), 2 | 4), ('dup', R(0)), ('close', R(0)), ('flock', R(1), 2 | 4), ('close', R(10)), ('flock', R(1), 2 | 4), ('flock', 99, 1), ('flock', R(1), 3), ('flock', R(1), 0), ('open', 'f', O_PATH, 0), ('flock', R(18), 1)],
 'ofd-locks': [('open', 'f', W, 0o644), ('open', 'f', O_RDWR, 0), ('fcntl', R(0), 37, FL(1, 0, 10, 20)), ('fcntl', R(1), 37, FL(0, 0, 15, 1)), ('fcntl', R(1), 37, FL(0, 0, 0, 10)), ('fcntl', R(1), 37, FL(0, 0, 30, 0)), ('fcntl', R(0), 37, FL(2, 0, 15, 5)), ('fcntl', R(1), 37, FL(1, 0, 15, 5)), ('fcntl', R(1), 37, FL(1, 0, 14, 5)), ('fcntl', R(0), 37, FL(1, 0, 0, 5)), ('fcntl', R(1), 36, FL(1, 0, 10, 1)), ('fcntl', R(1), 36, FL(1, 0, 25, 1)), ('fcntl', R(0), 36, FL(1, 0, 100, 1)), ('fcntl', R(0), 36, FL(2, 0, 0, 0)), ('fcntl', R(0), 37, FL(9, 0, 0, 0)), ('fcntl', R(0), 37, FL(1, 9, 0, 0)), ('fcntl', R(0), 37, FL(1, 0, -1, 0)), ('fcntl', R(0), 37, FL(1, 0, 5, -3, 1)), ('fcntl', R(0), 37, FL(1, 0, 5, -30)), ('fcntl', R(0), 37, BAD), ('fcntl', 99, 37, FL(1, 0, 0, 0)), ('open', 'f', 0, 0), ('fcntl', R(21), 37, FL(1, 0, 200, 1)), ('fcntl', R(21), 37, FL(0, 0, 5, 1)), ('open', 'f', O_WRONLY, 0), ('fcntl', R(24), 37, FL(0, 0, 400, 1)), ('close', R(1)), ('fcntl', R(0), 37, FL(1, 0, 0, 0))],
 'posix-locks-of-one-process': [('open', 'f', W, 0o644), ('fcntl', R(0), 6, FL(1, 0, 0, 0)), ('fcntl', R(0), 6, FL(0, 0, 0, 10)), ('fcntl', R(0), 5, FL(1, 0, 0, 0)), ('open', 'f', O_RDWR, 0), ('fcntl', R(4), 37, FL(1, 0, 5, 1)), ('fcntl', R(4), 37, FL(0, 0, 5, 1)), ('fcntl', R(4), 36, FL(0, 0, 20, 1)), ('fcntl', R(0), 6, FL(2, 0, 0, 0)), ('fcntl', R(4), 37, FL(1, 0, 20, 1)), ('close', R(4)), ('fcntl', R(0), 5, FL(1, 0, 0, 0)), ('write', R(0), B(b'0123456789'), 10), ('fcntl', R(0), 6, FL(1, 1, -4, 2)), ('fcntl', R(0), 6, FL(1, 2, -2, 0)), ('fcntl', R(0), 7, FL(2, 0, 0, 0)), ('eventfd2', 0, 0), ('fcntl', R(16), 6, FL(1, 0, 0, 0))],
 'fadvise': [('open', 'f', W, 0o644), ('fadvise64', R(0), 0, 0, 3), ('fadvise64', R(0), 0, 0, 9), ('fadvise64', R(0), 0, -1, 0), ('fadvise64', 99, 0, 0, 0), ('pipe2', O(8), 0), ('fadvise64', 4, 0, 0, 0)],
 'signalfd': [('rt_sigprocmask', 0, B((1 << 9 | 1 << 11).to_bytes(8, 'little')), 0, 8), ('signalfd4', -1, B((1 << 9).to_bytes(8, 'little')), 8, O_NONBLOCK), ('read', R(1), O(128, (0, 4)), 128), ('getpid', 0), ('kill', R(3), 10), ('kill', R(3), 12), ('poll', B(bytes([3, 0, 0, 0, 1, 0, 0, 0])), 1, 0), ('read', R(1), O(128, (0, 4), (8, 4)), 100), ('read', R(1), O(128, (0, 4), (8, 4)), 128), ('read', R(1), O(128, (0, 4)), 128), ('signalfd4', R(1), B((1 << 11).to_bytes(8, 'little')), 8, 0), ('read', R(1), O(256, (0, 4), (128, 4)), 256), ('signalfd4', 99, B(bytes(8)), 8, 0), ('signalfd4', 1, B(bytes(8)), 8, 0), ('signalfd4', -1, B(bytes(8)), 4, 0), ('signalfd4', -1, B(bytes(8)), 8, 1), ('signalfd4', -1, BAD, 8, 0)],
 # ---- devices
 'dev-null-zero-full': [('open', '/dev/null', O_RDWR, 0), ('read', R(0), O(4), 4), ('write', R(0), B(b'abcd'), 4), ('write', R(0), BAD, 4), ('open', '/dev/zero', O_RDWR, 0), ('read', R(4), B(b'xxxx'), 4), ('write', R(4), B(b'abcd'), 4), ('lseek', R(4), 9, 1), ('read', R(4), BAD, 4), ('open', '/dev/full', O_RDWR, 0), ('read', R(9), O(2), 2), ('write', R(9), B(b'a'), 1), ('open', '/dev/nothing', 0, 0), ('pread64', R(4), O(2), 2, 5)],
 'proc-self-fd': [('open', 'f', W, 0o644), ('write', R(0), B(b'hello'), 5), ('open', '/proc/self/fd/3', O_RDONLY, 0), ('read', R(2), O(5), 5), ('readlink', '/proc/self/fd/99', O(8), 8), ('pipe2', O(8), 0), ('write', 6, B(b'abc'), 3), ('open', '/proc/self/fd/5', O_RDONLY, 0), ('read', R(7), O(3), 3), ('unlink', 'f'), ('open', '/proc/self/fd/3', O_RDWR, 0), ('read', R(10), O(5), 5), ('eventfd2', 0, 0), ('open', '/proc/self/fd/9', O_RDWR, 0), ('lstat', '/proc/self/fd/3', O(144, (24, 4))), ('lstat', '/proc/self/fd/5', O(144, (24, 4))), ('open', '/proc/self/fd/x', 0, 0), ('open', '/proc/self/nothing', 0, 0), ('open', '/proc/99999999', 0, 0), ('mkdir', '/proc/x', 0o755), ('open', '/proc/x', W, 0o644), ('unlink', '/proc/uptime'), ('open', '/proc/uptime', O_WRONLY, 0), ('mkdir', '/sys/x', 0o755), ('open', '/sys/x', W, 0o644), ('unlink', '/proc/self/stat'), ('mkdir', '/proc/self/x', 0o755)],
 'mount-errors': [('mkdir', 'm', 0o755), ('mount', 'none', 'x', 'tmpfs', 0, 0), ('mount', 'none', 'm', 'nosuchfs', 0, 0), ('mount', 'none', 'm', 0, 0, 0), ('open', 'f', W, 0o644), ('mount', 'none', 'f', 'tmpfs', 0, 0), ('umount2', 'm', 0), ('umount2', 'x', 0), ('umount2', 'm', 64), ('mount', 'none', 'm', 'tmpfs', 0, 0), ('open', 'm/f', W, 0o644), ('umount2', 'm', 0), ('close', R(10)), ('rmdir', 'm'), ('rename', 'm', 'n'), ('umount2', 'm', 0), ('stat', 'm/f', O(144, (24, 4))), ('mount', 'none', 'm', 'tmpfs', 1, 0), ('open', 'm/f', W, 0o644), ('mkdir', 'm/d', 0o755), ('mount', 0, 'm', 0, 32, 0), ('open', 'm/f', W, 0o644), ('rename', 'm/f', 'f2'), ('link', 'm/f', 'f2'), ('close', R(21)), ('chdir', 'm'), ('umount2', '../m', 0), ('umount2', '../m', 2), ('open', 'f', 0, 0), ('chdir', '/'), ('mount', BAD, 'm', 'tmpfs', 0, 0)],
 'umount-detached': [('mkdir', 'm', 0o755), ('mount', 'none', 'm', 'tmpfs', 0, 0), ('mkdir', 'm/d', 0o755), ('mount', 'none', 'm/d', 'tmpfs', 0, 0), ('chdir', 'm'), ('umount2', '../m', 0), ('umount2', '../m', 2), ('umount2', '.', 0), ('umount2', '.', 2), ('getcwd', O(32), 32), ('open', 'f', W, 0o644), ('stat', '..', O(144, (24, 4))), ('stat', '../m', O(144, (24, 4))), ('open', '../f', 0, 0), ('stat', 'd', O(144, (24, 4))), ('chdir', '..'), ('getcwd', O(32), 32), ('chdir', '/')],
 'timerfd': [('timerfd_create', 1, 0), ('timerfd_create', 99, 0), ('timerfd_create', 1, 1), ('timerfd_settime', R(0), 0, B(bytes(32)), 0), ('timerfd_settime', R(0), 8, B(bytes(32)), 0), ('timerfd_settime', R(0), 0, B(b'\xff' * 32), 0), ('timerfd_settime', R(0), 0, BAD, 0), ('timerfd_settime', 1, 0, B(bytes(32)), 0), ('read', R(0), O(4), 4), ('timerfd_create', 1, 2048), ('read', R(9), O(8), 8)],
}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def run(steps):
    """Makes the calls; [(answer, [hex of outputs])]."""
    answers, keep = [], []
    for name, *args in steps:
        words, outs = [], []
        for a in args:
            if isinstance(a, int): words.append(ctypes.c_long(a))
            elif isinstance(a, R): words.append(ctypes.c_long(answers[a.i][0]))
            elif isinstance(a, str): buf = ctypes.create_string_buffer(a.encode()); keep.append(buf); words.append(buf)
            elif isinstance(a, B):
                buf = ctypes.create_string_buffer(bytes(a.b), max(1, len(a.b))); keep.append(buf); words.append(buf); outs.append((buf, ((0, 4), (8, 16))) if isinstance(a, F) else (buf, None) if name in ('poll', 'select') else None)
            elif isinstance(a, O): buf = ctypes.create_string_buffer(a.n); keep.append(buf); words.append(buf); outs.append((buf, a.show))
            elif isinstance(a, P):
                vec = (ctypes.c_uint64 * (2 * len(a.parts) + 2))()
                for i, part in enumerate(a.parts):
                    data = part if isinstance(part, bytes) else bytes(part)
                    buf = ctypes.create_string_buffer(data, max(1, len(data))); keep.append(buf)
                    vec[2 * i], vec[2 * i + 1] = ctypes.addressof(buf), len(data)
                    if not isinstance(part, bytes): outs.append((buf, None))
                keep.append(vec); words.append(vec)
        while len(words) < 6: words.append(ctypes.c_long(0))
        ctypes.set_errno(0)
        r = libc.syscall(NR[name], *words)
        if r == -1: r = -ctypes.get_errno()
        shown = []
        for out in outs:
            if out is None: continue
            buf, show = out
            raw = bytes(buf.raw)
            shown.append(raw.hex() if not show else '.'.join(raw[o:o + n].hex() for o, n in show))
        answers.append((r, shown))
    return answers

def ask(steps):
    with tempfile.TemporaryDirectory(dir=getcwd()) as d:
        r, w = pipe()
        pid = fork()
        if pid == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            chmod(d, 0o755)
            chdir(d)
            umask(0o022)
            high = dup2(w, 500)
            closerange(3, 500)
            write(500, json.dumps(run(steps)).encode())
            _exit(0)
        close(w)
        data = b''
        while True:
            part = read(r, 65536)
            if not part: break
            data += part
        close(r)
        waitpid(pid, 0)
        return json.loads(data)

def encode(a):
    if isinstance(a, R): return {'r': a.i}
    if isinstance(a, F): return {'b': bytes(a.b).hex(), 'show': ((0, 4), (8, 16))}
    if isinstance(a, B): return {'b': bytes(a.b).hex()} if len(set(a.b)) > 1 or len(a.b) < 64 else {'fill': [a.b[0], len(a.b)]}
    if isinstance(a, O): return {'o': a.n, **({'show': a.show} if a.show else {})}
    if isinstance(a, P): return {'iov': [{'b': p.hex()} if isinstance(p, bytes) else {'o': p} for p in a.parts]}
    return a

out = {'linux': platform.release(), 'cases': []}
for id, steps in cases.items():
    answers = ask(steps)
    out['cases'].append({'id': id, 'steps': [{'call': s[0], 'args': [encode(a) for a in s[1:]], 'answer': 0 if s[0] == 'getpid' else r, **({'out': o} if o else {})} for s, (r, o) in zip(steps, answers)]})
lines = ',\n'.join('  {"id": %s, "steps": [\n%s\n  ]}' % (json.dumps(c['id']), ',\n'.join('    ' + json.dumps(s) for s in c['steps'])) for c in out['cases'])
print('{"linux": %s, "cases": [\n%s\n]}' % (json.dumps(out['linux']), lines))
