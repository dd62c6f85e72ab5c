/**
 * 64 guests at once, each with code of its own (`k_own` of bench/guests/src/cliffs.c, made from the number in its image): 64 qemu-lite
 * processes of one booted system on two processors, beside the same guests one after another. CPU time of this process from the
 * command to the end of the last guest, so that creating and destroying the machines is in it. Beside them QEMU TCG, whose guests
 * have a process each and share nothing: CPU time between START and END, one after another.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConsolePort } from '../machine/platform.ts';
import { bootSystem } from '../system/boot.ts';
import { timeTcg } from './qemu-tcg.ts';

/** Every so manieth guest's checksum is computed here too. */
const GUESTS = 64, IN_TURN = 8, CHECKED = 16;
/** Cycles between two looks at the console. */
const SLICE = 500_000;
/** Calls of all functions, and functions, turns of each loop and instructions of a turn. */
const COUNT = 45_000, FUNCTIONS = 16, TURNS = 16, BODY = 11;
/** Instructions of a guest's own functions. */
const INSTRUCTIONS = COUNT * FUNCTIONS * (2 + TURNS * BODY + 1);
const LINGER = Buffer.from(Uint32Array.of(259_999_999).buffer), NUMBER = Buffer.from(Uint32Array.of(0x4d5e_6f70, 0x6e75_6d62).buffer);

/** A guest's image. A harness outside wants it to wait at its end. */
function imageOf(template: Buffer, number: number, lingers: boolean): Buffer {
  const image = Buffer.from(template);
  image.writeUInt32LE(number, place(image, NUMBER));
  if (!lingers) image.writeUInt32LE(0, place(image, LINGER));
  return image;
}
function place(image: Buffer, what: Buffer): number {
  const at = image.indexOf(what);
  if (at < 0 || image.indexOf(what, at + 1) >= 0) throw new Error(`own.64.elf does not hold ${what.toString('hex')} once`);
  return at;
}

/** What the guest of that number must print. */
function checksum(number: number): string {
  let h = number | 0;
  const operations = Int32Array.from({ length: FUNCTIONS * 6 }, () => (h = (Math.imul(h, 1_664_525) + 1_013_904_223) | 0));
  let s = 1, sum = 0;
  for (let n = 0; n < COUNT; n++) {
    for (let f = 0; f < FUNCTIONS * 6; f += 6) {
      for (let turn = 0; turn < TURNS; turn++) {
        for (let i = f; i < f + 6; i++) {
          const operation = operations[i]!, value = operation | 1;
          switch (operation >>> 30) {
            case 0: s = (s + value) | 0; break;
            case 1: s ^= value; break;
            case 2: s = (s - value) | 0; break;
            default: s = Math.imul(s, value);
          }
        }
        s = (s + sum) | 0;
        sum = s;
      }
    }
  }
  return (s >>> 0).toString(16).padStart(8, '0');
}

/** Million instructions a second of the guests one after another and at once. */
export function timeGuests(folder: string): { readonly inTurn: number; readonly atOnce: number } {
  const template = readFileSync(join(folder, 'built', 'cliffs', 'own.64.elf'));
  const files = new Map<string, Uint8Array>(Array.from({ length: 2 * IN_TURN + GUESTS }, (_, i) => [`/boot/${i}`, imageOf(template, i, false)]));
  const run = (i: number): string => `qemu-lite -m 32 -display none -serial file:/tmp/${i} -kernel /boot/${i}`;
  const script = [
    ...Array.from({ length: IN_TURN }, (_, i) => run(i)), 'echo MARK',
    ...Array.from({ length: IN_TURN }, (_, i) => run(IN_TURN + i)), 'echo MARK',
    ...Array.from({ length: GUESTS }, (_, i) => `${run(2 * IN_TURN + i)} &`), 'wait', 'echo MARK',
    ...Array.from({ length: 2 * IN_TURN + GUESTS }, (_, i) => `cat /tmp/${i}`), 'echo MARK',
  ];
  let output = '';
  const marks: number[] = [];
  const console: ConsolePort = {
    isTerminal: false, size: () => ({ cols: 80, rows: 24 }), read: () => 'eof',
    write: (bytes) => {
      output += Buffer.from(bytes).toString('latin1');
      const { user, system } = process.cpuUsage();
      while (marks.length < output.split('MARK').length - 1) marks.push((user + system) / 1e6);
    },
  };
  const { machine } = bootSystem({
    machine: { cpus: 2, memory: 1 << 30, seed: 1, platform: { console, startDate: 1_735_689_600_000_000_000n } },
    quiet: true, init: ['-c', '. /many.sh'], files: files.set('/many.sh', Buffer.from(script.join('\n'))),
  });
  while (marks.length < 4) {
    const state = machine.run(Math.max(machine.now(), machine.nextWake()) + SLICE);
    if (marks.length < 4 && (state !== 'paused' || machine.now() > 1e12)) throw new Error(`the guests did not end (${state}): ${JSON.stringify(output.slice(-500))}`);
  }
  const printed = [...output.matchAll(/END own ([0-9a-f]{8})/g)].map((m) => m[1]);
  if (new Set(printed).size !== files.size - 1) throw new Error(`${new Set(printed).size} guests of ${files.size - 1} ended, or ended alike`);
  for (let i = 0; i < printed.length; i += CHECKED) if (printed[i] !== checksum(i)) throw new Error(`guest ${i} ended with ${printed[i]}, not ${checksum(i)}`);
  return { inTurn: IN_TURN * INSTRUCTIONS / (marks[1]! - marks[0]!) / 1e6, atOnce: GUESTS * INSTRUCTIONS / (marks[2]! - marks[1]!) / 1e6 };
}

/** The same of QEMU TCG, one after another. */
export async function timeTcgGuests(folder: string): Promise<number> {
  const template = readFileSync(join(folder, 'built', 'cliffs', 'own.64.elf'));
  const images = mkdtempSync(join(tmpdir(), 'vitrine-guests-'));
  const image = join(images, 'own.elf');
  let seconds = 0;
  try {
    for (let i = 0; i < IN_TURN; i++) {
      writeFileSync(image, imageOf(template, i, true));
      seconds += await timeTcg(image);
    }
  } finally {
    rmSync(images, { recursive: true });
  }
  return IN_TURN * INSTRUCTIONS / seconds / 1e6;
}
