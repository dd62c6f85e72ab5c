/**
 * `-c`: how often each call was made, how often it failed, and how long it took.
 */
import { sprintf } from '../libc.ts';

interface Count { calls: number; errors: number; ns: bigint }

export class Summary {
  private readonly counts = new Map<string, Count>();

  add(name: string, ns: bigint, failed: boolean): void {
    const count = this.counts.get(name) ?? { calls: 0, errors: 0, ns: 0n };
    count.calls++;
    count.ns += ns;
    if (failed) count.errors++;
    this.counts.set(name, count);
  }

  /** The table, the costliest call first. */
  table(): string {
    const rows = [...this.counts].sort(([a, x], [b, y]) => Number(y.ns - x.ns) || y.calls - x.calls || (a < b ? -1 : 1));
    const total: Count = { calls: 0, errors: 0, ns: 0n };
    for (const [, c] of rows) {
      total.calls += c.calls;
      total.errors += c.errors;
      total.ns += c.ns;
    }
    const line = (name: string, c: Count): string => {
      const share = total.ns === 0n ? 0 : (Number(c.ns) / Number(total.ns)) * 100;
      return sprintf('%6.2f %11.6f %11d %9d %9s %s\n', share, Number(c.ns) / 1e9, Math.floor(Number(c.ns) / 1000 / Math.max(1, c.calls)), c.calls, c.errors > 0 ? String(c.errors) : '', name);
    };
    const rule = '------ ----------- ----------- --------- --------- ----------------\n';
    return `% time     seconds  usecs/call     calls    errors syscall\n${rule}${rows.map(([name, c]) => line(name, c)).join('')}${rule}${line('total', total)}`;
  }
}
