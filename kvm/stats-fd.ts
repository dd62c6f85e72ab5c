/**
 * KVM_GET_STATS_FD: counters in a file that describes itself.
 *
 * Linux: virt/kvm/binary_stats.c, Documentation/virt/kvm/api.rst 4.133
 */
import { O_CLOEXEC } from '../abi/fcntl.ts';
import { kvm_stats_desc, kvm_stats_header } from '../abi/kvm/index.ts';
import { FMODE_PREAD, anon_inode_getfd, current, fd_lookup, type file, type file_operations } from '../kernel/exports.ts';
import { kvm_get_kvm, kvm_put_kvm } from './kvm_main.ts';
import { type kvm, type kvm_vcpu, vcpu_stat_names, vm_stat_names } from './kvm_host.ts';

const NAME_SIZE = 48;
const INSTANT = 1;
const LEVELS = new Set(['pages_4k', 'pages_2m', 'pages_1g', 'blocking', 'guest_mode']);

interface source { readonly vm: kvm; readonly id: string; readonly names: readonly string[]; readonly value: (name: string) => number }

/** The whole file as it is now: header, name, descriptors, values. */
function image(s: source): Uint8Array {
  const desc = kvm_stats_desc.size + NAME_SIZE;
  const id_offset = kvm_stats_header.size;
  const desc_offset = id_offset + NAME_SIZE;
  const data_offset = desc_offset + desc * s.names.length;
  const bytes = new Uint8Array(data_offset + 8 * s.names.length);
  const view = new DataView(bytes.buffer);
  const text = (at: number, name: string) => { for (let i = 0; i < name.length; i++) bytes[at + i] = name.charCodeAt(i); };
  [0, NAME_SIZE, s.names.length, id_offset, desc_offset, data_offset].forEach((value, i) => { view.setUint32(4 * i, value, true); });
  text(id_offset, s.id);
  s.names.forEach((name, i) => {
    const at = desc_offset + i * desc;
    view.setUint32(at, LEVELS.has(name) ? INSTANT : 0, true);
    view.setUint16(at + 6, 1, true);
    view.setUint32(at + 8, 8 * i, true);
    text(at + 16, name);
    view.setBigUint64(data_offset + 8 * i, BigInt(s.value(name)), true);
  });
  return bytes;
}

const fops: file_operations = {
  llseek: (f: file, offset, whence) => (whence === 0 && offset >= 0 ? (f.f_pos = offset) : -22),
  read: (f, to, pos) => to.copy_to(image(f.private_data as source).subarray(pos)),
  release: (_inode, f) => { kvm_put_kvm((f.private_data as source).vm); },
};

function open(s: source, name: string): number {
  const fd = anon_inode_getfd(name, fops, s, O_CLOEXEC);
  if (fd < 0) return fd;
  fd_lookup(current().files!, fd)!.f_mode |= FMODE_PREAD;
  kvm_get_kvm(s.vm);
  return fd;
}
export const kvm_vm_ioctl_get_stats_fd = (vm: kvm): number =>
  open({ vm, id: `kvm-${vm.debugfs_name}`, names: vm_stat_names, value: (name) => vm.stat[name as (typeof vm_stat_names)[number]] }, 'kvm-vm-stats');
export const kvm_vcpu_ioctl_get_stats_fd = (vcpu: kvm_vcpu): number =>
  open({ vm: vcpu.kvm, id: `kvm-${vcpu.kvm.debugfs_name}/vcpu-${vcpu.vcpu_id}`, names: vcpu_stat_names, value: (name) => vcpu.stat[name as (typeof vcpu_stat_names)[number]] }, `kvm-vcpu-stats:${vcpu.vcpu_id}`);
