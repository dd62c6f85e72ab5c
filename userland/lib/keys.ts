/**
 * Single keys of a terminal, for programs that refresh a screen and obey a letter.
 */
import type { Sys } from '../../abi/process.ts';
import { POLLIN } from '../../abi/poll.ts';
import { ECHO, ICANON, ISIG } from '../../abi/termios.ts';
import { Errno, isatty, poll, read, sleep, tcgetattr, tcsetattr } from '../libc.ts';

/** Runs `body` while keys come one by one and unseen; Ctrl-C is a key too. Without a terminal it just runs. */
export function* withKeys<T>(body: Sys<T>): Sys<T> {
  if (!(yield* isatty(0))) return yield* body;
  const settings = yield* tcgetattr(0);
  yield* tcsetattr(0, 0, settings, (t) => {
    t.c_lflag &= ~(ICANON | ECHO | ISIG);
  });
  try {
    return yield* body;
  } finally {
    yield* tcsetattr(0, 0, settings);
  }
}

/** Waits `seconds`; gives a key typed meanwhile at once, `q` for Ctrl-C and for the end of the input, '' when none was. */
export function* waitForKey(seconds: number): Sys<string> {
  if (!(yield* isatty(0))) {
    yield* sleep(seconds);
    return '';
  }
  try {
    if ((yield* poll([{ fd: 0, events: POLLIN, revents: 0 }], Math.round(seconds * 1000))) === 0) return '';
    const [key = 3] = yield* read(0, 1);
    return key === 3 ? 'q' : String.fromCharCode(key);
  } catch (e) {
    if (e instanceof Errno) return '';
    throw e;
  }
}
