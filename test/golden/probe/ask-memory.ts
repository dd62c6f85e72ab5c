/** Questions about memory slots and dirty logs. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { munmap, loadBytes } from '../../../userland/libc.ts';
import { anon, make, mk, rm, words } from './machine.ts';
import type { Recorder } from './recorder.ts';

/** id, slot, flags, guest address, size, offset of the memory in our mapping (a bigint is an address), in words. */
type Region = readonly [id: string, slot: number, flags: number, gpa: bigint, size: bigint, hva: number | bigint, desc: string];
const FIRST: readonly Region[] = [
  ['ok', 0, 0, 0n, 0x10000n, 0, 'slot0 gpa0 64K'], ['same_again', 0, 0, 0n, 0x10000n, 0, 'identical again'], ['grow', 0, 0, 0n, 0x20000n, 0, 'same slot, larger size'],
  ['shrink', 0, 0, 0n, 0x8000n, 0, 'same slot, smaller size'], ['newhva', 0, 0, 0n, 0x10000n, 0x10000, 'same slot, other hva'], ['move', 0, 0, 0x100000n, 0x10000n, 0, 'same slot moved to 1M'],
  ['moveback', 0, 0, 0n, 0x10000n, 0, 'moved back to 0'], ['flag_on', 0, 1, 0n, 0x10000n, 0, 'LOG_DIRTY on'], ['flag_off', 0, 0, 0n, 0x10000n, 0, 'LOG_DIRTY off'],
  ['ro_toggle', 0, 2, 0n, 0x10000n, 0, 'READONLY on an existing slot'], ['badflag4', 1, 4, 0x100000n, 0x1000n, 0, 'flags=4'], ['badflag_hi', 1, 0x80000000, 0x100000n, 0x1000n, 0, 'flags=0x80000000'],
  ['ro_new', 1, 2, 0x100000n, 0x1000n, 0, 'new READONLY slot'], ['ro_dirty', 2, 3, 0x102000n, 0x1000n, 0, 'READONLY|LOG_DIRTY'], ['ro_off', 1, 0, 0x100000n, 0x1000n, 0, 'READONLY cleared on existing slot'],
  ['unaligned_size', 3, 0, 0x200000n, 0x1001n, 0, 'size=0x1001'], ['small_size', 3, 0, 0x200000n, 0x800n, 0, 'size=0x800'], ['unaligned_gpa', 3, 0, 0x200001n, 0x1000n, 0, 'gpa=0x200001'],
  ['unaligned_hva', 3, 0, 0x200000n, 0x1000n, 1, 'hva+1'], ['kernel_hva', 3, 0, 0x200000n, 0x1000n, 0xffff888000000000n, 'hva=kernel address'], ['null_hva', 3, 0, 0x200000n, 0x1000n, 0n, 'hva=0 (unmapped)'],
  ['null_hva_del', 3, 0, 0x200000n, 0n, 0n, 'delete it'], ['overlap_exact', 4, 0, 0n, 0x10000n, 0, 'overlaps slot0 exactly'], ['overlap_part', 4, 0, 0xf000n, 0x2000n, 0, 'overlaps the last page of slot0'],
  ['adjacent', 4, 0, 0x10000n, 0x1000n, 0, 'adjacent above slot0'], ['del', 4, 0, 0x10000n, 0n, 0, 'delete slot4'], ['del_again', 4, 0, 0x10000n, 0n, 0, 'delete slot4 again'],
  ['del_unknown', 9, 0, 0n, 0n, 0n, 'delete a slot never made'], ['del_badgpa', 0, 0, 0x5000n, 0n, 0, 'delete slot0 giving another gpa'], ['del_unaligned_gpa', 1, 0, 0x123n, 0n, 0, 'delete with unaligned gpa'],
  ['wrap', 5, 0, 0xfffffffffffff000n, 0x2000n, 0, 'gpa+size wraps'], ['wrap0', 5, 0, 0xfffffffffffff000n, 0x1000n, 0, 'gpa+size==2^64'], ['gpa_52', 5, 0, 1n << 52n, 0x1000n, 0, 'gpa=2^52'],
  ['gpa_40', 6, 0, 1n << 40n, 0x1000n, 0, 'gpa=2^40'], ['gpa_45', 11, 0, 1n << 45n, 0x1000n, 0, 'gpa=2^45'], ['hva_wrap', 7, 0, 0x300000n, 0x1000n, 0xfffffffffffff000n, 'hva wraps'],
  ['slot32767', 32767, 0, 0x400000n, 0x1000n, 0, 'slot=32767'], ['slot32763', 32763, 0, 0x401000n, 0x1000n, 0, 'slot=32763'], ['slot32764', 32764, 0, 0x402000n, 0x1000n, 0, 'slot=32764'],
  ['slot65535', 65535, 0, 0x403000n, 0x1000n, 0, 'slot=65535'], ['as1', 1 << 16, 0, 0x500000n, 0x1000n, 0, 'address space 1 (SMM)'], ['as2', 2 << 16, 0, 0x500000n, 0x1000n, 0, 'address space 2'],
  ['hugesize', 8, 0, 0x10000000n, 1n << 43n, 0, 'size=2^43 (npages>2^31)'], ['npages_max', 8, 0, 0x10000000n, 0x7fffffffn << 12n, 0, 'npages=2^31-1'],
];

