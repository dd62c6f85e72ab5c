/**
 * KVM_GET_STATS_FD: counters in a file that describes itself.
 *
 * Linux: virt/kvm/binary_stats.c, Documentation/virt/kvm/api.rst 4.133
 */
import { O_CLOEXEC } from '../abi/fcntl.ts';
import * as K from '../abi/kvm/index.ts';
import { FMODE_PREAD, FMODE_STREAM, anon_inode_getfd, current, fd_lookup, type file, type file_operations } from '../kernel/exports.ts';
import { kvm_get_kvm, kvm_put_kvm } from './kvm_main.ts';
import { type kvm, type kvm_vcpu, vcpu_stat_names, vm_stat_names } from './kvm_host.ts';

const NAME_SIZE = 48;
/** What is no plain sum. */
const LEVELS = new Set(['mmu_unsync', 'pages_4k', 'pages_2m', 'pages_1g', 'nx_lpage_splits']);
const PEAKS = new Set(['max_mmu_rmap_size', 'max_mmu_page_hash_collisions']);
const BOOLEANS = new Set(['blocking', 'guest_mode']);
const is_time = (name: string): boolean => name.endsWith('_ns') || name.endsWith('_hist');

function flags_of(name: string): number {
  if (name.endsWith('_hist')) return K.KVM_STATS_TYPE_LOG_HIST | K.KVM_STATS_UNIT_SECONDS;
  if (is_time(name)) return K.KVM_STATS_TYPE_CUMULATIVE | K.KVM_STATS_UNIT_SECONDS;
  if (BOOLEANS.has(name)) return K.KVM_STATS_TYPE_INSTANT | K.KVM_STATS_UNIT_BOOLEAN;
  return PEAKS.has(name) ? K.KVM_STATS_TYPE_PEAK : LEVELS.has(name) ? K.KVM_STATS_TYPE_INSTANT : K.KVM_STATS_TYPE_CUMULATIVE;
}

/** A file's contents: names in order, and one value of each or several. */
interface source { readonly vm: kvm; readonly id: string; readonly names: readonly string[]; readonly values: (name: string) => readonly number[] | Float64Array }

/** The whole file as it is now: header, name, descriptors, values. */
function image(s: source): Uint8Array {
  const desc = K.kvm_stats_desc.size + NAME_SIZE;
  const id_offset = K.kvm_stats_header.size;
  const desc_offset = id_offset + NAME_SIZE;
  const data_offset = desc_offset + desc * s.names.length;
  const values = s.names.map(s.values);
  const bytes = new Uint8Array(data_offset + 8 * values.reduce((n, v) => n + v.length, 0));
  const view = new DataView(bytes.buffer);
  const text = (at: number, name: string) => { for (let i = 0; i < name.length; i++) bytes[at + i] = name.charCodeAt(i); };
  [0, NAME_SIZE, s.names.length, id_offset, desc_offset, data_offset].forEach((value, i) => { view.setUint32(4 * i, value, true); });
  text(id_offset, s.id);
  let offset = 0;
  s.names.forEach((name, i) => {
    const at = desc_offset + i * desc;
    const of = values[i]!;
    view.setUint32(at, flags_of(name), true);
    view.setInt16(at + 4, is_time(name) ? -9 : 0, true);
    view.setUint16(at + 6, of.length, true);
    view.setUint32(at + 8, offset, true);
    text(at + 16, name);
    for (const value of of) {
      view.setBigUint64(data_offset + offset, BigInt(Math.floor(value)), true);
      offset += 8;
    }
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
  const f = fd_lookup(current().files!, fd)!;
  f.f_mode = (f.f_mode & ~FMODE_STREAM) | FMODE_PREAD;
  kvm_get_kvm(s.vm);
  return fd;
}
const vm_names = [...vm_stat_names].sort((a, b) => Number(b.startsWith('remote_')) - Number(a.startsWith('remote_')));
export const kvm_vm_ioctl_get_stats_fd = (vm: kvm): number =>
  open({ vm, id: `kvm-${vm.debugfs_name}`, names: vm_names, values: (name) => [vm.stat[name as (typeof vm_stat_names)[number]]] }, 'kvm-vm-stats');

type hist = 'halt_poll_success_hist' | 'halt_poll_fail_hist' | 'halt_wait_hist';
/** Linux has the histograms behind the sums they belong to. */
const vcpu_names = vcpu_stat_names.flatMap((name) =>
  name === 'halt_poll_fail_ns' ? [name, 'halt_poll_success_hist', 'halt_poll_fail_hist'] : name === 'halt_wait_ns' ? [name, 'halt_wait_hist'] : [name]);
export const kvm_vcpu_ioctl_get_stats_fd = (vcpu: kvm_vcpu): number => open({
  vm: vcpu.kvm, id: `kvm-${vcpu.kvm.debugfs_name}/vcpu-${vcpu.vcpu_id}`, names: vcpu_names,
  values: (name) => (name.endsWith('_hist') ? vcpu[name as hist] : [vcpu.stat[name as (typeof vcpu_stat_names)[number]]]),
}, `kvm-vcpu-stats:${vcpu.vcpu_id}`);
