/**
 * --record and --replay: a run's inputs as a file of JSON lines. The first line holds the options that shape the
 * run; every further line is one input, at the exact cycle it reached the machine (terminal), or in the order it
 * was asked for (no terminal). With them a run repeats to the instruction.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import type { ConsolePort } from '../machine/platform.ts';
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

/** Throws an Error with the line to print when the file is not a record. */
export function readRecord(file: string): { head: RecordHead; entries: RecordEntry[] } {
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line.length > 0);
  try {
    const [head, ...entries] = lines.map((line) => JSON.parse(line));
    if (head?.format === 'vitrine-record-1') return { head, entries };
  } catch { /* said below */ }
  throw new Error(`--replay ${file}: not a record made by --record`);
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
