/**
 * `-e trace=…`: which calls are shown; by name, by group, or all but those after a `!`.
 */
import { type Signature, syscall_signatures } from '../../abi/syscall-signatures.ts';

const has = (...kinds: string[]) => (s: Signature): boolean => s.args.some((a) => kinds.includes(a.kind));
const named = (pattern: RegExp) => (s: Signature): boolean => pattern.test(s.name);

const GROUPS: Readonly<Record<string, (s: Signature) => boolean>> = {
  file: has('path'),
  desc: has('fd', 'dirfd'),
  process: named(/^(fork|vfork|clone3?|execve|exit|exit_group|wait4|waitid|kill|tkill|tgkill)$/),
  signal: named(/^(rt_sig|kill$|tkill$|tgkill$|sigaltstack$|pause$|signalfd)/),
  memory: named(/^(mmap|munmap|mprotect|mremap|brk|madvise|msync|mincore|mlock|munlock)$/),
  clock: named(/^(clock_|gettimeofday|time$|nanosleep)/),
  all: () => true,
  none: () => false,
};

/** A test on names; a string says which name is none. */
export function parseTrace(list: string): ((name: string) => boolean) | string {
  const negated = list.startsWith('!');
  const names = new Set<string>();
  for (const item of (negated ? list.slice(1) : list).split(',')) {
    const group = GROUPS[item.replace(/^%/, '')];
    if (group) for (const s of syscall_signatures.filter(group)) names.add(s.name);
    else if (item.startsWith('/')) for (const s of syscall_signatures.filter(named(new RegExp(item.slice(1).replace(/\/$/, ''))))) names.add(s.name);
    else if (syscall_signatures.some((s) => s.name === item)) names.add(item);
    else return item;
  }
  return (name) => names.has(name) !== negated;
}
