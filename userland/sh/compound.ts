/**
 * Compound commands: groups, if, while, until, for, case. They run in the shell's own process.
 */
import type { Sys } from '../../abi/process.ts';
import { getpid } from '../libc.ts';
import type { Command, List } from './ast.ts';
import type { Executor } from './execute.ts';
import { patternToRegExp } from './pattern.ts';
import { Leave, type Shell } from './state.ts';

/** Runs a compound command's parts. Its redirections are in force. */
export function* compound(executor: Executor, command: Command): Sys<number> {
  const { sh, expander } = executor;
  switch (command.kind) {
    case 'group': return yield* executor.list(command.body);
    case 'if':
      for (const { condition: test, body } of command.arms) if ((yield* condition(executor, test)) === 0) return yield* executor.list(body);
      return command.otherwise ? yield* executor.list(command.otherwise) : 0;
    case 'while': {
      let status = 0;
      yield* loop(sh, function* again() {
        if (((yield* condition(executor, command.condition)) === 0) === command.until) return false;
        status = yield* executor.list(command.body);
        return true;
      });
      return status;
    }
    case 'for': {
      const values = command.words ? yield* expander.fields(command.words) : [...sh.params];
      let i = 0;
      let status = 0;
      yield* loop(sh, function* again() {
        if (i >= values.length) return false;
        sh.set(command.name, values[i++] ?? '');
        status = yield* executor.list(command.body);
        return true;
      });
      return status;
    }
    case 'case': {
      const value = yield* expander.text(command.word);
      let matched = false;
      let status = 0;
      for (const { patterns, body, fallThrough } of command.arms) {
        for (const pattern of patterns) {
          if (matched) break;
          matched = patternToRegExp(yield* expander.pattern(pattern)).test(value);
        }
        if (!matched) continue;
        status = body.length > 0 ? yield* executor.list(body) : 0;
        if (!fallThrough) break;
      }
      return status;
    }
    default: return 0;
  }
}

/** A list whose failure is an answer: `set -e` leaves it alone. */
function* condition(executor: Executor, list: List): Sys<number> {
  executor.sh.conditional++;
  try {
    return yield* executor.list(list);
  } finally {
    executor.sh.conditional--;
  }
}

/** Runs `again` until it says false or a break leaves the loop. */
function* loop(sh: Shell, again: () => Sys<boolean>): Sys {
  sh.loops++;
  try {
    for (;;) {
      // A loop of built-ins makes no system call: this one lets the kernel preempt it.
      yield* getpid();
      try {
        if (!(yield* again())) return;
      } catch (e) {
        if (!(e instanceof Leave) || (e.kind !== 'break' && e.kind !== 'continue')) throw e;
        sh.status = 0;
        if (e.count > 1 && sh.loops > 1) {
          e.count--;
          throw e;
        }
        if (e.kind === 'break') return;
      }
    }
  } finally {
    sh.loops--;
  }
}
