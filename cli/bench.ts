/** `bench [NAME…] [--set tiny|small|full] [--json FILE] [--no-tcg]`. */
import { main } from '../bench/main.ts';
import { checkWritable, commandLine } from './command-line.ts';
import { root } from './root.ts';

export async function bench(argv: readonly string[]): Promise<number> {
  const options = commandLine(argv, 'bench', '$0 [NAME...]   measurements whose names contain one of the words; all without words')
    .option('set', { choices: ['tiny', 'small', 'full'] as const, default: 'small' as const, describe: 'sizes of the guests' })
    .option('json', { type: 'string', requiresArg: true, describe: 'writes the figures to FILE as well' })
    .option('tcg', { type: 'boolean', default: true, describe: 'measures QEMU TCG beside, where it is installed' })
    .strictOptions()
    .parseSync();
  if (options['help']) return 0;
  checkWritable('json', options.json);
  return main({ root, set: options.set, only: options._.map(String), json: options.json, tcg: options.tcg });
}
