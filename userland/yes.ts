/** yes: its arguments, or `y`, for ever. */
import type { Sys } from '../abi/process.ts';
import { writeAll } from './libc.ts';

export function* main(argv: string[]): Sys<number> {
  const line = `${argv.length > 1 ? argv.slice(1).join(' ') : 'y'}\n`;
  const block = line.repeat(Math.max(1, Math.floor(4096 / line.length)));
  for (;;) yield* writeAll(1, block);
}
