/** true: succeeds. */
import type { Sys } from '../abi/process.ts';

export function* main(): Sys<number> {
  return 0;
}
