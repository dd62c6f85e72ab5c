/**
 * Loadable modules: code that is part of the tree but not of the running kernel until insmod says so.
 *
 * Linux: kernel/module/main.c
 *
 * A file /lib/modules/<release>/<name>.ko names a registered module behind MODULE_MAGIC, as a program file names a
 * program. A module is in use while its count is above one's own: each module that depends on it, and each file,
 * device or VM that said try_module_get, holds one.
 */
import { EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOEXEC, EWOULDBLOCK } from '../abi/errno.ts';
import { fromUtf8 } from '../lib/text.ts';
import { kernelVariable } from './current.ts';
import { fd_lookup } from './fs/file.ts';
import { kernel_read_file } from './fs/read-write.ts';
import { copy_from_user, strncpy_from_user } from './mm/uaccess.ts';
import { pr_err, pr_warn } from './printk.ts';
import type { MaySleep, task_struct } from './sched/types.ts';

export const MODULE_MAGIC = '\u007fKO ';

export interface ModuleParam {
  readonly type: 'bool' | 'int' | 'uint' | 'charp';
  value: number | string | boolean;
  /** File mode under /sys/module/<name>/parameters; 0 hides it. */
  readonly perm: number;
}

export interface Module {
  readonly name: string;
  readonly description?: string;
  /** Start values; each load works on a copy, found through module_param. */
  readonly params: Readonly<Record<string, Readonly<ModuleParam>>>;
  readonly depends: readonly string[];
  /** 0, or -errno: the module is not loaded then. */
  init(): number | MaySleep<number>;
  exit(): void;
}

export interface LoadedModule {
  readonly module: Module;
  readonly params: Record<string, ModuleParam>;
  /** Users beyond the module itself. */
  refcount: number;
  readonly used_by: string[];
  state: 'Loading' | 'Live' | 'Unloading';
}

interface ModuleState {
  /** All modules that have a file. */
  readonly known: Map<string, Module>;
  /** The newest first, as /proc/modules lists them. */
  readonly loaded: LoadedModule[];
  readonly listeners: ((name: string, loaded: boolean) => void)[];
}
export const modules = kernelVariable<ModuleState>(() => ({ known: new Map(), loaded: [], listeners: [] }));

export const find_module = (name: string): LoadedModule | undefined => modules().loaded.find((m) => m.module.name === name);
const canonical = (name: string): string => name.replaceAll('-', '_');

/** The current value of a parameter of a loaded (or loading) module. */
export function module_param(name: string, param: string): number | string | boolean {
  const found = find_module(name)?.params[param];
  if (found === undefined) throw new Error(`module ${name} has no parameter ${param}`);
  return found.value;
}

/** Takes a reference that keeps the module loaded. False when it is not there or on its way out. */
export function try_module_get(name: string): boolean {
  const m = find_module(name);
  if (m === undefined || m.state === 'Unloading') return false;
  m.refcount++;
  return true;
}
export function module_put(name: string): void {
  const m = find_module(name);
  if (m !== undefined) m.refcount--;
}

// ---------------------------------------------------------------- loading

/** The module a .ko file stands for, undefined when it stands for none. */
function module_of(bytes: Uint8Array): Module | undefined {
  const line = fromUtf8(bytes.subarray(0, 256)).split('\n', 1)[0]!;
  return line.startsWith(MODULE_MAGIC) ? modules().known.get(line.slice(MODULE_MAGIC.length).trim()) : undefined;
}

function parse_param(param: ModuleParam, text: string | undefined): boolean {
  switch (param.type) {
    case 'bool': {
      if (text === undefined || /^[yY1]/.test(text) || text === 'on') param.value = true;
      else if (/^[nN0]/.test(text) || text === 'off') param.value = false;
      else return false;
      return true;
    }
    case 'charp':
      if (text === undefined) return false;
      param.value = text;
      return true;
    default: {
      const n = Number(text);
      if (text === undefined || text === '' || !Number.isInteger(n) || (param.type === 'uint' && n < 0)) return false;
      param.value = n;
      return true;
    }
  }
}

