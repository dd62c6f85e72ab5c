/** `bench [NAME…] [--set tiny|small|full] [--json FILE] [--no-tcg]`. */
import yargs from 'yargs';
import { main } from '../bench/main.ts';
import { root } from './root.ts';
import { UsageError } from './usage.ts';

export async function bench(argv: readonly string[]): Promise<number> {
  const options = yargs([...argv])
    .scriptName('npm run bench --')
    .usage('$0 [NAME...]   measurements whose names contain one of the words; all without words')
    .option('set', { choices: ['tiny', 'small', 'full'] as const, default: 'small' as const, describe: 'sizes of the guests' })
    .option('json', { type: 'string', requiresArg: true, describe: 'writes the figures to FILE as well' })
    .option('tcg', { type: 'boolean', default: true, describe: 'measures QEMU TCG beside, where it is installed' })
    .strictOptions().version(false).exitProcess(false).showHelpOnFail(false)
    .fail((message, error) => { throw error ?? new UsageError(message); })
    .parseSync();
  if (options['help']) return 0;
  return main({ root, set: options.set, only: options._.map(String), json: options.json, tcg: options.tcg });
}
