/** The kernel as system/ sees it. */
export { Kernel, type KernelOptions } from './kernel.ts';
export type { LoadedModule, Module, ModuleParam } from './module.ts';
