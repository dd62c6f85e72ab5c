/**
 * The kernel's messages: a ring that dmesg reads, and the consoles they are printed on.
 * Linux: kernel/printk/printk.c
 */
import { machine, kernelVariable } from './current.ts';
import { cycles_to_ns } from './time/timekeeping.ts';

export const LOGLEVEL_EMERG = 0, LOGLEVEL_ALERT = 1, LOGLEVEL_CRIT = 2, LOGLEVEL_ERR = 3, LOGLEVEL_WARNING = 4, LOGLEVEL_NOTICE = 5, LOGLEVEL_INFO = 6, LOGLEVEL_DEBUG = 7;

export interface PrintkRecord {
  readonly seq: number;
  readonly level: number;
  /** Nanoseconds since boot. */
  readonly time: number;
  readonly text: string;
}

/** Takes one record for printing; `line` is its text with the time stamp, without a newline. */
export type Console = (line: string, record: PrintkRecord) => void;

/** Records kept; older ones are overwritten. */
const LOG_RECORDS = 4096;

class Log {
  readonly ring: PrintkRecord[] = [];
  seq = 0;
  /** Records below were cleared by dmesg -c. */
  clear_seq = 0;
  /** Only levels below this reach a console. */
  console_loglevel = LOGLEVEL_DEBUG;
  readonly consoles: Console[] = [];
  /** Records made before there was a console wait for the first. */
  printed = 0;
  /** Whoever waits for records (/dev/kmsg, syslog). */
  readonly listeners: (() => void)[] = [];
}

export const log = kernelVariable(() => new Log());

export const timestamp = (ns: number): string =>
  `[${String(Math.floor(ns / 1e9)).padStart(5)}.${String(Math.floor((ns % 1e9) / 1000)).padStart(6, '0')}]`;

export function printk(level: number, text: string): void {
  const l = log();
  const time = cycles_to_ns(machine().now());
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const record = { seq: l.seq++, level, time, text: line };
    l.ring[record.seq % LOG_RECORDS] = record;
  }
  flush(l);
  for (const listener of l.listeners) listener();
}

function flush(l: Log): void {
  if (l.consoles.length === 0) return;
  while (l.printed < l.seq) {
    const record = l.ring[l.printed++ % LOG_RECORDS]!;
    if (record.level >= l.console_loglevel) continue;
    const line = `${timestamp(record.time)} ${record.text}`;
    for (const write of l.consoles) write(line, record);
  }
}

/** Connects a console; it gets what was logged before it, too. */
export function register_console(write: Console): void {
  const l = log();
  l.consoles.push(write);
  flush(l);
}

/** The records from `seq` on that are still kept. */
export function log_records(seq: number): PrintkRecord[] {
  const l = log();
  const found: PrintkRecord[] = [];
  for (let i = Math.max(seq, l.seq - LOG_RECORDS, 0); i < l.seq; i++) found.push(l.ring[i % LOG_RECORDS]!);
  return found;
}

export const pr_emerg = (text: string): void => printk(LOGLEVEL_EMERG, text);
export const pr_err = (text: string): void => printk(LOGLEVEL_ERR, text);
export const pr_warn = (text: string): void => printk(LOGLEVEL_WARNING, text);
export const pr_notice = (text: string): void => printk(LOGLEVEL_NOTICE, text);
export const pr_info = (text: string): void => printk(LOGLEVEL_INFO, text);
export const pr_debug = (text: string): void => printk(LOGLEVEL_DEBUG, text);
