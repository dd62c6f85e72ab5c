/**
 * The filter of a trace point: a condition on the fields of a record, as `vcpu_id == 1 && (exit_reason != 12 || info1 & 8)`.
 * Linux: kernel/trace/trace_events_filter.c, Documentation/trace/events.rst
 */
import type { TraceRecord } from './ring-buffer.ts';
import type { Tracepoint } from './tracepoint.ts';

export type Predicate = (record: TraceRecord) => boolean;

const TOKEN = /\s*(&&|\|\||[=!<>]=|[<>&~!()]|"[^"]*"|'[^']*'|-?0[xX][\da-fA-F]+|-?\d+|[\w*?[\]./-]+)/y;
/** Deeper parentheses than anybody writes; each is a call. */
const DEEPEST = 100;

const numeric: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '==': (a, b) => a === b, '!=': (a, b) => a !== b, '<': (a, b) => a < b, '<=': (a, b) => a <= b, '>': (a, b) => a > b, '>=': (a, b) => a >= b, '&': (a, b) => (a & b) !== 0n,
};

/** A shell pattern with * and ? as a test. */
function glob(pattern: string): (text: string) => boolean {
  const regexp = new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*+/g, '.*').replaceAll('?', '.')}$`, 's');
  return (text) => regexp.test(text);
}

/** A value to compare; Linux has no filters on arrays of numbers either. */
const scalarOf = (value: TraceRecord['values'][string] | undefined): number | bigint | string => (value === undefined || typeof value === 'object' ? 0 : value);

/** What a name means: a field of the trace point, or of every record; and whether it is text. */
function fieldOf(point: Tracepoint, name: string): { readonly text: boolean; readonly get: (record: TraceRecord) => number | bigint | string } | undefined {
  if (name === 'common_pid') return { text: false, get: (record) => record.pid };
  const type = Object.hasOwn(point.fields, name) ? point.fields[name] : undefined;
  if (type !== undefined && !type.endsWith('[6]') && !type.endsWith('[15]')) {
    return { text: type === 'char[16]' || type === 'const char *', get: (record) => scalarOf(record.values[name]) };
  }
  if (name === 'CPU' || name === 'cpu') return { text: false, get: (record) => record.cpu };
  if (name === 'COMM' || name === 'comm') return { text: true, get: (record) => record.comm };
  return undefined;
}

class Parser {
  private readonly point: Tracepoint;
  private readonly tokens: readonly string[];
  private at = 0;
  private depth = 0;
  constructor(point: Tracepoint, tokens: readonly string[]) {
    this.point = point;
    this.tokens = tokens;
  }

  whole(): Predicate | undefined {
    const predicate = this.or();
    return this.at === this.tokens.length ? predicate : undefined;
  }

  private accept(token: string): boolean {
    if (this.tokens[this.at] !== token) return false;
    this.at++;
    return true;
  }

  private or(): Predicate | undefined {
    const terms = [this.and()];
    while (this.accept('||')) terms.push(this.and());
    return terms.includes(undefined) ? undefined : (record) => terms.some((term) => term?.(record));
  }

  private and(): Predicate | undefined {
    const terms = [this.not()];
    while (this.accept('&&')) terms.push(this.not());
    return terms.includes(undefined) ? undefined : (record) => terms.every((term) => term?.(record));
  }

  private not(): Predicate | undefined {
    let negated = false;
    while (this.accept('!')) negated = !negated;
    const inner = this.accept('(') ? this.parenthesized() : this.comparison();
    return inner && negated ? (record) => !inner(record) : inner;
  }

  private parenthesized(): Predicate | undefined {
    if (++this.depth > DEEPEST) return undefined;
    const inner = this.or();
    this.depth--;
    return this.accept(')') ? inner : undefined;
  }

  private comparison(): Predicate | undefined {
    const [name = '', operator = '', operand] = this.tokens.slice(this.at, this.at + 3);
    this.at += 3;
    const field = fieldOf(this.point, name);
    if (field === undefined || operand === undefined) return undefined;
    if (field.text) {
      const value = operand.replace(/^(["'])(.*)\1$/s, '$2');
      const same = operator === '~' ? glob(value) : (text: string) => text === value;
      if (!['==', '!=', '~'].includes(operator)) return undefined;
      return (record) => same(String(field.get(record))) !== (operator === '!=');
    }
    const compare = Object.hasOwn(numeric, operator) ? numeric[operator] : undefined;
    if (compare === undefined || !/^-?(0[xX][\da-fA-F]+|\d+)$/.test(operand)) return undefined;
    const value = operand.startsWith('-') ? -BigInt(operand.slice(1)) : BigInt(operand);
    return (record) => compare(BigInt(field.get(record)), value);
  }
}

/** The condition that a text says; undefined when it is none. */
export function parseFilter(point: Tracepoint, text: string): Predicate | undefined {
  const tokens: string[] = [];
  const source = text.trimEnd();
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < source.length; ) {
    const found = TOKEN.exec(source);
    if (found === null) return undefined;
    tokens.push(found[1] ?? '');
  }
  return tokens.length > 0 ? new Parser(point, tokens).whole() : undefined;
}
