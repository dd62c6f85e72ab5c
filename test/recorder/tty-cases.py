#!/usr/bin/env python3
"""Asks the Linux it runs on how its terminals behave, on a pseudo terminal, and writes what was typed, read and shown to
test/golden/tty-cases.json:  tty-cases.py > test/golden/tty-cases.json

A case is a list of steps: in BYTES (typed), read N (a program reads without waiting: bytes in hex, or -errno), avail (FIONREAD),
out BYTES (a program writes), set {flags on/off, control characters}, poll (events of POLLIN|POLLOUT). `shown` is all that appeared on the screen.
"""
import fcntl, json, os, pty, select, struct, termios, time, platform

I, Of, C, L = termios.ICRNL | termios.IXON, termios.OPOST | termios.ONLCR, 0o10002 | termios.CS8 | termios.CREAD | termios.HUPCL | termios.CLOCAL, \
    termios.ISIG | termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHOCTL | termios.ECHOKE | termios.IEXTEN
CC = [3, 0o34, 0o177, 0o25, 4, 0, 1, 0, 0o21, 0o23, 0o32, 0, 0o22, 0o17, 0o27, 0o26, 0, 0, 0]
RAW = {'c_lflag': -(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN), 'c_iflag': -(termios.ICRNL | termios.IXON)}
CBREAK = {'c_lflag': -(termios.ICANON | termios.ECHO)}

