/**
 * /sys/kernel/debug/kvm: a counter a file, summed over all VMs, and a directory for each VM named pid-fd.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_create_vm_debugfs)
 */
import { current, debugfs_create_dir, debugfs_create_dir_unfilled, debugfs_create_u64, debugfs_remove, kernelVariable } from '../kernel/exports.ts';
import { type kvm, kvm_state, vcpu_stat_names, vm_stat_names } from './kvm_host.ts';

type dentry = ReturnType<typeof debugfs_create_dir>;
const directories = kernelVariable<{ root: dentry | undefined; readonly vms: Map<kvm, dentry> }>(() => ({ root: undefined, vms: new Map() }));

function fill(dir: dentry, vms: () => Iterable<kvm>): void {
  for (const name of vm_stat_names) debugfs_create_u64(name, 0o444, dir, () => [...vms()].reduce((sum, vm) => sum + vm.stat[name], 0));
  for (const name of vcpu_stat_names) {
    debugfs_create_u64(name, 0o444, dir, () => [...vms()].reduce((sum, vm) => sum + vm.vcpus.reduce((n, vcpu) => n + vcpu.stat[name], 0), 0));
  }
}

/** The directory with the sums; it goes with the vendor module. */
export function kvm_init_debugfs(): void {
  const d = directories();
  d.root = debugfs_create_dir('kvm');
  fill(d.root, () => kvm_state().vm_list);
}
export function kvm_exit_debugfs(): void {
  const d = directories();
  if (d.root !== undefined) debugfs_remove(d.root);
  d.root = undefined;
}

export function kvm_create_debugfs(vm: kvm, fd: number): void {
  const d = directories();
  if (d.root === undefined) return;
  vm.debugfs_name = `${current().tgid}-${fd}`;
  d.vms.set(vm, debugfs_create_dir_unfilled(vm.debugfs_name, d.root, (dir) => fill(dir, () => [vm])));
}
export function kvm_destroy_debugfs(vm: kvm): void {
  const d = directories();
  const dir = d.vms.get(vm);
  if (dir !== undefined) debugfs_remove(dir);
  d.vms.delete(vm);
}
