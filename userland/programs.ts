/**
 * Every program of this folder by the name it has in /bin, each with libc's entry point around its main.
 */
import { type Program, type ProgramMain } from '../abi/process.ts';
import { _start } from './libc.ts';
import { main as cat } from './cat.ts';
import { main as date } from './date.ts';
import { main as dmesg } from './dmesg.ts';
import { main as echo } from './echo.ts';
import { main as env } from './env.ts';
import { main as false_ } from './false.ts';
import { main as free } from './free.ts';
import { main as init } from './init.ts';
import { main as insmod } from './insmod.ts';
import { main as kill } from './kill.ts';
import { main as kvmtest } from './kvmtest.ts';
import { main as lsmod } from './lsmod.ts';
import { main as modprobe } from './modprobe.ts';
import { main as mount } from './mount.ts';
import { main as nice } from './nice.ts';
import { main as poweroff } from './poweroff.ts';
import { main as renice } from './renice.ts';
import { main as rmmod } from './rmmod.ts';
import { main as sh } from './sh.ts';
import { main as sleep } from './sleep.ts';
import { main as taskset } from './taskset.ts';
import { main as true_ } from './true.ts';
import { main as umount } from './umount.ts';
import { main as uname } from './uname.ts';
import { main as uptime } from './uptime.ts';

const mains: Readonly<Record<string, ProgramMain>> = {
  cat, date, dmesg, echo, env, false: false_, free, halt: poweroff, init, insmod, kill, kvmtest, lsmod, modprobe, mount,
  nice, poweroff, reboot: poweroff, renice, rmmod, sh, sleep, taskset, true: true_, umount, uname, uptime,
};

export const programs: readonly Program[] = Object.entries(mains).map(([name, main]) => ({ name, main: _start(main) }));
