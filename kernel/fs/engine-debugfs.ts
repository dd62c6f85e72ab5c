/**
 * /sys/kernel/debug/vitrine/engine: what the machine's instruction engine has done so far, one counter a line. A machine
 * that can be seen through shows this where Linux shows what drivers count; Linux has no such file.
 */
import { engineCounters } from '../../machine/engine/counters.ts';
import { machine } from '../current.ts';
import { textFile } from './libfs.ts';
import type { file_operations } from './types.ts';

/** The engine is made when the first machine code runs. */
const show = (): string => {
  const { engine, processors } = machine();
  return engine === undefined ? 'no machine code has run yet\n' : engineCounters(engine, processors.map((p) => p.cpu)).map(([name, value]) => `${name} ${value}\n`).join('');
};
export const engine_fops: file_operations = textFile(show);
