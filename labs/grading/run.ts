/**
 * Runs a student's program in a child process of its own, with limits of time and memory, and gives what was seen.
 * Whatever the program does, the answer comes within HARD_SECONDS.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { ChildRequest } from './child.ts';
import { type End, type Piece, type Seen, seenOf } from './seen.ts';

/** Processor time for the program once its machine has booted: it is the same on a busy computer. */
const CPU_SECONDS = 2;
/** By the clock on the wall: for the program, and for the child process altogether. */
const SOFT_SECONDS = 14;
const HARD_SECONDS = 16;
/** A machine that gives no sign for so long is inside a program that neither makes a system call nor ends. */
const SILENT_SECONDS = 4;
/** MiB of JavaScript heap; the machine's RAM is apart. */
const HEAP = 256;
/** MiB of memory altogether: typed arrays are not on the heap. Held where the host has /proc. */
const RESIDENT = 640;

function residentMiB(pid: number | undefined): number {
  try {
    return (Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * 4096) / 2 ** 20;
  } catch {
    return 0;
  }
}

/** @param entry the command line's own file; it is started again as `grade --child` */
export function runProgram(entry: string, request: Pick<ChildRequest, 'file' | 'name' | 'args'>): Promise<Seen> {
  return new Promise((resolve) => {
    const whole: ChildRequest = { ...request, seconds: SOFT_SECONDS, cpuSeconds: CPU_SECONDS, parent: process.pid };
    const child = spawn(process.execPath, [`--max-old-space-size=${HEAP}`, entry, 'grade', '--child', JSON.stringify(whole)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    const started = performance.now();
    const since = (time: number): number => (performance.now() - time) / 1000;
    const pieces: Piece[] = [];
    let rest = '';
    let stderr = '';
    let lastSign: number | undefined;
    let killed: End | undefined;
    const kill = (end: End): void => {
      killed ??= end;
      child.kill('SIGKILL');
    };
    const timer = setInterval(() => {
      if (residentMiB(child.pid) > RESIDENT) kill({ how: 'memory' });
      else if (lastSign !== undefined && since(lastSign) > SILENT_SECONDS) kill({ how: 'computes' });
      else if (since(started) > HARD_SECONDS) kill({ how: 'time', doing: `it was stopped after ${HARD_SECONDS} s` });
    }, 100);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => { if (stderr.length < 1 << 16) stderr += text; });
    (child.stdio[3] as Readable).setEncoding('utf8').on('data', (text: string) => {
      lastSign = performance.now();
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) pieces.push(JSON.parse(line) as Piece);
    });
    const finish = (otherwise: End): void => {
      clearInterval(timer);
      resolve(seenOf(pieces, otherwise));
    };
    child.on('error', (error) => finish({ how: 'died', message: error.message }));
    child.on('close', (status, signal) => {
      const line = /^.*Error.*$/m.exec(stderr)?.[0] ?? '';
      if (killed) finish(killed);
      else if (/heap out of memory|Array buffer allocation failed/.test(stderr)) finish({ how: 'memory' });
      else finish({ how: 'died', message: line === '' ? `status ${status ?? signal}` : line });
    });
  });
}
