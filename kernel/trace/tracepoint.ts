/**
 * A trace point is declared once, as data: its system and name, its fields, and its text. Everything else (the
 * call, the record, the `format` description) follows from the declaration. Linux: include/linux/tracepoint.h,
 * include/trace/trace_events.h.
 *
 * A call site writes `if (kvm_exit.enabled) kvm_exit.trace(…)`: off costs one load and a branch, and on or off
 * the run is the same run, because records lie outside simulated RAM and cost no cycles.
 */
import { kernelVariable } from '../current.ts';
import { TraceBuffer } from './ring-buffer.ts';

/** C types of fields as a `format` file names them, and the JavaScript value that stands for each. */
interface FieldTypes {
  'char[16]': string; 'const char *': string;
  int: number; bool: number; s8: number; u8: number; u16: number; u32: number; 'unsigned int': number; long: number; 'unsigned long': bigint; u64: bigint;
  'unsigned long[6]': readonly bigint[]; 'u8[15]': Uint8Array;
  /** A parameter of a system call: a register, whatever its C type behind `word`. */
  [word: `word ${string}`]: bigint;
}
type Fields = Readonly<Record<string, keyof FieldTypes>>;
export type Values<F extends Fields> = { readonly [K in keyof F]: FieldTypes[F[K]] };
/** Trace points that are asked about together: one of them is wanted as long as `enabled` is not 0. */
export interface TraceGroup {
  enabled: number;
  /** Linux puts `name: ` before the text of a record; points of such a group print their whole line. */
  readonly wholeLine: boolean;
}

export class Tracepoint<F extends Fields = Fields> {
  readonly system: string;
  readonly name: string;
  readonly fields: F;
  readonly text: (values: Values<F>) => string;
  /** The same text for tools that read binary records: a printf format and its arguments in C. */
  readonly print_fmt: string | undefined;
  readonly group: TraceGroup | undefined;
  /** How many kernels of this host process want it. */
  enabled = 0;

  constructor(system: string, name: string, fields: F, text: (values: Values<F>) => string, print_fmt?: string, group?: TraceGroup) {
    this.system = system;
    this.name = name;
    this.fields = fields;
    this.text = text;
    this.print_fmt = print_fmt;
    this.group = group;
  }

  /** Records one event, if the kernel that runs now wants it. */
  trace(values: Values<F>): void {
    const buffer = trace_buffer();
    if (buffer.wants.has(this as unknown as Tracepoint)) buffer.record(this as unknown as Tracepoint, values as unknown as Values<Fields>);
  }
}

const points: Tracepoint[] = [];

/** Declares a trace point; `text` gives what stands behind `name: ` in a line, `print_fmt` says the same in C for the `format` file. */
export function TRACE_EVENT<const F extends Fields>(
  system: string, name: string, fields: F, text: (values: Values<F>) => string, print_fmt?: string, group?: TraceGroup,
): Tracepoint<F> {
  const point = new Tracepoint(system, name, fields, text, print_fmt, group);
  points.push(point as unknown as Tracepoint);
  return point;
}

/** Every trace point of the modules loaded in this host process, in order of declaration. */
export const tracepoints = (): readonly Tracepoint[] => points;

/** The running kernel's records and the set of points it wants. */
export const trace_buffer = kernelVariable(() => new TraceBuffer());
