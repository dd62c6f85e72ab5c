/**
 * What a script imports as 'vitrine/abi': the whole contract between programs and the kernel, under its C names.
 * Programs call the kernel through 'vitrine/libc'; here are only the numbers, the structs and their types.
 */
export * from './elf.ts';
export * from './errno.ts';
export * from './eventfd.ts';
export * from './fcntl.ts';
export * from './ioctl.ts';
export * from './kvm/index.ts';
export * from './mman.ts';
export * from './mount.ts';
export * from './multiboot.ts';
export * from './poll.ts';
export * from './prctl.ts';
export type { Program, ProgramMain, SignalHandler, Sys, Word } from './process.ts';
export * from './resource.ts';
export * from './sched.ts';
export * from './signal.ts';
export * from './struct.ts';
export * from './syscalls.ts';
export * from './termios.ts';
export * from './time.ts';
export * from './wait.ts';