cases = {
 'a line': [('in', b'hello\n'), ('read', 100), ('read', 100)],
 'nothing before the newline': [('in', b'hel'), ('read', 100), ('avail',), ('in', b'lo\nx'), ('avail',), ('read', 100), ('read', 100)],
 'carriage return is a newline': [('in', b'ab\rcd\r'), ('read', 100), ('read', 100)],
 'small reads of a line': [('in', b'hello\nworld\n'), ('read', 3), ('read', 3), ('read', 2), ('read', 100), ('read', 1)],
 'erase': [('in', b'abc\x7f\x7fd\n'), ('read', 100)],
 'erase past the start': [('in', b'a\x7f\x7f\x7fb\n'), ('read', 100)],
 'erase does not reach the line before': [('in', b'ab\n\x7fc\n'), ('read', 100), ('read', 100)],
 'erase a control character': [('in', b'a\x01\x02\x7f\x7fb\n'), ('read', 100)],
 'erase a tab': [('in', b'ab\tc\x7f\x7fd\n'), ('read', 100)],
 'erase two tabs': [('in', b'\t\x01\tx\x7f\x7f\x7f\x7fz\n'), ('read', 100)],
 'erase a tab after a prompt': [('out', b'$ '), ('in', b'a\t\x7fb\n'), ('read', 100)],
 'word erase': [('in', b'one two  three\x17X\n'), ('read', 100)],
 'word erase with blanks and dots': [('in', b'a/b.c  \x17\x17z\n'), ('read', 100)],
 'word erase of all': [('in', b'abc def\x17\x17\x17x\n'), ('read', 100)],
 'kill': [('in', b'abc def\x15xyz\n'), ('read', 100)],
 'kill without ECHOKE': [('set', {'c_lflag': -termios.ECHOKE}), ('in', b'abc\x15xyz\n'), ('read', 100)],
 'kill without ECHOK and ECHOKE': [('set', {'c_lflag': -(termios.ECHOKE | termios.ECHOK)}), ('in', b'abc\x15xyz\n'), ('read', 100)],
 'kill without ECHO': [('set', {'c_lflag': -termios.ECHO}), ('in', b'abc\x15xyz\n'), ('read', 100)],
 'erase without ECHOE': [('set', {'c_lflag': -termios.ECHOE}), ('in', b'abc\x7fd\n'), ('read', 100)],
 'erase with ECHOPRT': [('set', {'c_lflag': termios.ECHOPRT}), ('in', b'abcd\x7f\x7fxy\x7fz\n'), ('read', 100)],
 'kill with ECHOPRT': [('set', {'c_lflag': termios.ECHOPRT}), ('in', b'ab\x15cd\n'), ('read', 100)],
 'no echo': [('set', {'c_lflag': -termios.ECHO}), ('in', b'secret\n'), ('read', 100)],
 'ECHONL': [('set', {'c_lflag': -termios.ECHO}), ('set', {'c_lflag': termios.ECHONL}), ('in', b'secret\n'), ('read', 100)],
 'no ECHOCTL': [('set', {'c_lflag': -termios.ECHOCTL}), ('in', b'a\x01b\x7f\x7f\n'), ('read', 100)],
 'end of file on an empty line': [('in', b'\x04'), ('read', 100), ('read', 100)],
 'end of file inside a line': [('in', b'abc\x04'), ('read', 100), ('read', 100)],
 'end of file after a line': [('in', b'abc\n\x04'), ('read', 100), ('read', 100), ('read', 100)],
 'end of file right behind a full read': [('in', b'abc\x04'), ('read', 3), ('read', 3), ('read', 3)],
 'two ends of file': [('in', b'ab\x04\x04'), ('read', 2), ('read', 2), ('read', 2)],
 'a full read of a line then the next': [('in', b'ab\x04cd\n'), ('read', 2), ('read', 10), ('read', 10)],
 'avail with end of file': [('in', b'abc\x04'), ('avail',), ('read', 10), ('avail',)],
 'VEOL': [('set', {'cc': {11: ord(';')}}), ('in', b'ab;cd\n'), ('read', 100), ('read', 100)],
 'VEOL2': [('set', {'cc': {16: ord('!')}}), ('in', b'ab!cd\n'), ('read', 100), ('read', 100)],
 'VLNEXT': [('in', b'a\x16\x03b\x16\x7fc\n'), ('read', 100)],
 'VLNEXT of a newline': [('in', b'a\x16\nb\n'), ('read', 100), ('read', 100)],
 'VLNEXT of end of file': [('in', b'a\x16\x04b\n'), ('read', 100), ('read', 100)],
 'VREPRINT': [('in', b'ab\x01c\x12d\n'), ('read', 100)],
 'interrupt drops the line': [('in', b'abc'), ('in', b'\x03def\n'), ('read', 100)],
 'interrupt drops finished lines': [('in', b'abc\nde'), ('in', b'\x03f\n'), ('read', 100), ('read', 100)],
 'interrupt with NOFLSH': [('set', {'c_lflag': termios.NOFLSH}), ('in', b'abc\x03def\n'), ('read', 100)],
 'quit and suspend': [('in', b'a'), ('in', b'\x1c'), ('in', b'b'), ('in', b'\x1a'), ('in', b'c\n'), ('read', 100)],
 'no ISIG': [('set', {'c_lflag': -termios.ISIG}), ('in', b'a\x03\x1c\x1ab\n'), ('read', 100)],
 'stop and start': [('in', b'\x13'), ('in', b'abc\n'), ('read', 100), ('poll',), ('in', b'\x11'), ('poll',), ('in', b'z\n'), ('read', 10)],
 'stop and any': [('set', {'c_iflag': termios.IXANY}), ('in', b'\x13'), ('in', b'abc\n'), ('read', 100)],
 'no IXON': [('set', {'c_iflag': -termios.IXON}), ('in', b'a\x13b\x11\n'), ('read', 100)],
 'no IEXTEN': [('set', {'c_lflag': -termios.IEXTEN}), ('in', b'ab cd\x17\x16\x12\n'), ('read', 100)],
 'INLCR': [('set', {'c_iflag': -termios.ICRNL}), ('set', {'c_iflag': termios.INLCR}), ('in', b'ab\ncd'), ('read', 100), ('in', b'\x04'), ('read', 100)],
 'IGNCR': [('set', {'c_iflag': termios.IGNCR}), ('in', b'a\rb\n'), ('read', 100)],
 'no ICRNL': [('set', {'c_iflag': -termios.ICRNL}), ('in', b'a\rb\n'), ('read', 100)],
 'ISTRIP': [('set', {'c_iflag': termios.ISTRIP}), ('in', b'\xe1\xe2\n'), ('read', 100)],
 'eight bits': [('in', b'\xc3\xa9\x7fx\n'), ('read', 100)],
 'IUTF8': [('set', {'c_iflag': 0o40000}), ('in', b'a\xc3\xa9\x7fx\n'), ('read', 100)],
 'IUTF8 word': [('set', {'c_iflag': 0o40000}), ('in', b'a \xe2\x82\xac\xc3\xa9\x17x\n'), ('read', 100)],
 'output': [('out', b'a\nb\r\n\tc'), ('out', b'')],
 'output raw': [('set', {'c_oflag': -termios.OPOST}), ('out', b'a\nb\r\n\tc')],
 'output OCRNL': [('set', {'c_oflag': termios.OCRNL}), ('out', b'a\rb\nc')],
 'output ONOCR': [('set', {'c_oflag': termios.ONOCR}), ('out', b'\rab\rc\n\rd')],
 'output ONLRET': [('set', {'c_oflag': termios.ONLRET}), ('set', {'c_oflag': -termios.ONLCR}), ('out', b'ab\n\tc')],
 'output XTABS': [('set', {'c_oflag': 0o14000}), ('out', b'a\tbc\t\td\b\te\n\tf')],
 'output OLCUC': [('set', {'c_oflag': 0o2}), ('out', b'aBc1\n')],
 'echo XTABS': [('set', {'c_oflag': 0o14000}), ('in', b'a\tb\x7f\x7f\x7fc\n'), ('read', 100)],
 'raw': [('set', RAW), ('in', b'a\r\n\x03\x7f\x04'), ('read', 2), ('read', 100), ('read', 100)],
 'cbreak': [('set', CBREAK), ('in', b'ab\rc'), ('read', 100), ('in', b'\x03x'), ('read', 10)],
 'cbreak with echo': [('set', {'c_lflag': -termios.ICANON}), ('in', b'ab\x7f\r\x04'), ('read', 100)],
 'raw to canonical': [('set', CBREAK), ('in', b'ab'), ('set', {'c_lflag': termios.ICANON}), ('read', 100), ('in', b'c\n'), ('read', 100)],
 'canonical to raw': [('in', b'ab\ncd'), ('set', CBREAK), ('read', 100), ('read', 100)],
 'canonical to raw and back': [('in', b'ab'), ('set', CBREAK), ('set', {'c_lflag': termios.ICANON}), ('in', b'c\n'), ('read', 100)],
 'MIN of three': [('set', dict(CBREAK, cc={6: 3})), ('in', b'ab'), ('read', 100), ('poll',), ('in', b'cd'), ('poll',), ('read', 100)],
 'MIN of zero': [('set', dict(CBREAK, cc={6: 0})), ('read', 100), ('in', b'a'), ('read', 100)],
 'poll': [('poll',), ('in', b'a'), ('poll',), ('in', b'\n'), ('poll',), ('read', 10), ('poll',)],
 'poll raw': [('set', CBREAK), ('poll',), ('in', b'a'), ('poll',)],
 'empty read': [('in', b'a\n'), ('read', 0), ('read', 5)],
 'flush by TCSETSF': [('in', b'abc\nde'), ('set', {'flush': 1}), ('read', 10), ('in', b'x\n'), ('read', 10)],
 'a long line': [('in', b'x' * 3000 + b'\n'), ('read', 5000)],
 'PARMRK doubles 0xff': [('set', {'c_iflag': termios.PARMRK}), ('in', b'a\xffb\n'), ('read', 10)],
 'nul bytes': [('in', b'a\0b\n'), ('read', 10)],
}

