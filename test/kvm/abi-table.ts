/**
 * docs/abi.md: every request and capability abi/kvm declares, and what this KVM makes of it.
 *
 * Made from the tables in kvm/ and the notes beside them. Run by itself, this file writes the document.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as caps from '../../abi/kvm/caps.ts';
import * as requests from '../../abi/kvm/ioctls.ts';
import type { Ioctl } from '../../abi/ioctl.ts';
import { kvm_vcpu_enable_caps, kvm_vm_enable_caps, kvm_vm_ioctl_check_extension, partial_caps } from '../../kvm/caps.ts';
import { kvm_dev_ioctls, kvm_vcpu_ioctls, kvm_vm_ioctls, partial_ioctls, refused_ioctls } from '../../kvm/ioctls-table.ts';

export const command = 'node --import tsx test/kvm/abi-table.ts';
const file = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const document = file('docs/abi.md');

export type Kind = 'dev' | 'vm' | 'vcpu';
const kinds: readonly Kind[] = ['dev', 'vm', 'vcpu'];
const title: Record<Kind, string> = { dev: '/dev/kvm', vm: 'A VM', vcpu: 'A vCPU' };
export const tables = { dev: kvm_dev_ioctls, vm: kvm_vm_ioctls, vcpu: kvm_vcpu_ioctls };
/** What a descriptor answers to a request it does not know. */
const unknown: Record<Kind, string> = { dev: 'EINVAL', vm: 'ENOTTY', vcpu: 'EINVAL' };
/** Requests kvm/kvm_main.ts answers before it asks a table. */
export const beforeTables: Record<Kind, readonly string[]> = { dev: ['KVM_GET_API_VERSION', 'KVM_CREATE_VM', 'KVM_GET_VCPU_MMAP_SIZE'], vm: [], vcpu: ['KVM_RUN'] };
/** Requests Linux answers on descriptors other than the one they are declared under. */
const alsoOn: Record<string, readonly Kind[]> = {
  KVM_X86_GET_MCE_CAP_SUPPORTED: ['dev'], KVM_SET_TSC_KHZ: ['vm', 'vcpu'], KVM_GET_TSC_KHZ: ['vm', 'vcpu'], KVM_ENABLE_CAP: ['vm', 'vcpu'],
  KVM_GET_SUPPORTED_HV_CPUID: ['dev', 'vcpu'], KVM_GET_STATS_FD: ['vm', 'vcpu'],
  KVM_SET_DEVICE_ATTR: ['vcpu'], KVM_GET_DEVICE_ATTR: ['dev', 'vcpu'], KVM_HAS_DEVICE_ATTR: ['dev', 'vcpu'],
};

export interface Row { readonly name: string; readonly request: Ioctl; readonly kind: Kind; readonly state: 'supported' | 'partial' | 'absent'; readonly note: string }

/** The declared requests in their order, each with the heading it stands under. */
function declared(): { name: string; request: Ioctl; home: Kind | undefined }[] {
  const found: { name: string; request: Ioctl; home: Kind | undefined }[] = [];
  const byName = new Map(Object.entries(requests) as [string, Ioctl][]);
  let home: Kind | undefined;
  for (const line of readFileSync(file('abi/kvm/ioctls.ts'), 'utf8').split('\n')) {
    const heading = /^\/\/ (.*)$/.exec(line);
    if (heading !== null) home = kinds.find((kind) => title[kind] === heading[1]);
    const name = /^export const (KVM_\w+)/.exec(line)?.[1];
    if (name !== undefined) found.push({ name, request: byName.get(name)!, home });
  }
  return found;
}

export function ioctlRows(): Row[] {
  return kinds.flatMap((kind) => declared().flatMap(({ name, request, home }): Row[] => {
    const bound = tables[kind].has(request.nr) || beforeTables[kind].includes(name);
    if (!bound && home !== kind && !alsoOn[name]?.includes(kind)) return [];
    const refused = refused_ioctls[kind][name];
    const partial = partial_ioctls[kind][name];
    if (!bound || refused !== undefined) return [{ name, request, kind, state: 'absent', note: refused ?? unknown[kind] }];
    return [{ name, request, kind, state: partial === undefined ? 'supported' : 'partial', note: partial ?? '' }];
  }));
}

export interface Cap { readonly name: string; readonly cap: number; readonly answer: number; readonly state: Row['state']; readonly note: string }

export const capRows = (): Cap[] => Object.entries(caps as unknown as Record<string, unknown>)
  .flatMap(([name, cap]) => (name.startsWith('KVM_CAP_') && typeof cap === 'number' ? [{ name, cap }] : []))
  .sort((a, b) => a.cap - b.cap)
  .map(({ name, cap }) => {
    const answer = kvm_vm_ioctl_check_extension(BigInt(cap));
    const partial = partial_caps[cap];
    return { name, cap, answer, state: partial !== undefined ? 'partial' : answer !== 0 ? 'supported' : 'absent', note: partial ?? '' };
  });

const count = (rows: readonly { state: Row['state'] }[]): string =>
  (['supported', 'partial', 'absent'] as const).map((state) => `${rows.filter((r) => r.state === state).length} ${state}`).join(', ');
const shown = (answer: number): string => (answer > 0xffff ? `0x${answer.toString(16)}` : String(answer));
const enabledBy = (cap: number): string => [...(kvm_vm_enable_caps.includes(cap) ? ['VM'] : []), ...(kvm_vcpu_enable_caps.includes(cap) ? ['vCPU'] : [])].join(', ');

export function abiTable(): string {
  const all = ioctlRows();
  const lines = [
    "# How much of KVM's interface is here", '',
    'Every request and every capability `abi/kvm/` declares for x86. "Partial" says what is missing; "absent" says what a program is answered: an errno, or 0 for',
    'a capability. The tables are made from `kvm/ioctls-table.ts`, `kvm/irqchip.ts` and `kvm/caps.ts`, and a test keeps them so;',
    `\`${command}\` writes them anew.`, '',
  ];
  for (const kind of kinds) {
    const rows = all.filter((r) => r.kind === kind);
    lines.push(`## ${title[kind]}: ${count(rows)}`, '', '| request | state | what is missing, or answered |', '|---|---|---|');
    for (const r of rows) lines.push(`| ${r.name} | ${r.state} | ${r.state === 'absent' ? `answers ${r.note}` : r.note} |`);
    lines.push('');
  }
  const rows = capRows();
  lines.push(`## Capabilities: ${count(rows)}`, '', 'The last column but one names the descriptors whose KVM_ENABLE_CAP takes the capability.', '',
    '| capability | KVM_CHECK_EXTENSION | state | KVM_ENABLE_CAP | what is missing |', '|---|---|---|---|---|');
  for (const c of rows) lines.push(`| ${c.name} | ${shown(c.answer)} | ${c.state} | ${enabledBy(c.cap)} | ${c.note} |`);
  return `${lines.join('\n').replaceAll('|  |', '| |').replaceAll('|  |', '| |')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(document, abiTable());
