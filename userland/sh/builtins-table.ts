/**
 * The shell's built-in commands by name, one row each.
 */
import type { Sys } from '../../abi/process.ts';
import { echoText } from '../echo.ts';
import { runTest } from '../lib/test-expression.ts';
import { formatPrintf } from '../lib/printf-command.ts';
import { Leave, ShellError, complain, print } from './state.ts';
import type { Executor } from './execute.ts';
import * as job from './builtins-jobs.ts';
import * as variable from './builtins-variables.ts';
import * as general from './builtins.ts';

export type Builtin = (executor: Executor, argv: readonly string[]) => Sys<number>;

const TABLE: Readonly<Record<string, Builtin>> = {
  ':':       constant(0),
  '.':       general.dot,
  '[':       test,
  alias:     general.alias,
  bg:        job.bg,
  break:     leaveLoop('break'),
  cd:        general.cd,
  command:   general.command,
  continue:  leaveLoop('continue'),
  echo,
  eval:      general.evaluate,
  exec:      constant(0),
  exit:      leave('exit'),
  export:    variable.exportVariables,
  false:     constant(1),
  fg:        job.fg,
  getopts:   variable.getopts,
  history:   general.history,
  jobs:      job.jobs,
  kill:      job.kill,
  let:       variable.letExpressions,
  local:     variable.local,
  printf,
  pwd:       general.pwd,
  read:      variable.read,
  readonly:  variable.readonly,
  return:    leave('return'),
  set:       variable.set,
  shift:     variable.shift,
  source:    general.dot,
  test,
  times:     general.times,
  trap:      job.trap,
  true:      constant(0),
  type:      general.type,
  umask:     general.umask,
  unalias:   general.unalias,
  unset:     variable.unset,
  wait:      job.wait,
};

export const builtin = (name: string): Builtin | undefined => (Object.hasOwn(TABLE, name) ? TABLE[name] : undefined);
export const builtinNames: readonly string[] = Object.keys(TABLE);

function constant(status: number): Builtin {
  return function* done() {
    return status;
  };
}

function leaveLoop(kind: 'break' | 'continue'): Builtin {
  return function* leaving({ sh }, argv) {
    const count = Number(argv[1] ?? 1);
    if (!Number.isInteger(count) || count < 1) throw new ShellError(`${kind}: ${argv[1]}: loop count out of range`);
    if (sh.loops === 0) {
      yield* complain(sh, `${kind}: only meaningful in a \`for', \`while', or \`until' loop`);
      return 0;
    }
    throw new Leave(kind, count);
  };
}

function leave(kind: 'exit' | 'return'): Builtin {
  return function* leaving({ sh }, argv) {
    if (kind === 'return' && sh.functionDepth === 0 && sh.sourceDepth === 0) {
      yield* complain(sh, 'return: can only `return\' from a function or sourced script');
      return 1;
    }
    const [, text] = argv;
    if (text !== undefined && !/^-?\d+$/.test(text)) {
      yield* complain(sh, `${kind}: ${text}: numeric argument required`);
      throw new Leave(kind, 2);
    }
    throw new Leave(kind, text === undefined ? sh.status : Number(text) & 0xff);
  };
}

function* echo(_: Executor, argv: readonly string[]): Sys<number> {
  yield* print(echoText(argv.slice(1)));
  return 0;
}

function* printf({ sh }: Executor, argv: readonly string[]): Sys<number> {
  const [format, ...args] = argv[1] === '--' ? argv.slice(2) : argv.slice(1);
  if (format === undefined) {
    yield* complain(sh, 'printf: usage: printf format [arguments]');
    return 2;
  }
  const { text, errors } = formatPrintf(format, args);
  yield* print(text);
  for (const error of errors) yield* complain(sh, `printf: ${error}`);
  return errors.length > 0 ? 1 : 0;
}

function* test({ sh }: Executor, argv: readonly string[]): Sys<number> {
  return yield* runTest(argv, (message) => complain(sh, message));
}
