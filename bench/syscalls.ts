/** System calls per second of a TypeScript program, and how long one takes. */
import type { Program } from '../abi/process.ts';
import { _start, getppid, puts } from '../userland/libc.ts';
import { bootSystem } from '../system/boot.ts';

const CALLS = 2_000_000;

const program: Program = {
  name: 'getppids',
  main: _start(function* () {
    for (let i = 0; i < CALLS; i++) yield* getppid();
    yield* puts('done');
    return 0;
  }),
};

/** System calls per second of CPU time. */
export function timeSyscalls(): number {
  let output = '';
  const { machine } = bootSystem({
    machine: {
      cpus: 1, memory: 64 << 20, seed: 1,
      platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), read: () => 'eof', write: (b) => { output += Buffer.from(b).toString(); } }, startDate: 0n },
    },
    quiet: true, programs: [program], init: ['--', '/bin/getppids'],
  });
  const before = process.cpuUsage();
  const state = machine.run(Number.MAX_SAFE_INTEGER);
  const used = process.cpuUsage(before);
  if (state !== 'off' || !output.includes('done')) throw new Error(`the program did not end: ${state} ${output}`);
  return CALLS / ((used.user + used.system) / 1e6);
}
