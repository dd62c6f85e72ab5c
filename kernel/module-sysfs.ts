/**
 * /sys/module/NAME: state, reference count, parameters, who uses it.
 * Linux: kernel/module/sysfs.c, kernel/params.c
 */
import { kernelVariable } from './current.ts';
import type { dentry } from './fs/types.ts';
import { sysfs_create_file, sysfs_dir, sysfs_remove } from './fs/sysfs.ts';
import { find_module, modules, param_text, set_param } from './module.ts';

const directories = kernelVariable(() => new Map<string, dentry>());

function add(name: string): void {
  const m = find_module(name)!;
  const dir = sysfs_dir(`module/${name}`);
  directories().set(name, dir);
  sysfs_create_file(dir, 'initstate', 0o444, () => 'live\n');
  sysfs_create_file(dir, 'refcnt', 0o444, () => `${m.refcount}\n`);
  sysfs_create_file(dir, 'coresize', 0o444, () => '16384\n');
  sysfs_dir(`module/${name}/holders`);
  for (const [key, param] of Object.entries(m.params)) {
    if (param.perm !== 0) sysfs_create_file(sysfs_dir(`module/${name}/parameters`), key, param.perm, () => `${param_text(param)}\n`, (text) => set_param(name, key, text));
  }
}

function remove(name: string): void {
  const dir = directories().get(name);
  if (dir !== undefined) sysfs_remove(dir);
  directories().delete(name);
}

export function module_sysfs_init(): void {
  modules().listeners.push((name, loaded) => (loaded ? add(name) : remove(name)));
}
