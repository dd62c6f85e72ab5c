/** `boot`: the system on this terminal, or on pipes, until it powers off. Returns the exit status. */
import { type System, type SystemOptions, bootSystem } from '../system/boot.ts';
import { checkWritable } from './command-line.ts';
import { parseMount } from './host-files.ts';
import { parseCpus, parseMemory, parseMhz, parseSeed } from './options.ts';
import { FIXED_DATE, type HostMount, PipeConsole, TerminalConsole, nodePlatform } from './platform-node.ts';
import { type RecordEntry, type RecordHead, Recorder, ReplayConsole, readRecord, toBase64 } from './record.ts';
import { Stuck, runAtTerminal, runToPowerOff, scheduleEntry, startWatchdog } from './run-loop.ts';
import { writeStats } from './stats.ts';
import { openTrace } from './trace.ts';
import { UsageError } from './usage.ts';

export interface BootOptions {
  readonly cpus: string; readonly memory: string; readonly seed: string; readonly mhz: string;
  readonly command?: string | undefined; readonly quiet: boolean; readonly mount: readonly string[];
  readonly trace?: string | undefined; readonly stats?: string | undefined;
  readonly record?: string | undefined; readonly replay?: string | undefined;
}

/** What another command asks of a run: scripts and qemu-lite boot quietly with a program of theirs as the only one. */
export interface RunRequest {
  readonly head: RecordHead;
  readonly init: readonly string[];
  readonly mounts: readonly HostMount[];
  readonly programs?: SystemOptions['programs'];
  readonly files?: SystemOptions['files'];
  readonly trace?: string | undefined;
  readonly stats?: string | undefined;
  readonly record?: string | undefined;
  /** Entries of a record to run again instead of taking input from the host. */
  readonly replay?: readonly RecordEntry[];
}

export const headFor = (options: { cpus: number; memory: number; seed: number; mhz: number; command: string | null; quiet: boolean; terminal: boolean }): RecordHead => ({
  format: 'vitrine-record-1',
  ...options,
  size: options.terminal ? { cols: process.stdout.columns || 80, rows: process.stdout.rows || 24 } : { cols: 80, rows: 24 },
  startDate: String(options.terminal ? BigInt(Date.now()) * 1_000_000n : FIXED_DATE),
});

export const atTerminal = (): boolean => Boolean(process.stdin.isTTY && process.stdout.isTTY);

export async function boot(options: BootOptions): Promise<number> {
  const usage = <T>(parse: () => T): T => { try { return parse(); } catch (error) { throw new UsageError((error as Error).message); } };
  if (options.replay && options.record) throw new UsageError('--record and --replay exclude each other');
  const replayed = options.replay === undefined ? undefined : usage(() => readRecord(options.replay!));
  const mounts = usage(() => options.mount.map((text) => parseMount(text, process.cwd())));
  const head = replayed?.head ?? usage(() => headFor({
    cpus: parseCpus(options.cpus), memory: parseMemory(options.memory), seed: parseSeed(options.seed), mhz: parseMhz(options.mhz),
    command: options.command ?? null, quiet: options.quiet, terminal: atTerminal() && options.command === undefined,
  }));
  return runSystem({
    head, mounts,
    init: head.command === null ? [] : ['-c', head.command],
    trace: options.trace, stats: options.stats, record: options.record,
    ...(replayed ? { replay: replayed.entries } : {}),
  });
}

/** Boots and runs to power-off. */
export async function runSystem(request: RunRequest): Promise<number> {
  const { head } = request;
  for (const option of ['trace', 'stats', 'record'] as const) checkWritable(option, request[option]);
  const recorder = request.record === undefined ? undefined : new Recorder(request.record, head);
  const port = request.replay ? new ReplayConsole(head, request.replay) : head.terminal ? new TerminalConsole(head.size) : new PipeConsole(true);
  if (port instanceof PipeConsole && recorder) port.onRead = (answer) => recorder.add({ read: answer === 'eof' ? 'eof' : toBase64(answer) });
  const watchdog = startWatchdog(new URL('./watchdog.mjs', import.meta.url));
  let system: System | undefined;
  const trace = openTrace(request.trace);
  try {
    system = bootSystem({
      machine: { cpus: head.cpus, memory: head.memory, seed: head.seed, tscKhz: head.mhz * 1000, platform: nodePlatform(port, BigInt(head.startDate), request.mounts) },
      init: request.init, quiet: head.quiet, mounts: request.mounts,
      ...(request.programs ? { programs: request.programs } : {}),
      ...(request.files ? { files: request.files } : {}),
    });
    trace?.attach(system);
    for (const entry of request.replay ?? []) scheduleEntry(system, entry);
    return port instanceof TerminalConsole ? await runAtTerminal(system, watchdog, recorder) : runToPowerOff(system, watchdog);
  } catch (error) {
    if (error instanceof Stuck) throw new Error(error.message);
    throw error;
  } finally {
    watchdog.stop();
    trace?.close();
    if (system && request.stats !== undefined) writeStats(request.stats, system.machine);
  }
}
