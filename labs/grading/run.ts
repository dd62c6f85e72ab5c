/**
 * Runs a student's program in a child process of its own, with limits of time and memory, and gives what was seen.
 * Whatever the program does, the answer comes within HARD_SECONDS.
 */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { ChildRequest } from './child.ts';
import { type Seen, nothingSeen } from './seen.ts';

/** Of this computer's time: for the program once its machine has booted, and for the child process altogether. */
export const SOFT_SECONDS = 2.5;
const HARD_SECONDS = 5;
/** MiB of JavaScript heap; the machine's RAM is apart. */
const HEAP = 256;

/** @param entry the command line's own file; it is started again as `grade --child` */
export function runProgram(entry: string, request: Omit<ChildRequest, 'seconds'>): Promise<Seen> {
  return new Promise((resolve) => {
    const whole: ChildRequest = { ...request, seconds: SOFT_SECONDS };
    const child = spawn(process.execPath, [`--max-old-space-size=${HEAP}`, entry, 'grade', '--child', JSON.stringify(whole)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    let told = '';
    let stderr = '';
    let lastSign = 0;
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      child.kill('SIGKILL');
    }, HARD_SECONDS * 1000);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => { if (stderr.length < 1 << 16) stderr += text; });
    (child.stdio[3] as Readable).setEncoding('utf8').on('data', (text: string) => {
      told += text;
      lastSign = performance.now();
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve(nothingSeen({ how: 'died', message: error.message }));
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      const last = told.trim().split('\n').at(-1) ?? '';
      if (last.startsWith('{"seen"')) return resolve((JSON.parse(last) as { seen: Seen }).seen);
      if (killed) return resolve(nothingSeen(performance.now() - lastSign > 1000 ? { how: 'computes' } : { how: 'time', doing: 'it is too slow' }));
      if (/heap out of memory|Array buffer allocation failed/.test(stderr)) return resolve(nothingSeen({ how: 'memory' }));
      const line = stderr.trim().split('\n').findLast((text) => text !== '') ?? '';
      resolve(nothingSeen({ how: 'died', message: line === '' ? `status ${status ?? signal}` : line }));
    });
  });
}
