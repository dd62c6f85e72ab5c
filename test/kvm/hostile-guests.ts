/** Hostile guests in numbers, and the check that neither EPT nor shadow tables ever lead outside their memory slots. */
import assert from 'node:assert/strict';
import { current, machine } from '../../kernel/exports.ts';
import { type kvm, kvm_state } from '../../kvm/kvm_host.ts';
import { entry_at, gfn_of_entry, is_mmio_spte } from '../../kvm/mmu/shadow-page.ts';
import { boot } from '../support/boot.ts';
import { benchGuests, guestFiles } from '../qemu-lite/guests.ts';
import { type Hostility, hostileProgram } from './hostile-program.ts';

const PAGE = 4096;

/** Frames a four-level table leads to: page tables and EPT have the same shape, `present` tells their entries apart. */
function* leaves(root: number, present: number, level = 4, base = 0): Generator<{ address: number; frame: number; pages: number }> {
  const { ram } = machine();
  for (let i = 0; i < 512; i++) {
    const at = (ram.base + root * PAGE + i * 8) >>> 2;
    const low = ram.mem.u32[at]!;
    const frame = (low >>> 12) + (ram.mem.u32[at + 1]! & 0xf_ffff) * 2 ** 20;
    const address = base + i * PAGE * 512 ** (level - 1);
    if ((low & present) === 0) continue;
    if (level === 1 || (low & 0x80) !== 0) yield { address, frame, pages: 512 ** (level - 1) };
    else yield* leaves(frame, present, level - 1, address);
  }
}

/** Every frame EPT gives to a guest is the one that the memory slot's user page lies in. */
function checkTables(vm: kvm, counted: { leaves: number }): void {
  const user = new Map<number, number>();
  for (const { address, frame, pages } of leaves(current().mm!.pgd, 1)) for (let i = 0; i < pages; i++) user.set(address / PAGE + i, frame + i);
  vm.arch.tdp_roots.forEach((root, as) => {
    if (root === 0) return;
    for (const { address, frame, pages } of leaves(root, 1)) {
      for (let i = 0; i < pages; i++) {
        const gfn = address / PAGE + i;
        const slot = vm.memslots[as]!.slots.find((s) => gfn >= s.base_gfn && gfn < s.base_gfn + s.npages);
        assert.ok(slot !== undefined, `guest frame ${gfn} is mapped and in no slot`);
        assert.equal(frame + i, user.get(slot.userspace_addr / PAGE + gfn - slot.base_gfn), `guest frame ${gfn}`);
        counted.leaves++;
      }
    }
  });
}

/** The same of every shadow page: what an entry maps is the frame of the guest's it was made for, writable only in slots that are. */
function checkShadow(vm: kvm, counted: { leaves: number }): void {
  const user = new Map<number, number>();
  for (const { address, frame, pages } of leaves(current().mm!.pgd, 1)) for (let i = 0; i < pages; i++) user.set(address / PAGE + i, frame + i);
  const words = vm.mem.u32;
  for (const sp of vm.arch.shadow.active_mmu_pages) {
    for (let i = 0; i < 512; i++) {
      const at = entry_at(vm, sp, i);
      const low = words[at]!;
      if ((low & 1) === 0 || is_mmio_spte(low, words[at + 1]!)) continue;
      if (sp.role.level > 1 && (low & 0x80) === 0) {
        assert.ok(vm.arch.shadow.by_pfn.has(low >>> 12), 'an entry leads to a table that is no shadow page');
        continue;
      }
      for (let n = 0; n < 512 ** (sp.role.level - 1); n++) {
        const gfn = gfn_of_entry(sp, i) + n;
        const slot = vm.memslots[sp.role.as_id]!.slots.find((s) => gfn >= s.base_gfn && gfn < s.base_gfn + s.npages);
        assert.ok(slot !== undefined, `guest frame ${gfn} is mapped and in no slot`);
        assert.equal((low >>> 12) + n, user.get(slot.userspace_addr / PAGE + gfn - slot.base_gfn), `guest frame ${gfn}`);
        assert.ok((low & 2) === 0 || (slot.flags & 2) === 0, `guest frame ${gfn} is read-only`);
        counted.leaves++;
      }
    }
  }
}

/**
 * Runs so many hostile guests, one after the other, beside a guest that computes, and tells of those that got beyond their memory.
 * `threshold`: of HotTier, if not the usual, which code that runs so shortly does not reach.
 */
export function hostileGuests(guests: number, seed: number, parameters = 'ept=1', threshold?: number): readonly string[] {
  const neighbour = benchGuests('tiny').find((guest) => guest.name === 'sha256.32')!;
  const counted = { leaves: 0 };
  const h: Hostility = { seed, guests, check: () => { for (const vm of kvm_state().vm_list) if (vm.mm === current().mm) (parameters === 'ept=0' ? checkShadow : checkTables)(vm, counted); }, leaks: [], exits: new Map(), runs: 0, interrupted: 0, done: false };
  const { system, port } = boot({ init: ['-c', `rmmod kvm_intel; modprobe kvm_intel ${parameters}; qemu-lite -nographic -kernel ${neighbour.path} < /dev/null & hostile; wait $!`], programs: [hostileProgram(h)], cpus: 1, files: guestFiles('tiny', [neighbour]), prepare: ({ machine: m }) => {
    if (threshold === undefined) return;
    m.startEngine();
    m.engine.code.hot.threshold = threshold;
  } });
  const state = system.machine.run(3600 * system.cyclesPerMs * 1000);
  assert.equal(state, 'off', port.output);
  assert.ok(h.done, port.output);
  assert.ok(port.output.includes(neighbour.checksum), port.output);
  assert.equal(system.machine.status, 33);
  console.log(`hostile guests: ${h.runs} runs, ${h.interrupted} interrupted, ${counted.leaves} frames checked, exits ${JSON.stringify([...h.exits])}`);
  assert.ok(counted.leaves > h.guests && h.exits.size >= 5, JSON.stringify([...h.exits]));
  return h.leaks;
}
