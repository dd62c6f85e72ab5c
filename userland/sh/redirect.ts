/**
 * Redirections: descriptors moved before a command runs, and moved back after one that runs in the shell itself.
 */
import type { Sys } from '../../abi/process.ts';
import { EINVAL } from '../../abi/errno.ts';
import { F_DUPFD_CLOEXEC, F_GETFD, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, S_ISREG } from '../../abi/fcntl.ts';
import { Errno, close, dup2, fcntl, fork, open, pipe, stat, writeAll } from '../libc.ts';
import { maybe } from '../lib/main.ts';
import type { Redirect } from './ast.ts';
import type { Executor } from './execute.ts';
import { complain } from './state.ts';

/** Where the shell keeps copies: programs use the low numbers. */
const SAVED_FDS = 10;

/** `set -C` forbids a `>` onto a file that is there. */
class Clobber extends Error {}

/** Runs `body` with redirections in force and undoes them. */
export function* redirected(executor: Executor, redirects: readonly Redirect[], body: () => Sys<number>): Sys<number> {
  if (redirects.length === 0) return yield* body();
  const saved = new Map<number, number>();
  try {
    return (yield* redirect(executor, redirects, saved)) ? yield* body() : 1;
  } finally {
    for (const [fd, copy] of [...saved].reverse()) {
      if (copy >= 0) {
        yield* dup2(copy, fd);
        yield* close(copy);
      } else yield* maybe(close(fd));
    }
  }
}

/** Makes redirections, keeping in `saved` what was there; false, with a message, when one fails. */
export function* redirect(executor: Executor, redirects: readonly Redirect[], saved: Map<number, number> | undefined): Sys<boolean> {
  for (const redirect of redirects) {
    const keep = function* keep(fd: number): Sys {
      if (saved && !saved.has(fd)) saved.set(fd, (yield* maybe(fcntl(fd, F_DUPFD_CLOEXEC, SAVED_FDS))) ?? -1);
    };
    let name = '';
    try {
      if (redirect.operator === '<<') {
        yield* hereDocument(executor, redirect, keep);
        continue;
      }
      name = yield* executor.expander.text(redirect.target);
      if (redirect.operator === '<&' || redirect.operator === '>&') {
        if (name === '-') {
          yield* keep(redirect.fd);
          yield* maybe(close(redirect.fd));
          continue;
        }
        if (/^\d+$/.test(name)) {
          yield* fcntl(Number(name), F_GETFD);
          yield* keep(redirect.fd);
          yield* dup2(Number(name), redirect.fd);
          continue;
        }
      }
      const both = redirect.operator === '&>' || redirect.operator === '>&';
      const file = yield* openFor(executor, redirect.operator, name);
      yield* keep(redirect.fd);
      if (both) yield* keep(2);
      if (file !== redirect.fd) {
        yield* dup2(file, redirect.fd);
        yield* close(file);
      }
      if (both) yield* dup2(redirect.fd, 2);
    } catch (e) {
      if (e instanceof Clobber) {
        yield* complain(executor.sh, `${name}: cannot overwrite existing file`);
        return false;
      }
      if (!(e instanceof Errno)) throw e;
      const text = e.errno === EINVAL && name === '' ? 'No such file or directory' : e.text;
      yield* complain(executor.sh, `${name}: ${text}`);
      return false;
    }
  }
  return true;
}

function* openFor({ sh }: Executor, operator: Redirect['operator'], name: string): Sys<number> {
  switch (operator) {
    case '<': return yield* open(name, O_RDONLY);
    case '<>': return yield* open(name, O_RDWR | O_CREAT);
    case '>>': return yield* open(name, O_WRONLY | O_CREAT | O_APPEND);
    default: {
      if (operator === '>' && sh.options.has('noclobber')) {
        const there = yield* maybe(stat(name));
        if (there === undefined) return yield* open(name, O_WRONLY | O_CREAT | O_EXCL);
        if (S_ISREG(there.st_mode)) throw new Clobber();
      }
      return yield* open(name, O_WRONLY | O_CREAT | O_TRUNC);
    }
  }
}

/** The text comes out of a pipe; a child feeds it when the pipe might not hold it all. */
function* hereDocument({ expander }: Executor, { fd, target }: Redirect, keep: (fd: number) => Sys): Sys {
  const text = yield* expander.text(target);
  const [reader, writer] = yield* pipe();
  if (text.length <= 4096) yield* writeAll(writer, text);
  else {
    yield* fork(function* feed(): Sys<number> {
      yield* close(reader);
      yield* maybe(writeAll(writer, text));
      return 0;
    });
  }
  yield* close(writer);
  yield* keep(fd);
  if (reader !== fd) {
    yield* dup2(reader, fd);
    yield* close(reader);
  }
}
