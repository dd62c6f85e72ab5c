/**
 * What one shell knows: variables, functions, options, jobs. A subshell gets a copy: it runs in a child that shares
 * this program's JavaScript objects with its parent, but not its memory.
 */
import type { Sys } from '../../abi/process.ts';
import type { Command } from './ast.ts';
import { writeAll } from '../libc.ts';

export interface Variable { value: string; exported: boolean; readonly: boolean }

export type JobState = 'running' | 'stopped' | 'done';
export interface Job {
  readonly id: number;
  readonly pgid: number;
  readonly pids: number[];
  /** Members that have ended, by pid: their status words. */
  readonly ended: Map<number, number>;
  readonly stopped: Set<number>;
  readonly text: string;
  state: JobState;
  /** Its end or stop has yet to be told at a prompt. */
  changed: boolean;
}

/** Ways out of the middle of a program. */
export class Leave extends Error {
  readonly kind: 'break' | 'continue' | 'return' | 'exit';
  /** Loops to leave, or the status. */
  count: number;
  constructor(kind: Leave['kind'], count: number) {
    super(kind);
    this.kind = kind;
    this.count = count;
  }
}

/** A command that cannot go on: told on standard error; a shell that is not interactive exits. */
export class ShellError extends Error {
  readonly status: number;
  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

export const OPTIONS: Readonly<Record<string, string>> = {
  e: 'errexit', u: 'nounset', x: 'xtrace', f: 'noglob', n: 'noexec', v: 'verbose', C: 'noclobber', a: 'allexport', m: 'monitor',
};

export class Shell {
  name = 'sh';
  pid = 0;
  interactive = false;
  /** Jobs get process groups of their own and the terminal in turn. */
  monitor = false;
  subshell = false;
  /** The descriptor of the terminal, -1 without one. */
  terminal = -1;
  pgrp = 0;
  status = 0;
  lastBackground = 0;
  /** > 0: a failure is expected, `set -e` does not act. */
  conditional = 0;
  loops = 0;
  functionDepth = 0;
  sourceDepth = 0;
  /** The last expansion ran a command substitution: its status is the status of a bare assignment. */
  substituted = false;
  params: string[] = [];
  variables = new Map<string, Variable>();
  functions = new Map<string, Command>();
  aliases = new Map<string, string>();
  options = new Set<string>();
  jobs: Job[] = [];
  traps = new Map<string, string>();
  /** Signals caught and not yet acted on. */
  caught: string[] = [];
  /** Ctrl-C has reached the interactive shell itself. */
  interrupted = false;
  history: string[] = [];
  /** Variables to put back when the function returns (`local`), one map a call. */
  locals: Map<string, Variable | undefined>[] = [];

  clone(): Shell {
    const copy = Object.assign(new Shell(), this) as Shell;
    copy.params = [...this.params];
    copy.variables = new Map([...this.variables].map(([name, v]) => [name, { ...v }]));
    copy.functions = new Map(this.functions);
    copy.aliases = new Map(this.aliases);
    copy.options = new Set(this.options);
    copy.jobs = [];
    copy.traps = new Map([...this.traps].filter(([, action]) => action === ''));
    copy.caught = [];
    copy.history = [];
    copy.locals = this.locals.map((map) => new Map(map));
    copy.subshell = true;
    copy.interactive = false;
    copy.monitor = false;
    return copy;
  }

  /** Leaves the line that is being run when Ctrl-C was typed. */
  checkInterrupt(): void {
    if (!this.interrupted) return;
    this.interrupted = false;
    throw new ShellError('', 130);
  }

  get(name: string): string | undefined {
    return this.variables.get(name)?.value;
  }

  set(name: string, value: string): void {
    const variable = this.variables.get(name);
    if (variable?.readonly) throw new ShellError(`${name}: readonly variable`);
    if (variable) variable.value = value;
    else this.variables.set(name, { value, exported: this.options.has('allexport'), readonly: false });
  }

  unset(name: string): void {
    if (this.variables.get(name)?.readonly) throw new ShellError(`unset: ${name}: cannot unset: readonly variable`);
    this.variables.delete(name);
  }

  /** What a program started now finds in its environment. */
  environment(extra: ReadonlyMap<string, string> = new Map()): string[] {
    const all = new Map([...this.variables].filter(([, v]) => v.exported).map(([name, v]) => [name, v.value]));
    for (const [name, value] of extra) all.set(name, value);
    return [...all].map(([name, value]) => `${name}=${value}`);
  }

  /** A parameter's value; undefined when it is unset. `@` and `*` joined with blanks. */
  parameter(name: string): string | undefined {
    switch (name) {
      case '?': return String(this.status);
      case '$': return String(this.pid);
      case '!': return this.lastBackground === 0 ? '' : String(this.lastBackground);
      case '#': return String(this.params.length);
      case '0': return this.name;
      case '@': case '*': return this.params.length > 0 ? this.params.join(' ') : undefined;
      case '-': return Object.entries(OPTIONS).filter(([, long]) => this.options.has(long)).map(([letter]) => letter).join('') + (this.interactive ? 'i' : '');
      default: return /^[0-9]+$/.test(name) ? this.params[Number(name) - 1] : this.get(name);
    }
  }
}

/** A built-in's output: straight to the descriptor, which a redirection may have moved. */
export const print = (text: string): Sys => writeAll(1, text);
export const complain = (sh: Shell, message: string): Sys => writeAll(2, `${sh.name.replace(/^-/, '')}: ${message}\n`);
