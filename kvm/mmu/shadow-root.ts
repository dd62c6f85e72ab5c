/**
 * Roots of shadow paging: what the processor's CR3 points to while a guest runs.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (mmu_alloc_shadow_roots, mmu_alloc_direct_roots, kvm_mmu_load)
 *
 * A guest in long mode is run on four levels. All others are run with PAE paging, whatever they believe: four top
 * entries in a frame of the vCPU, each with a shadow page below it.
 */
import { ENOMEM, ENOSPC } from '../../abi/errno.ts';
import { PAGE_SIZE, __get_free_zeroed, put_page } from '../../kernel/exports.ts';
import { type kvm, type kvm_vcpu, is_long_mode, is_pae, is_paging, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_x86 } from '../kvm_host.ts';
import { kvm_arch_vcpu_memslots_id } from '../memslots.ts';
import { ACC_ALL } from './paging.ts';
import {
  PT_PRESENT, ROLE_NX, ROLE_SMAP_ANDNOT_WP, ROLE_SMEP_ANDNOT_WP, ROLE_WP, get_root, type kvm_mmu_page, kvm_mmu_find_or_alloc, kvm_mmu_prepare_zap_page, kvm_mmu_zap_oldest, make_mmu_pages_available, put_root,
} from './shadow-page.ts';
import { kvm_mmu_sync_roots, kvm_sync_page } from './shadow-sync.ts';

export const shadow_root_level = (vcpu: kvm_vcpu): number => (is_long_mode(vcpu) && is_paging(vcpu) ? 4 : 3);

/** What the meaning of an entry depends on beside the table's place. */
function cpu_role(vcpu: kvm_vcpu): number {
  if (!is_paging(vcpu)) return 0;
  const wp = (kvm_read_cr0(vcpu) & 0x10000n) !== 0n;
  const cr4 = kvm_read_cr4(vcpu);
  return (wp ? ROLE_WP : 0) | ((vcpu.arch.efer & 0x800n) !== 0n ? ROLE_NX : 0) | (!wp && (cr4 & 0x100000n) !== 0n ? ROLE_SMEP_ANDNOT_WP : 0) | (!wp && (cr4 & 0x200000n) !== 0n ? ROLE_SMAP_ANDNOT_WP : 0);
}

/** The roots of the address space the vCPU is in now are looked up again before it enters the guest. */
export function kvm_mmu_unload(vcpu: kvm_vcpu): void {
  const { mmu } = vcpu.arch;
  mmu.root = 0;
  for (const sp of mmu.roots) if (sp !== undefined) put_root(vcpu.kvm, sp);
  mmu.roots.length = 0;
}

/** The frame for the processor's CR3: known, or looked up and brought into step with the guest's tables. -ENOMEM, -ENOSPC. */
export function kvm_mmu_load(vcpu: kvm_vcpu): number {
  const { mmu } = vcpu.arch;
  if (mmu.root !== 0) {
    if (mmu.roots.every((sp) => sp === undefined || sp.valid)) return mmu.root;
    kvm_mmu_unload(vcpu);
  }
  if (!make_mmu_pages_available(vcpu.kvm)) return -ENOSPC;
  kvm_mmu_sync_roots(vcpu);
  const r = shadow_root_level(vcpu) === 4 ? alloc_long_root(vcpu) : alloc_pae_roots(vcpu);
  if (r < 0) return r;
  kvm_x86.flush_tlb_current(vcpu);
  return mmu.root;
}

function root_page(vcpu: kvm_vcpu, gfn: number, level: number, direct: boolean, quadrant: number, has_4_byte_gpte: boolean): kvm_mmu_page | undefined {
  const role = { level, direct, quadrant, access: ACC_ALL, as_id: kvm_arch_vcpu_memslots_id(vcpu), cpu: cpu_role(vcpu), has_4_byte_gpte };
  return kvm_mmu_find_or_alloc(vcpu.kvm, gfn, role, (sp) => kvm_sync_page(vcpu, sp));
}
const gfn_of = (address: bigint): number => Number((address & 0x000f_ffff_ffff_f000n) >> 12n);

function alloc_long_root(vcpu: kvm_vcpu): number {
  const { mmu } = vcpu.arch;
  const sp = root_page(vcpu, gfn_of(kvm_read_cr3(vcpu)), 4, false, 0, false);
  if (sp === undefined) return -ENOMEM;
  get_root(sp);
  mmu.roots.push(sp);
  mmu.root = sp.pfn;
  return 0;
}

function alloc_pae_roots(vcpu: kvm_vcpu): number {
  const { kvm } = vcpu;
  const { mmu } = vcpu.arch;
  if (mmu.pae_root === 0) {
    const frame = __get_free_zeroed();
    if (frame < 0) return -ENOMEM;
    mmu.pae_root = frame;
  }
  const paging = is_paging(vcpu);
  const pae = is_pae(vcpu);
  for (let i = 0; i < 4; i++) {
    const at = (kvm.ram_base + mmu.pae_root * PAGE_SIZE + i * 8) >>> 2;
    kvm.mem.u32[at] = kvm.mem.u32[at + 1] = 0;
    const pdptr = paging && pae ? kvm_x86.get_pdptr(vcpu, i) : 1n;
    if ((pdptr & 1n) === 0n) {
      mmu.roots.push(undefined);
      continue;
    }
    const gfn = !paging ? i * 2 ** 18 : pae ? gfn_of(pdptr) : gfn_of(kvm_read_cr3(vcpu) & 0xffff_f000n);
    const sp = root_page(vcpu, gfn, 2, !paging, paging && !pae ? i : 0, paging && !pae);
    if (sp === undefined) return -ENOMEM;
    get_root(sp);
    mmu.roots.push(sp);
    kvm.mem.u32[at] = ((sp.pfn * PAGE_SIZE) | PT_PRESENT) >>> 0;
  }
  mmu.root = mmu.pae_root;
  return 0;
}

/** A vCPU dies. */
export function kvm_mmu_destroy(vcpu: kvm_vcpu): void {
  const { mmu } = vcpu.arch;
  kvm_mmu_unload(vcpu);
  if (mmu.pae_root !== 0) put_page(mmu.pae_root);
  mmu.pae_root = 0;
}

/** Every shadow page goes; vCPUs make new roots. */
export function kvm_mmu_zap_all(kvm: kvm): void {
  for (const sp of [...kvm.arch.shadow.active_mmu_pages]) kvm_mmu_prepare_zap_page(kvm, sp);
}

/** KVM_SET_NR_MMU_PAGES, and what follows from the slots while nobody asked: how many shadow pages there may be. */
export function kvm_mmu_change_mmu_pages(kvm: kvm, goal: number): void {
  const { arch } = kvm;
  if (arch.n_used_mmu_pages > goal) {
    kvm_mmu_zap_oldest(kvm, arch.n_used_mmu_pages - goal);
    // Roots that are in use stay.
    goal = arch.n_used_mmu_pages;
  }
  arch.n_max_mmu_pages = goal;
}
export const kvm_mmu_calculate_default_mmu_pages = (kvm: kvm): number => Math.max(64, Math.floor(kvm.nr_memslot_pages * 20 / 1000));
