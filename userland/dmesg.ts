/** dmesg: the kernel's messages. Options -c (clear) -C (only clear) -r (raw) -t (no time) as util-linux's. */
import type { Sys } from '../abi/process.ts';
import { __NR_syslog } from '../abi/syscalls.ts';
import { Errno, decode, eputs, fputs, klogctl, syscall } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

const READ_ALL = 3;
const CLEAR = 5;
const SIZE_BUFFER = 10;

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'cCrtTkx', { 'read-clear': 0, clear: 0, raw: 0, notime: 0 });
  if (parsed.error !== undefined) return yield* usageError('dmesg', parsed.error);
  try {
    if (!parsed.has('C', 'clear')) {
      const size = yield* bufferSize();
      const lines = decode(yield* klogctl(READ_ALL, size)).split('\n').filter((line) => line !== '');
      const text = parsed.has('r', 'raw') ? lines : lines.map((line) => line.replace(/^<\d+>/, ''));
      for (const line of text) yield* fputs(`${parsed.has('t', 'notime') ? line.replace(/^\[[^\]]*\] /, '') : line}\n`);
    }
    if (parsed.has('c', 'C', 'clear', 'read-clear')) yield* klogctl(CLEAR, 0);
    return 0;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`dmesg: read kernel buffer failed: ${e.text}`);
    return 1;
  }
}

function* bufferSize(): Sys<number> {
  const size = yield* syscall(__NR_syslog, SIZE_BUFFER, 0, 0);
  return size > 0 ? size : 1 << 17;
}
