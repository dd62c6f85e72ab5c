import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as NR from '../../../abi/syscalls.ts';
import { FIONREAD, TCSETS, TCSETSF, termios } from '../../../abi/termios.ts';
import { windowOf } from '../../../abi/struct.ts';
import type { Machine } from '../../../machine/machine.ts';
import { ScriptedConsole, buffer, call, get, int32, put, runInit } from '../fs/program.ts';
import { std_termios } from '../../../kernel/drivers/tty/tty.ts';

/** What a real Linux pseudo terminal did: test/recorder/tty-cases.py made the file. */
interface Setting { c_iflag?: number; c_oflag?: number; c_cflag?: number; c_lflag?: number; cc?: Record<string, number>; flush?: number }
type Step = ['in', string] | ['out', string] | ['read', number] | ['avail', null] | ['poll', null] | ['set', Setting];
interface Case { id: string; steps: Step[]; answers: (string | number)[]; shown: string }
const { cases } = JSON.parse(readFileSync(new URL('../../golden/tty-cases.json', import.meta.url), 'utf8')) as { cases: Case[] };

class Terminal extends ScriptedConsole {
  override readonly isTerminal = true as unknown as false;
  shown = '';
  override write(bytes: Uint8Array): void { this.shown += Buffer.from(bytes).toString('hex'); }
}

test('terminals edit, echo and deliver input as Linux does', () => {
  const wrong: string[] = [];
  const console = new Terminal();
  let machine!: Machine;
  runInit(function* () {
    const tty = yield* call(NR.__NR_open, '/dev/ttyS0', 0o4402, 0);
    assert.ok(tty > 0);
    const flush = () => (machine as unknown as { cable: { flush(): void } }).cable.flush();
    for (const { id, steps, answers, shown } of cases) {
      const now = termios.make(std_termios());
      yield* call(NR.__NR_ioctl, tty, TCSETSF.nr, windowOf(now));
      // a fresh line: echo counts columns from its start
      yield* call(NR.__NR_write, tty, '\r', 1);
      flush();
      console.shown = '';
      const got: (string | number)[] = [];
      for (const step of steps) {
        const [kind, arg] = step;
        if (kind === 'in') {
          machine.uart.receive(Uint8Array.from(Buffer.from(arg, 'hex')));
          yield* call(NR.__NR_nanosleep, new Uint8Array(BigUint64Array.of(0n, 1_000_000n).buffer), 0);
        } else if (kind === 'out') yield* call(NR.__NR_write, tty, Uint8Array.from(Buffer.from(arg, 'hex')), arg.length / 2);
        else if (kind === 'read') {
          const at = buffer(arg);
          const n = yield* call(NR.__NR_read, tty, at, arg);
          got.push(n < 0 ? n : Buffer.from(get(at, n)).toString('hex'));
        } else if (kind === 'avail') {
          const at = buffer(4);
          yield* call(NR.__NR_ioctl, tty, FIONREAD.nr, at);
          got.push(int32(at));
        } else if (kind === 'poll') {
          const at = put(new Uint8Array(Int32Array.of(tty, 5).buffer));
          yield* call(NR.__NR_poll, at, 1, 0);
          got.push(int32(at, 1) >> 16);
        } else if (kind === 'set') {
          for (const name of ['c_iflag', 'c_oflag', 'c_cflag', 'c_lflag'] as const) {
            const change = arg[name] ?? 0;
            now[name] = change > 0 ? now[name] | change : now[name] & ~-change;
          }
          for (const [index, c] of Object.entries(arg.cc ?? {})) now.c_cc.set(Number(index), c);
          yield* call(NR.__NR_ioctl, tty, arg.flush ? TCSETSF.nr : TCSETS.nr, windowOf(now));
        }
      }
      flush();
      const readable = (hex: string) => JSON.stringify(Buffer.from(hex, 'hex').toString('latin1'));
      if (JSON.stringify(got) !== JSON.stringify(answers)) wrong.push(`${id}: Linux ${JSON.stringify(answers)}, here ${JSON.stringify(got)}`);
      if (console.shown !== shown) wrong.push(`${id}: Linux shows ${readable(shown)}, here ${readable(console.shown)}`);
    }
  }, { console, prepare: (m) => { machine = m; } });
  assert.ok(cases.length >= 70);
  assert.deepEqual(wrong, []);
});
