/**
 * Text on a terminal: how wide it is, and names set in columns.
 */

const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}]/u;
const COMBINING = /\p{M}/u;
/** Terminal columns of a text: two for the wide characters of East Asia and for pictures. */
export const columns = (text: string): number => [...text].reduce((sum, c) => sum + (WIDE.test(c) ? 2 : COMBINING.test(c) ? 0 : 1), 0);

/** Names in as many columns as fit, down first, as ls prints them. */
export function inColumns(names: readonly string[], width: number): string {
  const cell = names.reduce((most, name) => Math.max(most, columns(name)), 0) + 2;
  const across = Math.max(1, Math.floor(width / cell));
  const rows = Math.ceil(names.length / across);
  let out = '';
  for (let r = 0; r < rows; r++) {
    const line: string[] = [];
    for (let c = 0; c * rows + r < names.length; c++) line.push(names[c * rows + r] ?? '');
    out += `${line.map((name, i) => (i < line.length - 1 ? name + ' '.repeat(cell - columns(name)) : name)).join('')}\n`;
  }
  return out;
}
