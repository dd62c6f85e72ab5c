/**
 * The child process of a grader: loads one program of a student, boots a machine for it, runs it to its end or to a
 * limit, and writes what it sees to descriptor 3 as it sees it. While the machine moves it gives a sign of life now and
 * then, so that the parent can tell a program that computes for ever from one that is only slow.
 */
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { Program, ProgramMain } from '../../abi/process.ts';
import { FIXED_DATE } from '../../cli/platform-node.ts';
import { loadScript } from '../../cli/script.ts';
import type { ConsolePort } from '../../machine/platform.ts';
import { type System, bootSystem } from '../../system/boot.ts';
import { MAX_OUTPUT, Observer } from './observe.ts';
import type { End, Piece } from './seen.ts';

export interface ChildRequest {
  readonly file: string;
  readonly name: string;
  readonly args: readonly string[];
  /** Seconds for the run itself: by the clock, and of this process's processor time. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Process ID of the grader: the child ends with it. */
  readonly parent: number;
}

const MEMORY = 64 << 20;
/** Cycles between two looks at the clock. */
const CHUNK = 1_000_000;
/** Seconds of the machine's time after which a program is stopped in any case. */
const VIRTUAL_SECONDS = 20;
const SIGN_MS = 200;

const tell = (piece: Piece): void => void writeSync(3, `${JSON.stringify(piece)}\n`);

/** Keeps the kernel's last words; what the program prints the observer sees. There is no input. */
class Paper implements ConsolePort {
  readonly isTerminal = false;
  tail = '';
  readonly #decoder = new TextDecoder();
  size() { return { cols: 80, rows: 24 }; }
  write(bytes: Uint8Array): void { this.tail = (this.tail + this.#decoder.decode(bytes, { stream: true })).slice(-4000); }
  read(): 'eof' { return 'eof'; }
}

/** The program, with what it throws noted on its way to the kernel. */
function noting(main: ProgramMain, note: (text: string) => void): ProgramMain {
  return function* noted(argv, envp) {
    try {
      return yield* main(argv, envp);
    } catch (error) {
      if (error instanceof Error && error.name !== 'Errno') note(`${error.name}: ${error.message}`);
      throw error;
    }
  };
}

export async function runChild(request: ChildRequest): Promise<void> {
  new Worker(new URL('./orphan.mjs', import.meta.url), { workerData: { parent: request.parent } }).unref();
  let script: Program;
  try {
    script = await loadScript(request.file, process.cwd());
  } catch (error) {
    tell({ end: { how: 'load', message: (error as Error).message }, thrown: '', runCount: 0, guestInstructions: 0 });
    return;
  }
  let thrown = '';
  const paper = new Paper();
  const observer = new Observer(tell);
  const system = bootSystem({
    machine: { cpus: 2, memory: MEMORY, seed: 1, platform: { console: paper, startDate: FIXED_DATE } },
    quiet: true, init: ['-C', '/root', '--', `/bin/${request.name}`, ...request.args],
    programs: [{ name: request.name, main: noting(script.main, (text) => { thrown = text; }) }],
  });
  observer.attach(system);
  const end = drive(system, paper, observer, request);
  tell({ end, thrown, runCount: observer.runCount, guestInstructions: system.machine.processors.reduce((sum, p) => sum + p.retired.guest, 0) });
}

function drive(system: System, paper: Paper, observer: Observer, { seconds, cpuSeconds }: ChildRequest): End {
  const { machine } = system;
  const stopAt = performance.now() + seconds * 1000;
  const cpuBefore = process.cpuUsage();
  const cpuSpent = (): boolean => {
    const { user, system: kernel } = process.cpuUsage(cpuBefore);
    return user + kernel > cpuSeconds * 1e6;
  };
  tell({ alive: true });
  let told = performance.now();
  for (;;) {
    const from = machine.now();
    const wake = machine.nextWake();
    const state = machine.run(Math.max(from, Number.isFinite(wake) ? wake : from) + CHUNK);
    if (state === 'off') {
      const panic = /Kernel panic - .*/.exec(paper.tail);
      return panic ? { how: 'died', message: panic[0] } : { how: 'exit', status: machine.status };
    }
    if (state === 'idle') return { how: 'sleeps' };
    if (observer.printed > MAX_OUTPUT) return { how: 'output' };
    const now = performance.now();
    if (now > stopAt || cpuSpent() || machine.now() > VIRTUAL_SECONDS * system.cyclesPerMs * 1000) return { how: 'time', doing: observer.doing(machine.latest()) };
    if (now - told > SIGN_MS) {
      told = now;
      tell({ alive: true });
    }
  }
}
