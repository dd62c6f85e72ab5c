/**
 * `region GUEST`: runs a multiboot guest on bare silicon and lists the regions the hot tier makes of its code;
 * with `--address X` shows those that contain X: each guest instruction, and under it the WebAssembly it became.
 */
import { createRequire } from 'node:module';
import type * as Iced from 'iced-x86';
import { BareMachine } from '../bench/bare-machine.ts';
import type { RegionPlan } from '../machine/engine/region-plan.ts';
import { commandLine } from './command-line.ts';
import { writeOut } from './platform-node.ts';
import { UsageError } from './usage.ts';
import { wasmText } from './wasm-text.ts';

interface Seen { readonly page: number; readonly plan: RegionPlan; readonly module: Uint8Array; readonly code: Uint8Array; readonly bits: number }

/** Text of the instruction at an offset; its bytes where iced-x86, a package for development, is not installed. */
function disassembler(): (code: Uint8Array, bits: number, rip: number) => string {
  let iced: typeof Iced;
  try {
    iced = createRequire(import.meta.url)('iced-x86') as typeof Iced;
  } catch {
    return (code) => Buffer.from(code).toString('hex');
  }
  return (code, bits, rip) => {
    const decoder = new iced.Decoder(bits, code, iced.DecoderOptions.None);
    decoder.ip = BigInt(rip);
    const i = decoder.decode(), formatter = new iced.Formatter(iced.FormatterSyntax.Nasm);
    const text = formatter.format(i);
    for (const used of [i, formatter, decoder]) used.free();
    return text;
  };
}

function run(path: string, cycles: number): Seen[] {
  const m = new BareMachine();
  m.loadElf(path);
  const seen: Seen[] = [];
  m.engine.code.hot.onRegion = (page, plan, module) => {
    const at = m.ram.base + page * 4096;
    seen.push({ page: page * 4096, plan, module, code: m.ram.mem.u8.slice(at, at + 4096), bits: 8 * plan.entry.insns[0]!.shape.codeSize });
  };
  m.run(cycles);
  return seen;
}

const print = (text: string): void => writeOut(Buffer.from(text));
const hex = (n: number): string => n.toString(16).padStart(8, '0');

function* show({ page, plan, module, code, bits }: Seen): Generator<string> {
  const text = disassembler();
  const wasm = wasmText(module);
  const ends = new Map(plan.order.flatMap((b) => b.insns.map((i) => [i.start, i.end] as const)));
  let k = 0;
  const until = function* (at: number) { for (; k < wasm.length && wasm[k]!.at < at; k++) yield `              ${wasm[k]!.text}`; };
  for (const { at, start } of plan.marks) {
    yield* until(at);
    const insn = code.subarray(start, ends.get(start)!);
    yield `${hex(page + start)}  ${text(insn, bits, page + start)}`;
  }
  yield* until(Infinity);
}

export async function region(argv: readonly string[]): Promise<number> {
  const options = commandLine(argv, 'region', '$0 GUEST   lists the regions made of a multiboot guest, or shows those around an address')
    .option('address', { type: 'string', requiresArg: true, describe: 'physical address of an instruction' })
    .option('cycles', { type: 'string', requiresArg: true, default: '100000000', describe: 'how long the guest runs' })
    .strictOptions()
    .parseSync();
  if (options['help']) return 0;
  const [guest, ...more] = options._.map(String);
  if (guest === undefined || more.length > 0) throw new UsageError('give one guest, a multiboot ELF such as bench/guests/built/small/fib.64.elf');
  const address = options.address === undefined ? undefined : Number(options.address);
  if (address !== undefined && !(Number.isInteger(address) && address >= 0)) throw new UsageError(`--address ${options.address}: give a number, such as 0x100000`);
  const cycles = Number(options.cycles);
  if (!(cycles > 0)) throw new UsageError(`--cycles ${options.cycles}: give a number above 0`);
  const seen = run(guest, cycles);
  if (address === undefined) {
    print('address   instructions  blocks  bytes of WebAssembly\n');
    for (const { page, plan, module } of seen) {
      print(`${hex(page + plan.entry.start)}  ${String(plan.marks.length).padStart(12)}  ${String(plan.order.length).padStart(6)}  ${module.length}\n`);
    }
    return 0;
  }
  const wanted = seen.filter(({ page, plan }) => plan.order.some((b) => page + b.start <= address && address < page + b.end));
  if (wanted.length === 0) throw new Error(`no region contains ${hex(address)}: without --address all are listed`);
  for (const s of wanted) print(`region ${hex(s.page + s.plan.entry.start)}\n${[...show(s)].join('\n')}\n`);
  return 0;
}