export function* askMemory(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, {});
  const p = yield* anon(16 << 20);
  const region = yield* make(K.kvm_userspace_memory_region);
  const set = function* set([id, slot, flags, gpa, size, hva, desc]: Region): Sys {
    region.slot = slot;
    region.flags = flags;
    region.guest_phys_addr = gpa;
    region.memory_size = size;
    region.userspace_addr = typeof hva === 'bigint' ? hva : BigInt(p + hva);
    yield* q.ask(`mem.${id}`, 'vm', m.vm, 'KVM_SET_USER_MEMORY_REGION', desc, region);
  };
  for (const r of FIRST) yield* set(r);
  yield* q.ask('mem.null', 'vm', m.vm, 'KVM_SET_USER_MEMORY_REGION', 'NULL', 0);

  const bitmap = yield* words(...Array.from({ length: 64 }, () => 0n));
  const log = yield* make(K.kvm_dirty_log, { dirty_bitmap: BigInt(bitmap) });
  const dirty = function* dirty(id: string, desc: string): Sys { yield* q.ask(`dirty.${id}`, 'vm', m.vm, 'KVM_GET_DIRTY_LOG', desc, log); };
  yield* set(['readd', 0, 0, 0n, 0x10000n, 0, 'slot0 again']);
  yield* dirty('noflag', 'slot without LOG_DIRTY');
  log.slot = 77;
  yield* dirty('noslot', 'slot 77 absent');
  log.slot = 40000;
  yield* dirty('slotrange', 'slot 40000');
  log.slot = 5 << 16;
  yield* dirty('as5', 'address space 5');
  yield* set(['dirty_on', 0, 1, 0n, 0x10000n, 0, 'LOG_DIRTY on']);
  log.slot = 0;
  yield* dirty('empty', 'no writes');
  q.hex('bitmap', loadBytes(bitmap, 8));
  log.dirty_bitmap = 8n;
  yield* dirty('badptr', 'bitmap=(void*)8');
  const clear = yield* make(K.kvm_clear_dirty_log, { num_pages: 16, dirty_bitmap: BigInt(bitmap) });
  const cleared = function* cleared(id: string, desc: string, n: number, first: bigint): Sys {
    clear.num_pages = n;
    clear.first_page = first;
    yield* q.ask(`dirty.${id}`, 'vm', m.vm, 'KVM_CLEAR_DIRTY_LOG', desc, clear);
  };
  yield* cleared('clear.nocap', 'without MANUAL_PROTECT2', 16, 0n);
  const cap = yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 });
  for (const [id, value] of [['', 1n], ['.2', 2n], ['.8', 8n]] as const) {
    cap.args.set(0, value);
    yield* q.ask(`dirty.enable_manual${id}`, 'vm', m.vm, 'KVM_ENABLE_CAP', `MANUAL_DIRTY_LOG_PROTECT2 ${value}`, cap);
  }
  yield* cleared('clear', '16 pages of 16', 16, 0n);
  yield* cleared('clear.n10', '10 pages of 16', 10, 0n);
  yield* cleared('clear.n64', '64 pages of 16', 64, 0n);
  yield* cleared('clear.first1', 'first_page=1', 16, 1n);
  yield* cleared('clear.first64', 'first_page=64 beyond', 16, 64n);

  const two = yield* make(K.kvm_userspace_memory_region2, { slot: 3, guest_phys_addr: 0x700000n, memory_size: 0x1000n, userspace_addr: BigInt(p) });
  yield* q.ask('mem2.ok', 'vm', m.vm, '_IOW(KVMIO, 0x49, u8[160])', 'KVM_SET_USER_MEMORY_REGION2', two, 0x40a0ae49);
  two.slot = 4;
  two.guest_phys_addr = 0x800000n;
  two.flags = 4;
  two.guest_memfd = 0xffffffff;
  yield* q.ask('mem2.guest_memfd_badfd', 'vm', m.vm, '_IOW(KVMIO, 0x49, u8[160])', 'flags=GUEST_MEMFD fd=-1', two, 0x40a0ae49);
  yield* rm(m);
  yield* munmap(p, 16 << 20);
}
