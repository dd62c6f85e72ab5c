/**
 * Every program of this folder by the name it has in /bin, each with libc's entry point around its main.
 */
import type { Program, ProgramMain } from '../abi/process.ts';
import { _start } from './libc.ts';
import { main as basename } from './basename.ts';
import { main as cat } from './cat.ts';
import { main as chmod } from './chmod.ts';
import { main as clear } from './clear.ts';
import { main as cp } from './cp.ts';
import { main as cut } from './cut.ts';
import { main as date } from './date.ts';
import { main as dirname } from './dirname.ts';
import { main as dmesg } from './dmesg.ts';
import { main as echo } from './echo.ts';
import { main as env } from './env.ts';
import { main as false_ } from './false.ts';
import { main as free } from './free.ts';
import { main as grep } from './grep.ts';
import { main as head } from './head.ts';
import { main as help } from './help.ts';
import { main as hexdump } from './hexdump.ts';
import { main as hostname } from './hostname.ts';
import { main as hybrid } from './hybrid.ts';
import { main as id } from './id.ts';
import { main as init } from './init.ts';
import { main as insmod } from './insmod.ts';
import { main as kill } from './kill.ts';
import { main as kvm_stat } from './kvm_stat.ts';
import { main as kvmtest } from './kvmtest.ts';
import { main as ln } from './ln.ts';
import { main as ls } from './ls.ts';
import { main as lsmod } from './lsmod.ts';
import { main as mkdir } from './mkdir.ts';
import { main as modprobe } from './modprobe.ts';
import { main as mount } from './mount.ts';
import { main as mv } from './mv.ts';
import { main as nice } from './nice.ts';
import { main as nproc } from './nproc.ts';
import { main as perf } from './perf.ts';
import { main as pgrep } from './pgrep.ts';
import { main as pidof } from './pidof.ts';
import { main as poweroff } from './poweroff.ts';
import { main as printf } from './printf.ts';
import { main as ps } from './ps.ts';
import { main as pwd } from './pwd.ts';
import { main as readlink } from './readlink.ts';
import { main as renice } from './renice.ts';
import { main as rm } from './rm.ts';
import { main as rmdir } from './rmdir.ts';
import { main as rmmod } from './rmmod.ts';
import { main as sed } from './sed.ts';
import { main as seq } from './seq.ts';
import { main as sh } from './sh.ts';
import { main as sleep } from './sleep.ts';
import { main as sort } from './sort.ts';
import { main as strace } from './strace.ts';
import { main as stty } from './stty.ts';
import { main as tail } from './tail.ts';
import { main as taskset } from './taskset.ts';
import { main as tee } from './tee.ts';
import { main as test } from './test.ts';
import { main as top } from './top.ts';
import { main as touch } from './touch.ts';
import { main as tr } from './tr.ts';
import { main as true_ } from './true.ts';
import { main as tty } from './tty.ts';
import { main as umount } from './umount.ts';
import { main as uname } from './uname.ts';
import { main as uniq } from './uniq.ts';
import { main as uptime } from './uptime.ts';
import { main as wc } from './wc.ts';
import { main as which } from './which.ts';
import { main as xargs } from './xargs.ts';
import { main as yes } from './yes.ts';

const mains: Readonly<Record<string, ProgramMain>> = {
  basename, cat, chmod, clear, cp, cut, date, dirname, dmesg, echo, env, false: false_, free, grep, head,
  help, hexdump, hostname, hybrid, id, init, insmod, kill, kvm_stat, kvmtest, ln, ls, lsmod, mkdir, modprobe, mount,
  mv, nice, nproc, perf, pgrep, pkill: pgrep, pidof, poweroff, halt: poweroff, reboot: poweroff, printf, ps, pwd,
  readlink, renice, rm, rmdir, rmmod, sed, seq, sh, sleep, sort, strace, stty, tail, taskset, tee, test,
  '[': test, top, touch, tr, true: true_, tty, umount, uname, uniq, uptime, wc, which, xargs, yes,
};

export const programs: readonly Program[] = Object.entries(mains).map(([name, main]) => ({ name, main: _start(main) }));
