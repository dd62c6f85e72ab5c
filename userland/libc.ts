/**
 * The C library of TypeScript programs: free functions, each a generator that a program runs with `yield*`.
 *
 * Names and arguments are C's; a call that fails throws Errno. Strings and bytes go in and come out as values, structs
 * as views in user memory made by `alloc`. The file to read first is libc/syscall.ts.
 */
export * from './libc/errno.ts';
export * from './libc/files.ts';
export * from './libc/malloc.ts';
export * from './libc/printf.ts';
export * from './libc/process.ts';
export * from './libc/pthread.ts';
export * from './libc/signal.ts';
export * from './libc/stdio.ts';
export { makeLibcState } from './libc/state.ts';
export { arm, decode, encode, loadBytes, loadString, storeBytes, storeString, syscall, userAddress } from './libc/syscall.ts';
export * from './libc/system.ts';
export * from './libc/termios.ts';