def ask(steps):
    master, slave = pty.openpty()
    state = [I, Of, C, L, 13, 13, [bytes([c]) for c in CC] + [b'\0'] * 13]
    def apply(when=termios.TCSANOW):
        raw = struct.pack('IIII B19s', state[0], state[1], state[2], state[3], 0, b''.join(state[6])[:19])
        fcntl.ioctl(slave, 0x5404 if when == termios.TCSAFLUSH else 0x5402, raw)
    apply()
    fcntl.fcntl(slave, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(master, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK)
    shown, answers = b'', []
    def drain():
        nonlocal shown
        try:
            while True: shown += os.read(master, 65536)
        except OSError: pass
    for step in steps:
        kind, arg = step[0], step[1] if len(step) > 1 else None
        if kind == 'in':
            for k in range(0, len(arg), 500):
                os.write(master, arg[k:k + 500]); time.sleep(0.02); drain()
        elif kind == 'out': os.write(slave, arg); time.sleep(0.01); drain()
        elif kind == 'read':
            try: answers.append(os.read(slave, arg).hex())
            except OSError as e: answers.append(-e.errno)
        elif kind == 'avail': answers.append(struct.unpack('i', fcntl.ioctl(slave, termios.FIONREAD, b'\0' * 4))[0])
        elif kind == 'poll':
            p = select.poll(); p.register(slave, select.POLLIN | select.POLLOUT)
            answers.append(dict(p.poll(0)).get(slave, 0))
        elif kind == 'set':
            for i, name in enumerate(['c_iflag', 'c_oflag', 'c_cflag', 'c_lflag']):
                v = arg.get(name, 0)
                state[i] = state[i] | v if v > 0 else state[i] & ~(-v) if v < 0 else state[i]
            for index, c in arg.get('cc', {}).items(): state[6][index] = bytes([c])
            apply(termios.TCSAFLUSH if 'flush' in arg else termios.TCSANOW)
    time.sleep(0.02); drain()
    os.close(master); os.close(slave)
    return answers, shown

out = []
for id, steps in cases.items():
    answers, shown = ask(steps)
    enc = [[s[0], s[1].hex() if len(s) > 1 and isinstance(s[1], bytes) else s[1] if len(s) > 1 else None] for s in steps]
    out.append(json.dumps({'id': id, 'steps': enc, 'answers': answers, 'shown': shown.hex()}))
print('{"linux": %s, "cases": [\n%s\n]}' % (json.dumps(platform.release()), ',\n'.join(out)))
