/**
 * The `format` file of a trace point: where each field lies in a binary record, and how a record is printed. Made from the
 * declaration. Linux: kernel/trace/trace_events.c (f_show), Documentation/trace/events.rst
 */
import type { Tracepoint } from './tracepoint.ts';

type FieldType = Exclude<Tracepoint['fields'][string], `word ${string}`>;
interface Layout {
  /** The declaration in C around the field's name. */
  readonly before: string; readonly after: string;
  readonly size: number; readonly signed: 0 | 1;
  /** How the field is printed when the declaration does not say. */
  readonly conversion: string;
}

const scalar = (type: string, size: number, signed: 0 | 1, conversion: string): Layout => ({ before: `${type} `, after: '', size, signed, conversion });
const layouts: Readonly<Record<FieldType, Layout>> = {
  'char[16]': { before: 'char ', after: '[16]', size: 16, signed: 0, conversion: '%s' },
  // a text of any length: the record holds where in it the text lies
  'const char *': scalar('__data_loc char[]', 4, 0, '%s'),
  int: scalar('int', 4, 1, '%d'),
  bool: scalar('bool', 1, 0, '%d'),
  s8: scalar('s8', 1, 1, '%d'),
  u8: scalar('u8', 1, 0, '%u'),
  u16: scalar('u16', 2, 0, '%u'),
  u32: scalar('u32', 4, 0, '%u'),
  'unsigned int': scalar('unsigned int', 4, 0, '%u'),
  long: scalar('long', 8, 1, '%ld'),
  'unsigned long': scalar('unsigned long', 8, 0, '0x%lx'),
  u64: scalar('u64', 8, 0, '0x%llx'),
  'u8[15]': { before: 'u8 ', after: '[15]', size: 15, signed: 0, conversion: '%s' },
  'unsigned long[6]': { before: 'unsigned long ', after: '[6]', size: 48, signed: 0, conversion: '%lx' },
};

const layoutOf = (type: Tracepoint['fields'][string]): Layout => (type.startsWith('word ') ? scalar(type.slice('word '.length), 8, 0, '0x%lx') : layouts[type as FieldType]);

/** What every record begins with. */
const common: readonly (readonly [name: string, layout: Layout])[] = [
  ['common_type', scalar('unsigned short', 2, 0, '%u')],
  ['common_flags', scalar('unsigned char', 1, 0, '%u')],
  ['common_preempt_count', scalar('unsigned char', 1, 0, '%u')],
  ['common_pid', scalar('int', 4, 1, '%d')],
];

function fieldLines(fields: readonly (readonly [name: string, layout: Layout])[], start: number): { text: string; end: number } {
  let at = start;
  let text = '';
  for (const [name, { before, after, size, signed }] of fields) {
    const alignment = after === '' ? size : before === 'unsigned long ' ? 8 : 1;
    at = Math.ceil(at / alignment) * alignment;
    text += `\tfield:${before}${name}${after};\toffset:${at};\tsize:${size};\tsigned:${signed};\n`;
    at += size;
  }
  return { text, end: at };
}

/** Name and value of each field, for a point that was declared without a print format. */
function plainPrintFmt(point: Tracepoint): string {
  const fields = Object.entries(point.fields);
  const format = fields.map(([name, type]) => `${name}=${layoutOf(type).conversion}`).join(' ');
  return [`"${format}"`, ...fields.map(([name, type]) => (type === 'const char *' ? `__get_str(${name})` : `REC->${name}`))].join(', ');
}

export function formatText(point: Tracepoint, id: number): string {
  const head = fieldLines(common, 0);
  const own = fieldLines(Object.entries(point.fields).map(([name, type]) => [name, layoutOf(type)] as const), head.end);
  return `name: ${point.name}\nID: ${id}\nformat:\n${head.text}\n${own.text}\nprint fmt: ${point.print_fmt ?? plainPrintFmt(point)}\n`;
}
