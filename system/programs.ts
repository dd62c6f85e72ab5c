/** Every program of /bin. */
import type { Program } from '../abi/process.ts';
import { main as qemuLite } from '../qemu-lite/main.ts';
import { _start } from '../userland/libc.ts';
import { programs as userland } from '../userland/programs.ts';

export const programs: readonly Program[] = [...userland, { name: 'qemu-lite', main: _start(qemuLite) }];
