/**
 * init: the first process. Mounts the kernel's file systems, loads KVM, runs what it was told to, reaps orphans, and
 * powers the machine off with the status of what it ran.
 *
 * `init` runs a shell on the console; `init -c COMMAND` one command line; `init [-C DIR] -- PROGRAM ARG…` one
 * program. With TERM=dumb, when the host's input is no terminal, the console neither echoes nor prompts: the shell
 * reads commands as from a file.
 */
import type { Sys } from '../abi/process.ts';
import { EBUSY, EEXIST } from '../abi/errno.ts';
import { O_RDWR } from '../abi/fcntl.ts';
import { LINUX_REBOOT_CMD_POWER_OFF } from '../abi/prctl.ts';
import { SIGINT, SIG_DFL } from '../abi/signal.ts';
import { ECHO, ONLCR, TIOCSCTTY } from '../abi/termios.ts';
import { WEXITSTATUS, WIFEXITED, WTERMSIG } from '../abi/wait.ts';
import { Errno, chdir, close, dup2, eputs, execve, execvp, fork, getenv, ioctl, mkdir, mount, open, puts, reboot, setsid, signal, stat, sync, tcgetattr, tcsetattr, wait4 } from './libc.ts';
import { maybe } from './lib/main.ts';

const CONSOLE = ['/dev/ttyS0', '/dev/console'] as const;

const MOUNTS: readonly (readonly [source: string, target: string, type: string])[] = [
  ['proc',     '/proc',               'proc'],
  ['sysfs',    '/sys',                'sysfs'],
  ['devtmpfs', '/dev',                'devtmpfs'],
  ['tmpfs',    '/dev/shm',            'tmpfs'],
  ['tmpfs',    '/tmp',                'tmpfs'],
  ['debugfs',  '/sys/kernel/debug',   'debugfs'],
  ['tracefs',  '/sys/kernel/tracing', 'tracefs'],
];

const BANNER = `
Welcome to Vitrine, a KVM you can see through. Four things to type:

  hybrid           what a vCPU is: a Type-1's and a Type-2's view of the same one
  kvmtest          the KVM sample everyone starts from, on this kernel's /dev/kvm
  strace kvmtest   the same with every system call
  help             what else is here
`;

/** What to run: argv of the program, and where. */
interface Job { readonly argv: readonly string[]; readonly directory: string; readonly interactive: boolean }

function jobOf(args: readonly string[]): Job {
  const dumb = getenv('TERM') === 'dumb';
  let directory = '/root';
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i];
    if (arg === '-c') return { argv: ['sh', '-c', args[i + 1] ?? ''], directory, interactive: false };
    if (arg === '-C') directory = args[++i] ?? directory;
    else if (arg === '--') return { argv: args.slice(i + 1), directory, interactive: false };
  }
  return { argv: [dumb ? 'sh' : '-sh'], directory, interactive: !dumb };
}

function* mountAll(): Sys {
  for (const [source, target, type] of MOUNTS) {
    try {
      yield* maybe(mkdir(target, 0o755));
      yield* mount(source, target, type);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno !== EBUSY && e.errno !== EEXIST) yield* eputs(`init: mounting ${type} on ${target} failed: ${e.text}`);
    }
  }
}

/** Opens the console on 0, 1 and 2 as the controlling terminal of a new session. */
function* ownConsole(): Sys {
  yield* maybe(setsid());
  for (const path of CONSOLE) {
    const fd = yield* maybe(open(path, O_RDWR));
    if (fd === undefined) continue;
    yield* maybe(ioctl(fd, TIOCSCTTY, 0));
    for (const standard of [0, 1, 2]) yield* dup2(fd, standard);
    if (fd > 2) yield* close(fd);
    return;
  }
}

/** Runs a program to its end, reaping every orphan that ends meanwhile; gives its status as a shell counts it. */
function* runToEnd(argv: readonly string[], directory: string, session: boolean): Sys<number> {
  const pid = yield* fork(function* child(): Sys<number> {
    if (session) yield* ownConsole();
    yield* signal(SIGINT, SIG_DFL);
    yield* maybe(chdir(directory));
    const [program = '/bin/sh'] = argv;
    try {
      if (program === '-sh') yield* execve('/bin/sh', argv);
      else yield* execvp(program, argv);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`init: ${program}: ${e.text}`);
    }
    return 127;
  });
  for (;;) {
    const { pid: ended, status } = yield* wait4(-1);
    if (ended === pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

export function* main(argv: string[]): Sys<number> {
  yield* mountAll();
  if ((yield* maybe(stat('/dev/kvm'))) === undefined) yield* runToEnd(['modprobe', '-q', 'kvm_intel'], '/', false);
  const job = jobOf(argv.slice(1));
  if (getenv('TERM') === 'dumb') {
    const settings = yield* maybe(tcgetattr(0));
    if (settings) {
      yield* tcsetattr(0, 0, settings, (t) => {
        t.c_lflag &= ~ECHO;
        t.c_oflag &= ~ONLCR;
      });
    }
  }
  if (job.interactive) yield* puts(BANNER);
  const status = yield* runToEnd(job.argv, job.directory, true);
  yield* sync();
  yield* reboot(LINUX_REBOOT_CMD_POWER_OFF, status);
  return status;
}
