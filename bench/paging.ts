/**
 * The same guests on bare silicon, with EPT and with shadow paging: cycles, exits and page faults that KVM served. What a
 * guest does to its page tables decides which of the two dimensions is cheaper.
 */
import { type PagingResult, onSilicon, underKvm } from '../test/kvm/mmu/paging-run.ts';
import { MODES, pagingImage, steadyImage } from '../test/kvm/mmu/paging-scripts.ts';

export interface PagingRow { readonly name: string; readonly silicon: PagingResult; readonly ept: PagingResult; readonly shadow: PagingResult }

export function timePaging(): readonly PagingRow[] {
  const guests = MODES.filter(({ name }) => ['32-bit', 'PAE', '4-level'].includes(name)).flatMap((mode) => [
    { name: `${mode.name}: tables that change`, image: pagingImage(mode, 1, 2000) },
    { name: `${mode.name}: 2,000 loads of CR3`, image: steadyImage(mode, 'switches', 2000) },
    { name: `${mode.name}: 4,000 TLB misses`, image: steadyImage(mode, 'misses', 2000) },
  ]);
  const ept = underKvm(guests.map((g) => g.image), 'ept=1');
  const shadow = underKvm(guests.map((g) => g.image), 'ept=0');
  return guests.map(({ name, image }, i) => ({ name, silicon: onSilicon(image), ept: ept[i]!, shadow: shadow[i]! }));
}
