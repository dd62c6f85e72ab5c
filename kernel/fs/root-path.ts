/** Where the tree of mounts begins. */
import { kernelVariable } from '../current.ts';
import type { path } from './types.ts';

const root = kernelVariable<{ path: path | undefined }>(() => ({ path: undefined }));

export const root_path = (): path => root().path!;
export function set_root_path(path: path): void { root().path = path; }
