/**
 * What every command here has in common: yargs set up so that a wrong use is one line, files that are written at the end
 * looked at before the start, and an output that can no longer be written to.
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import chalk from 'chalk';
import yargs from 'yargs';
import { UsageError } from './usage.ts';

/** yargs for `npm run NAME -- …`. A wrong use throws a UsageError; only the options in `lists` may be given twice. */
export function commandLine(argv: readonly string[], name: string, usage: string, lists: readonly string[] = []) {
  return yargs([...argv])
    .scriptName(`npm run ${name} --`)
    .usage(usage)
    .version(false).exitProcess(false).showHelpOnFail(false)
    .fail((message, error) => { throw new UsageError((error?.message ?? message).replace(/:?\s*\n\s*/g, ': ')); })
    .check((options: Readonly<Record<string, unknown>>) => {
      for (const [option, value] of Object.entries(options)) {
        if (option !== '_' && !lists.includes(option) && Array.isArray(value) && value.some((v) => typeof v !== 'boolean')) throw new UsageError(`--${option}: give it once`);
      }
      return true;
    });
}

/** For a file that is written when the work is done: says at once if it cannot be. */
export function checkWritable(option: string, file: string | undefined): void {
  if (file === undefined) return;
  try {
    closeSync(openSync(file, 'a'));
  } catch (error) {
    throw new Error(`--${option} ${file}: ${(error as Error).message}`);
  }
}

/** `mkdir -p`. With `recursive`, mkdirSync never comes back from a parent that says ENOENT, as those in /proc do. */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  mkdirSync(path);
}

/** Says what went wrong as one line; returns the exit status, 2 for a command used wrongly. */
export function complain(name: string, error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  const debug = process.env['VITRINE_DEBUG'] && error instanceof Error ? `\n${error.stack}` : '';
  process.stderr.write(`${process.stderr.isTTY ? chalk.red(`${name}:`) : `${name}:`} ${message.split('\n')[0]}${debug}\n`);
  return error instanceof UsageError ? 2 : 1;
}

/** Ends the command when its output does: silently, as SIGPIPE would, if the reader has left. */
export function watchOutput(name: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 141 : complain(name, error)));
  process.stderr.on('error', () => process.exit(1));
}
