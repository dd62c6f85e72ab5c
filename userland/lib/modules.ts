/** Where modules lie, and what goes wrong with them, worded as kmod does. */
import type { Errno } from '../libc.ts';
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOEXEC } from '../../abi/errno.ts';

export const MODULES = '/lib/modules';

export const moduleName = (path: string): string => (path.split('/').at(-1) ?? path).replace(/\.ko$/, '').replaceAll('-', '_');

export function moduleError(e: Errno): string {
  switch (e.errno) {
    case ENOENT: return 'Unknown symbol in module, or unknown parameter (see dmesg)';
    case ENOEXEC: return 'Invalid module format';
    case EEXIST: return 'File exists';
    case EINVAL: return 'Invalid parameters';
    case EBUSY: return 'Device or resource busy';
    default: return e.text;
  }
}

export interface LoadedModule { readonly name: string; readonly size: number; readonly refcount: number; readonly users: readonly string[] }

/** The lines of /proc/modules. */
export const parseModules = (text: string): LoadedModule[] =>
  text.split('\n').filter((line) => line !== '').map((line) => {
    const [name = '', size = '0', refcount = '0', users = '-'] = line.split(' ');
    return { name, size: Number(size), refcount: Number(refcount), users: users === '-' ? [] : users.split(',').filter((u) => u !== '') };
  });
