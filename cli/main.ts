/**
 * The command line of the real host. Each command is a file of its own; every wrong use or failure of the host is one
 * line on stderr and a non-zero status (2 for usage), never a stack trace.
 */
import './v8-flags.ts';
import { boot } from './boot.ts';
import { commandLine, complain, watchOutput } from './command-line.ts';
import { UsageError } from './usage.ts';

const argv = process.argv.slice(2);

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
  if (command !== undefined && command !== 'boot' && !command.startsWith('-')) throw new UsageError(`unknown command: ${command}`);
  const options = commandLine(command === 'boot' ? rest : argv, 'boot', '$0 [options]   boots the kernel and opens a shell', ['mount'])
    .option('cpus', { type: 'string', requiresArg: true, describe: 'processors, 1 to 16', default: '2' })
    .option('memory', { type: 'string', requiresArg: true, describe: 'RAM, 32M to 3G', default: '512M' })
    .option('command', { type: 'string', requiresArg: true, describe: 'runs this in a shell, then powers off; its status is the exit status' })
    .option('seed', { type: 'string', requiresArg: true, describe: 'seed of all randomness', default: '1' })
    .option('mhz', { type: 'string', requiresArg: true, describe: 'processor clock in MHz', default: '1000' })
    .option('trace', { type: 'string', describe: 'writes a trace of the run to FILE', requiresArg: true })
    .option('stats', { type: 'string', describe: 'writes instructions retired and a hash of RAM to FILE', requiresArg: true })
    .option('record', { type: 'string', describe: 'writes every input of the run to FILE', requiresArg: true })
    .option('replay', { type: 'string', describe: 'runs again what FILE recorded', requiresArg: true })
    .option('quiet', { type: 'boolean', describe: 'no boot log on the console', default: false })
    .option('mount', { type: 'string', array: true, nargs: 1, describe: 'HOSTDIR:/mnt[:rw] shows a host directory inside', default: [] as string[] })
    .strict()
    .parseSync();
  if (options['help']) return 0;
  return boot(options);
}

watchOutput('vitrine');
try {
  process.exitCode = await run();
} catch (error) {
  process.exitCode = complain('vitrine', error);
}
