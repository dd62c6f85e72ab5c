/** --trace FILE: every trace point of the run, as Chrome trace event JSON (.json) or as Linux's text. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { chromeEvents, chromeTrackNames, traceHeader, traceLine } from '../kernel/trace/output.ts';
import { tracepoints } from '../kernel/trace/tracepoint.ts';
import type { System } from '../system/boot.ts';

export interface TraceFile { attach(system: System): void; close(): void }

const FLUSH = 1 << 20;

export function openTrace(file: string | undefined): TraceFile | undefined {
  if (file === undefined) return undefined;
  const fd = openSync(file, 'w');
  const json = /\.json$/.test(file);
  let pending = json ? '{"traceEvents":[\n' : traceHeader;
  let first = true;
  const flush = (): void => { writeSync(fd, pending); pending = ''; };
  const addJson = (events: readonly string[]): void => {
    for (const event of events) { pending += (first ? '' : ',\n') + event; first = false; }
  };
  return {
    attach(system) {
      const buffer = system.kernel.trace_buffer();
      const cyclesPerUs = system.cyclesPerMs / 1000;
      if (json) addJson(chromeTrackNames(system.machine.processors.length));
      buffer.consumer = (record) => {
        if (json) addJson(chromeEvents(record, cyclesPerUs));
        else pending += traceLine(record, cyclesPerUs);
        if (pending.length > FLUSH) flush();
      };
      // raw_syscalls tells of each system call already.
      for (const point of tracepoints()) if (point.system !== 'syscalls') buffer.enable(point);
    },
    close() {
      if (json) pending += '\n]}\n';
      flush();
      closeSync(fd);
    },
  };
}
