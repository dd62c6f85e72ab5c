/**
 * The thread beside the vCPUs: waits for what is typed, for signals and for the other threads. QEMU: util/main-loop.c
 *
 * Signal handlers only note what came and wake the loop through its eventfd, so that a signal between the check and
 * the sleep is not lost.
 */
import type { Sys } from '../abi/process.ts';
import { EINTR } from '../abi/errno.ts';
import { POLLERR, POLLHUP, POLLIN } from '../abi/poll.ts';
import { SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIG_IGN } from '../abi/signal.ts';
import { Errno, type PollRequest, poll, read, sigaction } from '../userland/libc.ts';
import type { Chardev } from './chardev.ts';
import type { Machine } from './machine.ts';
import { MUX_HELP, Mux } from './mux.ts';

/** Signals that end the machine in good order. */
const TERMINATING = [SIGINT, SIGHUP, SIGTERM] as const;
const CHUNK = 64;

/** What a signal handler leaves for the loop. */
interface Noted { terminated: number; continued: boolean }

function* handleSignals(machine: Machine, noted: Noted): Sys {
  for (const signal of TERMINATING) {
    yield* sigaction(signal, function* terminate() {
      noted.terminated = signal;
      yield* machine.wake();
    });
  }
  yield* sigaction(SIGCONT, function* resume() {
    noted.continued = true;
    yield* machine.wake();
  });
  yield* sigaction(SIGPIPE, SIG_IGN);
}

/** Waits; false when a signal cut it short. */
function* wait(requests: readonly PollRequest[]): Sys<boolean> {
  try {
    yield* poll(requests, -1);
    return true;
  } catch (e) {
    if (e instanceof Errno && e.errno === EINTR) return false;
    throw e;
  }
}

function* typed(machine: Machine, chardev: Chardev, mux: Mux, bytes: Uint8Array): Sys {
  const { data, commands } = chardev.mux ? mux.filter(bytes) : { data: [...bytes], commands: [] };
  if (data.length > 0) chardev.receive(data);
  for (const command of commands) {
    switch (command) {
      case 'quit': machine.requestShutdown(0, 'qemu-lite: Terminated'); break;
      case 'help': chardev.putText(MUX_HELP); break;
      case 'monitor': chardev.putText('qemu-lite: there is no monitor yet\n'); break;
      case 'break':
      case 'timestamps': chardev.putText(`qemu-lite: ${command}: not supported\n`); break;
    }
  }
}

export interface MainLoop {
  readonly machine: Machine;
  readonly wakeFd: number;
  readonly noted: Noted;
  /** The character device that standard input belongs to. */
  readonly console: Chardev | undefined;
  readonly mux: Mux;
  /** Whether standard input may be read: it has not ended, and the terminal is ours. */
  readable: boolean;
}

/** Takes signals and the terminal, before any guest code runs. `wakeFd`: the eventfd that others write to. */
export function* main_loop_init(machine: Machine, wakeFd: number): Sys<MainLoop> {
  const noted: Noted = { terminated: 0, continued: false };
  yield* handleSignals(machine, noted);
  const console = machine.serial.find((chardev) => chardev !== undefined && chardev.inputFd >= 0);
  return { machine, wakeFd, noted, console, mux: new Mux(), readable: console !== undefined && (yield* machine.terminal.take()) };
}

/** Runs until the machine ends. */
export function* main_loop(loop: MainLoop): Sys<never> {
  const { machine, wakeFd, noted, console, mux } = loop;
  for (;;) {
    if (noted.terminated !== 0) machine.requestShutdown(0, `qemu-lite: terminating on signal ${noted.terminated}`);
    if (noted.continued) {
      noted.continued = false;
      loop.readable = console !== undefined && (yield* machine.terminal.take());
    }
    if (machine.attention) yield* machine.attend();
    const waker = { fd: wakeFd, events: POLLIN, revents: 0 };
    const input = console !== undefined && loop.readable && !console.inputFull ? { fd: console.inputFd, events: POLLIN, revents: 0 } : undefined;
    if (!(yield* wait(input === undefined ? [waker] : [waker, input]))) continue;
    if ((waker.revents & POLLIN) !== 0) yield* read(wakeFd, 8);
    if (input !== undefined && console !== undefined && (input.revents & (POLLIN | POLLHUP | POLLERR)) !== 0) {
      const bytes = yield* read(console.inputFd, CHUNK);
      if (bytes.length === 0) loop.readable = false;
      else yield* typed(machine, console, mux, bytes);
    }
  }
}