/** "name=value name=value" as modprobe passes it. 0 or -EINVAL. */
export function parse_args(name: string, params: Record<string, ModuleParam>, text: string): number {
  for (const word of text.match(/(?:[^\s"]+|"[^"]*")+/g) ?? []) {
    const at = word.indexOf('=');
    const key = canonical(at < 0 ? word : word.slice(0, at));
    const value = at < 0 ? undefined : word.slice(at + 1).replace(/^"(.*)"$/, '$1');
    const param = params[key];
    if (param === undefined) {
      pr_warn(`${name}: unknown parameter '${key}' ignored`);
      continue;
    }
    if (!parse_param(param, value)) {
      pr_err(`${name}: \`${value ?? ''}' invalid for parameter \`${key}'`);
      return -EINVAL;
    }
  }
  return 0;
}

export function set_param(name: string, param: string, text: string): number {
  const found = find_module(name)?.params[param];
  return found !== undefined && parse_param(found, text.trim()) ? 0 : -EINVAL;
}
export const param_text = (param: ModuleParam): string => (typeof param.value === 'boolean' ? (param.value ? 'Y' : 'N') : String(param.value));

export function* load_module(module: Module, args: string): MaySleep<number> {
  if (find_module(module.name) !== undefined) return -EEXIST;
  for (const name of module.depends) {
    if (find_module(name)?.state === 'Live') continue;
    pr_err(`${module.name}: Unknown symbol of ${name} (err -2)`);
    return -ENOENT;
  }
  const params = Object.fromEntries(Object.entries(module.params).map(([key, param]) => [key, { ...param }]));
  const error = parse_args(module.name, params, args);
  if (error < 0) return error;
  const m: LoadedModule = { module, params, refcount: 0, used_by: [], state: 'Loading' };
  modules().loaded.unshift(m);
  for (const name of module.depends) {
    const needed = find_module(name)!;
    needed.refcount++;
    needed.used_by.unshift(module.name);
  }
  const started = module.init();
  const result = typeof started === 'number' ? started : yield* started;
  if (result < 0) {
    forget(m);
    return result;
  }
  m.state = 'Live';
  for (const listener of modules().listeners) listener(module.name, true);
  return 0;
}

function forget(m: LoadedModule): void {
  const { loaded } = modules();
  loaded.splice(loaded.indexOf(m), 1);
  for (const name of m.module.depends) {
    const needed = find_module(name);
    if (needed === undefined) continue;
    needed.refcount--;
    needed.used_by.splice(needed.used_by.indexOf(m.module.name), 1);
  }
}

/** By name, with what it depends on first: how the boot loads modules. */
export function* request_module(name: string, args = ''): MaySleep<number> {
  const module = modules().known.get(canonical(name));
  if (module === undefined) return -ENOENT;
  if (find_module(module.name) !== undefined) return 0;
  for (const needed of module.depends) {
    const error = yield* request_module(needed);
    if (error < 0) return error;
  }
  return yield* load_module(module, args);
}

export function sys_finit_module(task: task_struct, fd: number, args: number, flags: number): number | MaySleep<number> {
  if ((flags & ~7) !== 0) return -EINVAL;
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -9;
  const bytes = kernel_read_file(f, 2 ** 24);
  if (typeof bytes === 'number') return bytes;
  return start_load(module_of(bytes), args);
}

export function sys_init_module(_task: task_struct, image: number, length: number, args: number): number | MaySleep<number> {
  if (length < 0 || length > 2 ** 24) return -ENOEXEC;
  const bytes = new Uint8Array(length);
  if (copy_from_user(bytes, image) < 0) return -EFAULT;
  return start_load(module_of(bytes), args);
}

function start_load(module: Module | undefined, args: number): number | MaySleep<number> {
  if (module === undefined) return -ENOEXEC;
  const text = strncpy_from_user(args, 4096);
  if (typeof text === 'number') return text;
  return text === undefined ? -EINVAL : load_module(module, text);
}

export function sys_delete_module(_task: task_struct, address: number): number {
  const name = strncpy_from_user(address, 56);
  if (typeof name === 'number') return name;
  const m = name === undefined ? undefined : find_module(canonical(name));
  if (m === undefined) return -ENOENT;
  if (m.used_by.length > 0) return -EWOULDBLOCK;
  if (m.state !== 'Live') return -EBUSY;
  if (m.refcount > 0) return -EBUSY;
  m.state = 'Unloading';
  m.module.exit();
  forget(m);
  for (const listener of modules().listeners) listener(m.module.name, false);
  return 0;
}

/** Lines of /proc/modules: name, size, count, users, state, address. */
export const module_rows = (): string[] =>
  modules().loaded.map((m) => `${m.module.name} 16384 ${m.refcount} ${m.used_by.length === 0 ? '-' : m.used_by.map((n) => `${n},`).join('')} ${m.state} 0x0000000000000000`);
