/** stty: the terminal's settings. -a all of them; `raw`, `cooked`, `sane`, `-echo`, `size` and single flags change or show them. */
import type { Sys } from '../abi/process.ts';
import * as T from '../abi/termios.ts';
import type { Of } from '../abi/struct.ts';
import { Errno, eputs, fputs, tcgetattr, tcsetattr, windowSize } from './libc.ts';

type Word = 'c_iflag' | 'c_oflag' | 'c_cflag' | 'c_lflag';
type Settings = Of<typeof T.termios>;

const FLAGS: Readonly<Record<string, readonly [Word, number]>> = {
  parenb: ['c_cflag', T.PARENB], hupcl: ['c_cflag', T.HUPCL], cread: ['c_cflag', T.CREAD], clocal: ['c_cflag', T.CLOCAL], crtscts: ['c_cflag', T.CRTSCTS],
  ignbrk: ['c_iflag', T.IGNBRK], brkint: ['c_iflag', T.BRKINT], istrip: ['c_iflag', T.ISTRIP], inlcr: ['c_iflag', T.INLCR], igncr: ['c_iflag', T.IGNCR], icrnl: ['c_iflag', T.ICRNL],
  ixon: ['c_iflag', T.IXON], ixoff: ['c_iflag', T.IXOFF], ixany: ['c_iflag', T.IXANY], imaxbel: ['c_iflag', T.IMAXBEL], iutf8: ['c_iflag', T.IUTF8],
  opost: ['c_oflag', T.OPOST], onlcr: ['c_oflag', T.ONLCR], ocrnl: ['c_oflag', T.OCRNL],
  isig: ['c_lflag', T.ISIG], icanon: ['c_lflag', T.ICANON], iexten: ['c_lflag', T.IEXTEN], echo: ['c_lflag', T.ECHO],
  echoe: ['c_lflag', T.ECHOE], echok: ['c_lflag', T.ECHOK], echonl: ['c_lflag', T.ECHONL], noflsh: ['c_lflag', T.NOFLSH], tostop: ['c_lflag', T.TOSTOP], echoctl: ['c_lflag', T.ECHOCTL], echoke: ['c_lflag', T.ECHOKE],
};
const CHARACTERS: readonly (readonly [string, number])[] = [
  ['intr', T.VINTR], ['quit', T.VQUIT], ['erase', T.VERASE], ['kill', T.VKILL], ['eof', T.VEOF], ['start', T.VSTART],
  ['stop', T.VSTOP], ['susp', T.VSUSP], ['rprnt', T.VREPRINT], ['werase', T.VWERASE], ['lnext', T.VLNEXT],
];

/** What one word of the command line changes; undefined when it is none. */
function change(word: string): ((t: Settings) => void) | undefined {
  const off = word.startsWith('-');
  const flag = FLAGS[off ? word.slice(1) : word];
  if (flag) {
    const [where, bit] = flag;
    return (t) => { t[where] = (off ? t[where] & ~bit : t[where] | bit) >>> 0; };
  }
  switch (word) {
    case 'raw': case '-cooked':
      return (t) => {
        t.c_iflag = 0;
        t.c_oflag &= ~T.OPOST;
        t.c_lflag &= ~(T.ISIG | T.ICANON);
        t.c_cc.set(T.VMIN, 1);
        t.c_cc.set(T.VTIME, 0);
      };
    case 'cooked': case '-raw':
      return (t) => {
        t.c_iflag |= T.BRKINT | T.ICRNL | T.IXON;
        t.c_oflag |= T.OPOST;
        t.c_lflag |= T.ISIG | T.ICANON;
      };
    case 'sane':
      return (t) => {
        t.c_iflag = T.BRKINT | T.ICRNL | T.IXON | T.IMAXBEL;
        t.c_oflag = T.OPOST | T.ONLCR;
        t.c_lflag = T.ISIG | T.ICANON | T.IEXTEN | T.ECHO | T.ECHOE | T.ECHOK | T.ECHOCTL | T.ECHOKE;
      };
    default: return undefined;
  }
}

const shownCharacter = (c: number): string => (c === 0 ? '<undef>' : c === 127 ? '^?' : c < 32 ? `^${String.fromCharCode(c + 64)}` : String.fromCharCode(c));

export function* main(argv: string[]): Sys<number> {
  const words = argv.slice(1);
  try {
    const settings = yield* tcgetattr(0);
    if (words.length === 0 || words[0] === '-a') {
      const t = T.termios.make();
      new Uint8Array(t['@space'].mem.u8.buffer).set(settings.bytes);
      const { rows, cols } = yield* windowSize(0);
      yield* fputs(`speed 115200 baud; rows ${rows}; columns ${cols}; line = ${t.c_line};\n`);
      if (words[0] === '-a') {
        yield* fputs(`${CHARACTERS.map(([name, i]) => `${name} = ${shownCharacter(t.c_cc.get(i))};`).join(' ')} min = ${t.c_cc.get(T.VMIN)}; time = ${t.c_cc.get(T.VTIME)};\n`);
        for (const where of ['c_cflag', 'c_iflag', 'c_oflag', 'c_lflag'] as const) {
          yield* fputs(`${Object.entries(FLAGS).filter(([, [w]]) => w === where).map(([name, [, bit]]) => (t[where] & bit ? name : `-${name}`)).join(' ')}\n`);
        }
      }
      return 0;
    }
    if (words[0] === 'size') {
      const { rows, cols } = yield* windowSize(0);
      yield* fputs(`${rows} ${cols}\n`);
      return 0;
    }
    const changes = words.map(change);
    const wrong = changes.indexOf(undefined);
    if (wrong >= 0) {
      yield* eputs(`stty: invalid argument '${words[wrong]}'\nTry 'stty --help' for more information.`);
      return 1;
    }
    yield* tcsetattr(0, 1, settings, (t) => {
      for (const apply of changes) apply?.(t);
    });
    return 0;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`stty: 'standard input': ${e.text}`);
    return 1;
  }
}
