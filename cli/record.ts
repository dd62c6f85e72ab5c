/**
 * --record and --replay: a run's inputs as a file of JSON lines. The first line holds the options that shape the
 * run; every further line is one input, at the exact cycle it reached the machine (terminal), or in the order it
 * was asked for (no terminal). With them a run repeats to the instruction.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { MAX_CPUS } from '../machine/machine.ts';
import type { ConsolePort } from '../machine/platform.ts';
import { MAX_RAM } from '../machine/ram.ts';
import { MAX_MHZ, MIN_MEMORY, MIN_MHZ } from './options.ts';
import { writeOut } from './platform-node.ts';

export interface RecordHead {
  readonly format: 'vitrine-record-1';
  readonly cpus: number;
  readonly memory: number;
  readonly seed: number;
  readonly mhz: number;
  readonly command: string | null;
  readonly quiet: boolean;
  readonly terminal: boolean;
  readonly size: { cols: number; rows: number };
  readonly startDate: string;
}
export type RecordEntry =
  | { readonly at: number; readonly input: string }                              // base64, terminal
  | { readonly at: number; readonly size: { cols: number; rows: number } }
  | { readonly read: string };                                                    // base64 or 'eof', on demand

export class Recorder {
  readonly #file: string;
  constructor(file: string, head: RecordHead) {
    this.#file = file;
    writeFileSync(file, `${JSON.stringify(head)}\n`);
  }
  add(entry: RecordEntry): void { appendFileSync(this.#file, `${JSON.stringify(entry)}\n`); }
}

export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
export const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const whole = (value: unknown, least: number, most: number): boolean => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
const isBase64 = (value: unknown): boolean => typeof value === 'string' && /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value);
const isSize = (value: unknown): boolean => isFields(value) && whole(value['cols'], 1, 0xffff) && whole(value['rows'], 1, 0xffff);

/** Undefined for what is not JSON. */
function parseLine(line: string): unknown {
  try { return JSON.parse(line); } catch { return undefined; }
}

/** What the options of a run may be: as cli/options.ts has it. */
const isHead = (value: unknown): value is RecordHead =>
  isFields(value) && value['format'] === 'vitrine-record-1' && whole(value['cpus'], 1, MAX_CPUS) && whole(value['memory'], MIN_MEMORY, MAX_RAM) && Number(value['memory']) % 4096 === 0
  && whole(value['seed'], 0, 0xffff_ffff) && whole(value['mhz'], MIN_MHZ, MAX_MHZ) && (value['command'] === null || typeof value['command'] === 'string')
  && typeof value['quiet'] === 'boolean' && typeof value['terminal'] === 'boolean' && isSize(value['size']) && typeof value['startDate'] === 'string' && /^\d{1,20}$/.test(value['startDate']);
const isEntry = (value: unknown): value is RecordEntry =>
  isFields(value) && ('read' in value ? value['read'] === 'eof' || isBase64(value['read'])
    : whole(value['at'], 0, Number.MAX_SAFE_INTEGER) && ('input' in value ? isBase64(value['input']) : isSize(value['size'])));

/** Throws an Error with the line to print when the file is not a record. */
export function readRecord(file: string): { head: RecordHead; entries: RecordEntry[] } {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`--replay ${file}: ${(error as Error).message}`);
  }
  const [head, ...entries] = text.split('\n').filter((line) => line.length > 0).map(parseLine);
  if (!isHead(head)) throw new Error(`--replay ${file}: not a record made by --record`);
  const wrong = entries.findIndex((entry) => !isEntry(entry));
  if (wrong >= 0) throw new Error(`--replay ${file}: input ${wrong + 1} is damaged`);
  return { head, entries: entries as RecordEntry[] };
}

/** The console of a replayed run: output as ever, input from the record only. */
export class ReplayConsole implements ConsolePort {
  readonly isTerminal: boolean;
  readonly #head: RecordHead;
  readonly #reads: string[];
  constructor(head: RecordHead, entries: readonly RecordEntry[]) {
    this.isTerminal = head.terminal;
    this.#head = head;
    this.#reads = entries.flatMap((entry) => ('read' in entry ? [entry.read] : []));
  }
  size() { return this.#head.size; }
  write(bytes: Uint8Array): void { writeOut(bytes); }
  read(): Uint8Array | undefined | 'eof' {
    if (this.isTerminal) return undefined;
    const next = this.#reads.shift();
    return next === undefined || next === 'eof' ? 'eof' : fromBase64(next);
  }
}
