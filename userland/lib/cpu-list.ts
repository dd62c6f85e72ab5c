/** Sets of processors as the kernel's lists (`0,2-4`) and masks (`1d`). */

/** The mask of a list; undefined when it is none. */
export function parseList(text: string): bigint | undefined {
  let mask = 0n;
  for (const range of text.split(',')) {
    const found = /^(\d+)(?:-(\d+)(?::(\d+))?)?$/.exec(range);
    if (!found) return undefined;
    const first = Number(found[1]);
    const last = Number(found[2] ?? first);
    const step = Number(found[3] ?? 1);
    if (last < first || last > 1023 || step < 1) return undefined;
    for (let cpu = first; cpu <= last; cpu += step) mask |= 1n << BigInt(cpu);
  }
  return mask;
}

export function parseMask(text: string): bigint | undefined {
  const digits = text.replace(/^0x/i, '').replaceAll(',', '');
  return /^[0-9a-fA-F]+$/.test(digits) ? BigInt(`0x${digits}`) : undefined;
}

export function formatList(mask: bigint): string {
  const ranges: string[] = [];
  for (let cpu = 0; mask >> BigInt(cpu) !== 0n; cpu++) {
    if (((mask >> BigInt(cpu)) & 1n) === 0n) continue;
    const first = cpu;
    while (((mask >> BigInt(cpu + 1)) & 1n) === 1n) cpu++;
    ranges.push(first === cpu ? String(first) : `${first}-${cpu}`.replace(/^(\d+)-(\d+)$/, (all, a: string, b: string) => (Number(b) - Number(a) === 1 ? `${a},${b}` : all)));
  }
  return ranges.join(',');
}
