/** The modules under /lib/modules, in the order the boot loads them. */
import type { Module } from '../kernel/exports.ts';
import { kvm } from '../kvm/kvm_main.ts';
import { kvm_intel } from '../kvm/vmx/main.ts';

export const modules: readonly Module[] = [kvm, kvm_intel];
