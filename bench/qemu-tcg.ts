/**
 * The same guest under QEMU TCG, where qemu-system-x86_64 is installed: CPU time of the QEMU process between START
 * and END, read from /proc (ticks of 10 ms; the guest lingers after END so that it can be read).
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

export const tcgVersion = (): string | undefined => {
  if (!existsSync('/proc/self/stat')) return undefined;
  const answer = spawnSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
  return answer.status === 0 ? answer.stdout.split('\n')[0]!.replace(/^QEMU emulator /, 'QEMU ') : undefined;
};

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** CPU seconds from START to END. */
export function timeTcg(image: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const qemu = spawn('qemu-system-x86_64', ['-accel', 'tcg,thread=single', '-cpu', 'max', '-m', '256', '-kernel', image, '-display', 'none',
      '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const timer = setTimeout(() => qemu.kill('SIGKILL'), 300_000);
    let output = '', started: number | undefined, seconds: number | undefined;
    qemu.stdout.on('data', (bytes: Buffer) => {
      output += bytes.toString('latin1');
      if (started === undefined && output.includes('START ')) started = cpuSeconds(qemu.pid!);
      if (started !== undefined && seconds === undefined && /END \w+ [0-9a-f]{8} /.test(output)) seconds = cpuSeconds(qemu.pid!) - started;
    });
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearTimeout(timer);
      if (seconds === undefined) reject(new Error(`QEMU did not reach END: ${output.slice(-200)}`));
      else resolve(seconds);
    });
  });
}
