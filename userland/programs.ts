/**
 * Every program of this folder by the name it has in /bin, each with libc's entry point around its main.
 */
import { type Program, type ProgramMain } from '../abi/process.ts';
import { _start } from './libc.ts';
import { main as cat } from './cat.ts';
import { main as echo } from './echo.ts';
import { main as kvmtest } from './kvmtest.ts';

const mains: Readonly<Record<string, ProgramMain>> = {
  cat, echo, kvmtest,
};

export const programs: readonly Program[] = Object.entries(mains).map(([name, main]) => ({ name, main: _start(main) }));
