/** Tests of lab 02-serial. What left the guest is read from the exits; what was printed must be the same. */
import { KVM_EXIT_HLT } from '../../abi/kvm/index.ts';
import { type Lab, describeEnd, describeIo, describeRuns, expect, quote } from '../grading/lab.ts';
import type { IoExit, Seen } from '../grading/seen.ts';

const SERIAL = 0x3f8;

const short = 'Graded text, 7f3a: does it leave the guest?\n';
/** More than the 1024 bytes that one exit of REP INS can ask for. */
const long = Array.from({ length: 30 }, (_, i) => `line ${String(i).padStart(2, '0')} of a text that the guest reads first\n`).join('');
/** Not a multiple of four. */
const middle = `${Array.from({ length: 10 }, (_, i) => `${i}: many characters, few exits`).join('; ')}.\n`;

const loop = ['loop', short];
const string = ['string', long];
const few = ['few', middle];

const ios = (seen: Seen): IoExit[] => seen.runs.flatMap((run) => (run.result === 0 && run.io ? [run.io] : []));
const outs = (seen: Seen): IoExit[] => ios(seen).filter((io) => io.direction === 'out');

/** The characters that left the guest by OUT, in whatever size; the last element may be padded. */
const carried = (seen: Seen, port?: number): string =>
  new TextDecoder().decode(Uint8Array.from(outs(seen).filter((io) => port === undefined || io.port === port).flatMap((io) => io.data))).replace(/\0+$/, '');

const halts = (seen: Seen): boolean => { const last = seen.runs.at(-1); return last?.result === 0 && last.reason === KVM_EXIT_HLT; };

function expectPrinted(seen: Seen, text: string): void {
  expect(seen.output.includes(text), `the text on standard output: ${quote(text)}`, () => `${quote(seen.output)}; ${describeRuns(seen)}`);
}

function expectCount(seen: Seen): void {
  expect(seen.end.how === 'exit' && halts(seen), 'a guest that runs to its HLT', () => describeRuns(seen));
  const line = /exits: (\d+)$/m.exec(seen.output);
  expect(line !== null, 'a last line "exits: N"', () => quote(seen.output.slice(-72)));
  expect(Number(line[1]) === seen.runCount, `"exits: ${seen.runCount}": so often KVM_RUN returned`, JSON.stringify(line[0]));
}

/** Whether the guest handed the whole text over: its bytes, or one number that is the address of them. */
function handedOver(seen: Seen, text: string): boolean {
  return carried(seen) === text || outs(seen).some((io) => io.points?.startsWith(text) === true);
}

function expectFew(seen: Seen, most: number, how: string): void {
  expect(halts(seen), 'a guest that runs to its HLT', () => describeRuns(seen));
  expect(outs(seen).length > 0, 'a guest that hands its text over by OUT', 'no OUT');
  expect(handedOver(seen, middle), 'OUTs that carry the text, or the address of it in guest memory',
    () => `${outs(seen).length} of them, the last one ${describeIo(outs(seen).at(-1)!)}; they carry ${quote(carried(seen))}`);
  expectPrinted(seen, middle);
  expect(seen.runCount <= most, `at most ${most} exits for ${middle.length} characters: ${how}`, `${seen.runCount} exits`);
}

export const lab: Lab = {
  name: '02-serial',
  tests: [
    { name: 'loop: prints what the guest sends', points: 20, args: loop, judge: (seen) => {
      expectPrinted(seen, short);
      expect(carried(seen, SERIAL) === short, `the text sent by the guest to port 0x3f8, ${short.length} characters`,
        () => `the guest sent ${quote(carried(seen, SERIAL))}; ${describeRuns(seen)}`);
    } },
    { name: 'loop: one exit for each character, then HLT', points: 10, args: loop, judge: (seen) => {
      expect(halts(seen), 'a guest that runs to its HLT', () => describeRuns(seen));
      expect(outs(seen).length === short.length && outs(seen).every((io) => io.size === 1 && io.count === 1), `${short.length} OUTs of one byte`,
        () => `${outs(seen).length} OUTs; ${describeRuns(seen)}`);
      expect(seen.runCount === short.length + 1, `${short.length + 1} returns of KVM_RUN`, `${seen.runCount}`);
    } },
    { name: 'loop: counts the exits', points: 10, args: loop, judge: expectCount },
    { name: 'loop: ends with status 0', points: 5, args: loop, judge: (seen) => {
      expect(seen.end.how === 'exit' && seen.end.status === 0 && halts(seen), 'status 0 after the HLT', () => (halts(seen) ? describeEnd(seen) : describeRuns(seen)));
    } },
    { name: 'string: answers all elements of an IN exit', points: 20, args: string, judge: (seen) => {
      const inputs = ios(seen).filter((io) => io.direction === 'in');
      expect(inputs.some((io) => io.count > 1), 'an exit of REP INSB with more than one element', () => describeRuns(seen));
      const asked = inputs.reduce((sum, io) => sum + io.size * io.count, 0);
      expect(asked === long.length, `exits that ask for ${long.length} bytes in all`, `${asked} bytes asked for; ${describeRuns(seen)}`);
      expect(carried(seen, SERIAL) === long, `the guest to send back the text it was given, ${quote(long)}`, () => `it sent ${quote(carried(seen, SERIAL))}; ${describeRuns(seen)}`);
    } },
    { name: 'string: prints the text and counts the exits', points: 10, args: string, judge: (seen) => {
      expectPrinted(seen, long);
      expectCount(seen);
    } },
    { name: 'few: at most a quarter of the exits', points: 15, args: few, judge: (seen) => expectFew(seen, Math.floor(middle.length / 4) + 4, 'OUT can carry four bytes') },
    { name: 'few: at most four exits', points: 10, args: few, judge: (seen) => expectFew(seen, 4, 'the text is in memory that both sides see') },
  ],
};
