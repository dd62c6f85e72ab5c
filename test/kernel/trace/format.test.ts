/** Declarations of trace points: that what stands in C beside the text says the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../../kvm/trace.ts';
import '../../../kernel/trace/events-sched.ts';
import '../../../kernel/trace/events-syscalls.ts';
import { formatText } from '../../../kernel/trace/format.ts';
import { type Tracepoint, tracepoints } from '../../../kernel/trace/tracepoint.ts';

const sample = (point: Tracepoint): Record<string, number | bigint | string | readonly bigint[] | Uint8Array> => Object.fromEntries(Object.entries(point.fields).map(([name, type]) =>
  [name, type.startsWith('char') || type.startsWith('const char') ? 'x' : type === 'u64' || type === 'unsigned long' || type.startsWith('word ') ? 0n : type.endsWith('[15]') ? new Uint8Array(15) : type.endsWith('[6]') ? [0n, 0n, 0n, 0n, 0n, 0n] : 0]));

test('a print format names only fields of its trace point, and takes as many arguments as it has conversions', () => {
  assert.ok(tracepoints().length > 15);
  for (const point of tracepoints()) {
    const print = formatText(point, 1).split('print fmt: ')[1] ?? '';
    const format = /^"([^"]*)"/.exec(print)?.[1] ?? '';
    const rest = print.slice(format.length + 2).replace(/"[^"]*"/g, `""`);
    for (const [, name = ''] of rest.matchAll(/(?:REC->|__get_str\()(\w+)/g)) assert.ok(name in point.fields, `${point.name}: ${name}`);
    let depth = 0;
    const args = [...rest].filter((c) => {
      depth += '({'.includes(c) ? 1 : ')}'.includes(c) ? -1 : 0;
      return c === ',' && depth === 0;
    }).length;
    assert.equal(args, [...format.matchAll(/%[^%]/g)].length, `${point.name}: ${print}`);
  }
});

test('the words of a print format are those of the text', () => {
  for (const point of tracepoints()) {
    if (point.print_fmt === undefined) continue;
    const format = /^"([^"]*)"/.exec(point.print_fmt)?.[1] ?? '';
    const words = format.split(/%#?\d*l{0,2}[a-z]/).map((word) => word.replace(/0x$/, '').trim()).filter((word) => word !== '');
    const text = point.text(sample(point) as never);
    let at = 0;
    for (const word of words) {
      at = text.indexOf(word, at);
      assert.ok(at >= 0, `${point.name}: "${word}" is not in "${text}"`);
    }
  }
});
