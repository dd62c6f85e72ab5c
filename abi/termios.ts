/**
 * Terminals: struct termios and winsize, and the requests a tty answers.
 * The requests are older than the _IO encoding: bare numbers, which say neither size nor direction.
 * Linux: include/uapi/asm-generic/termbits.h, ioctls.h
 */
import { numbered } from './ioctl.ts';
import { type Of, array, s32, struct, u16, u32, u8 } from './struct.ts';

// Indices into c_cc
export const VINTR    = 0;
export const VQUIT    = 1;
export const VERASE   = 2;
export const VKILL    = 3;
export const VEOF     = 4;
export const VTIME    = 5;
export const VMIN     = 6;
export const VSWTC    = 7;
export const VSTART   = 8;
export const VSTOP    = 9;
export const VSUSP    = 10;
export const VEOL     = 11;
export const VREPRINT = 12;
export const VDISCARD = 13;
export const VWERASE  = 14;
export const VLNEXT   = 15;
export const VEOL2    = 16;

// c_iflag
export const IGNBRK  = 1;
export const BRKINT  = 2;
export const IGNPAR  = 4;
export const PARMRK  = 0o10;
export const INPCK   = 0o20;
export const ISTRIP  = 0o40;
export const INLCR   = 0o100;
export const IGNCR   = 0o200;
export const ICRNL   = 0o400;
export const IUCLC   = 0o1000;
export const IXON    = 0o2000;
export const IXANY   = 0o4000;
export const IXOFF   = 0o10000;
export const IMAXBEL = 0o20000;
export const IUTF8   = 0o40000;

// c_oflag
export const OPOST  = 1;
export const OLCUC  = 2;
export const ONLCR  = 4;
export const OCRNL  = 0o10;
export const ONOCR  = 0o20;
export const ONLRET = 0o40;
export const OFILL  = 0o100;
export const OFDEL  = 0o200;
export const TABDLY = 0o14000;
export const XTABS  = 0o14000;

// c_cflag
export const CBAUD   = 0o10017;
export const B0      = 0;
export const B9600   = 0o15;
export const B19200  = 0o16;
export const B38400  = 0o17;
export const B57600  = 0o10001;
export const B115200 = 0o10002;
export const CSIZE   = 0o60;
export const CS5     = 0;
export const CS6     = 0o20;
export const CS7     = 0o40;
export const CS8     = 0o60;
export const CSTOPB  = 0o100;
export const CREAD   = 0o200;
export const PARENB  = 0o400;
export const PARODD  = 0o1000;
export const HUPCL   = 0o2000;
export const CLOCAL  = 0o4000;
export const CRTSCTS = 0o20000000000;

// c_lflag
export const ISIG    = 1;
export const ICANON  = 2;
export const XCASE   = 4;
export const ECHO    = 0o10;
export const ECHOE   = 0o20;
export const ECHOK   = 0o40;
export const ECHONL  = 0o100;
export const NOFLSH  = 0o200;
export const TOSTOP  = 0o400;
export const ECHOCTL = 0o1000;
export const ECHOPRT = 0o2000;
export const ECHOKE  = 0o4000;
export const FLUSHO  = 0o10000;
export const PENDIN  = 0o40000;
export const IEXTEN  = 0o100000;
export const EXTPROC = 0o200000;

// tcflow, tcflush, tcsetattr
export const TCOOFF    = 0;
export const TCOON     = 1;
export const TCIOFF    = 2;
export const TCION     = 3;
export const TCIFLUSH  = 0;
export const TCOFLUSH  = 1;
export const TCIOFLUSH = 2;
export const TCSANOW   = 0;
export const TCSADRAIN = 1;
export const TCSAFLUSH = 2;

export const NCCS = 19;
/** The kernel's struct; glibc's own is longer. */
export const termios = struct('termios', { c_iflag: u32, c_oflag: u32, c_cflag: u32, c_lflag: u32, c_line: u8, c_cc: array(u8, NCCS) });
export type termios = Of<typeof termios>;

export const termios2 = struct('termios2', {
  c_iflag: u32, c_oflag: u32, c_cflag: u32, c_lflag: u32, c_line: u8, c_cc: array(u8, NCCS), c_ispeed: u32, c_ospeed: u32,
});
export type termios2 = Of<typeof termios2>;

export const winsize = struct('winsize', { ws_row: u16, ws_col: u16, ws_xpixel: u16, ws_ypixel: u16 });
export type winsize = Of<typeof winsize>;

export const TCGETS     = numbered(0x5401, 'out', termios);
export const TCSETS     = numbered(0x5402, 'in', termios);
export const TCSETSW    = numbered(0x5403, 'in', termios);
export const TCSETSF    = numbered(0x5404, 'in', termios);
export const TCSBRK     = numbered(0x5409, 'none');
export const TCXONC     = numbered(0x540a, 'none');
export const TCFLSH     = numbered(0x540b, 'none');
export const TIOCEXCL   = numbered(0x540c, 'none');
export const TIOCNXCL   = numbered(0x540d, 'none');
export const TIOCSCTTY  = numbered(0x540e, 'none');
export const TIOCGPGRP  = numbered(0x540f, 'out', s32);
export const TIOCSPGRP  = numbered(0x5410, 'in', s32);
export const TIOCOUTQ   = numbered(0x5411, 'out', s32);
export const TIOCSTI    = numbered(0x5412, 'in', u8);
export const TIOCGWINSZ = numbered(0x5413, 'out', winsize);
export const TIOCSWINSZ = numbered(0x5414, 'in', winsize);
export const TIOCMGET   = numbered(0x5415, 'out', s32);
export const FIONREAD   = numbered(0x541b, 'out', s32);
export const FIONBIO    = numbered(0x5421, 'in', s32);
export const TIOCNOTTY  = numbered(0x5422, 'none');
export const TIOCSETD   = numbered(0x5423, 'in', s32);
export const TIOCGETD   = numbered(0x5424, 'out', s32);
export const TCSBRKP    = numbered(0x5425, 'none');
export const TIOCGSID   = numbered(0x5429, 'out', s32);
export const FIONCLEX   = numbered(0x5450, 'none');
export const FIOCLEX    = numbered(0x5451, 'none');
export const FIOASYNC   = numbered(0x5452, 'in', s32);
