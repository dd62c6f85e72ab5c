/**
 * The command line of the real host. Each command is a file of its own; every wrong use or failure of the host is one
 * line on stderr and a non-zero status (2 for usage), never a stack trace.
 */
import './wasm-hints.ts';
import chalk from 'chalk';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { boot } from './boot.ts';
import { UsageError } from './usage.ts';

/** yargs reads what stands before `--`; qemu-lite and script read their own words, whatever they look like. */
const argv = hideBin(process.argv);

function complain(error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  const debug = process.env['VITRINE_DEBUG'] && error instanceof Error ? `\n${error.stack}` : '';
  process.stderr.write(`${process.stderr.isTTY ? chalk.red('vitrine:') : 'vitrine:'} ${message.split('\n')[0]}${debug}\n`);
  return error instanceof UsageError ? 2 : 1;
}

async function run(): Promise<number> {
  const [command, ...rest] = argv;
  switch (command) {
    case 'script': return (await import('./script-command.ts')).script(rest);
    case 'qemu-lite': return (await import('./qemu-lite.ts')).qemuLite(rest);
    case 'lab': return (await import('./lab.ts')).lab(rest);
    case 'grade': return (await import('./grade.ts')).grade(rest);
    case 'golden': return (await import('./golden.ts')).golden(rest);
    case 'unit-tests': return (await import('./unit-tests.ts')).unitTests(rest);
    case 'region': return (await import('./region.ts')).region(rest);
    case 'bench': return (await import('./bench.ts')).bench(rest);
  }
  const options = yargs(argv)
    .scriptName('npm run boot --')
    .usage('$0 [options]   boots the kernel and opens a shell')
    .command('boot', false)
    .option('cpus', { type: 'string', describe: 'processors, 1 to 16', default: '2' })
    .option('memory', { type: 'string', describe: 'RAM, 32M to 3G', default: '512M' })
    .option('command', { type: 'string', describe: 'runs this in a shell, then powers off; its status is the exit status' })
    .option('seed', { type: 'string', describe: 'seed of all randomness', default: '1' })
    .option('mhz', { type: 'string', describe: 'processor clock in MHz', default: '1000' })
    .option('trace', { type: 'string', describe: 'writes a trace of the run to FILE', requiresArg: true })
    .option('stats', { type: 'string', describe: 'writes instructions retired and a hash of RAM to FILE', requiresArg: true })
    .option('record', { type: 'string', describe: 'writes every input of the run to FILE', requiresArg: true })
    .option('replay', { type: 'string', describe: 'runs again what FILE recorded', requiresArg: true })
    .option('quiet', { type: 'boolean', describe: 'no boot log on the console', default: false })
    .option('mount', { type: 'string', array: true, nargs: 1, describe: 'HOSTDIR:/mnt[:rw] shows a host directory inside', default: [] as string[] })
    .strict().version(false).exitProcess(false).showHelpOnFail(false)
    .fail((message, error) => { throw error ?? new UsageError(message); })
    .parseSync();
  if (options['help']) return 0;
  if (options._.length > 1 || (options._.length === 1 && options._[0] !== 'boot')) throw new UsageError(`unknown command: ${options._.join(' ')}`);
  return boot(options);
}

try {
  process.exitCode = await run();
} catch (error) {
  process.exitCode = complain(error);
}
