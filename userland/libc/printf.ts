/**
 * printf's formats: %d %i %u %x %X %o %c %s %p %f %e %g %%, with flags, width, precision and * for either.
 * Length modifiers are accepted and mean nothing: an argument knows its own size.
 */

export type FormatArgument = number | bigint | string;

const CONVERSION = /%([-+ 0#]*)(\*|\d+)?(?:\.(\*|\d+)?)?(?:hh|h|ll|l|j|z|t|L)?([diuxXocspfFeEgG%])/g;

export function sprintf(format: string, ...args: FormatArgument[]): string {
  let next = 0;
  const take = (): FormatArgument => {
    const arg = args[next++];
    if (arg === undefined) throw new TypeError(`printf: too few arguments for ${JSON.stringify(format)}`);
    return arg;
  };
  return format.replace(CONVERSION, (whole: string, flags: string, widthText: string | undefined, precisionText: string | undefined, kind: string) => {
    if (kind === '%') return '%';
    let width = widthText === '*' ? Number(take()) : Number(widthText ?? 0);
    let left = flags.includes('-');
    if (width < 0) {
      left = true;
      width = -width;
    }
    const dot = whole.includes('.');
    const precision = !dot ? undefined : precisionText === '*' ? Number(take()) : Number(precisionText ?? 0);
    const { sign, digits, numeric } = convert(kind, take(), flags, precision);
    const text = sign + digits;
    if (text.length >= width) return text;
    if (left) return text.padEnd(width);
    const zeros = flags.includes('0') && numeric && !('diuxXo'.includes(kind) && precision !== undefined);
    return zeros ? sign + digits.padStart(width - sign.length, '0') : text.padStart(width);
  });
}

interface Converted { sign: string; digits: string; numeric: boolean }

function convert(kind: string, arg: FormatArgument, flags: string, precision: number | undefined): Converted {
  switch (kind) {
    case 'c': return { sign: '', digits: typeof arg === 'string' ? arg : String.fromCodePoint(Number(arg)), numeric: false };
    case 's': return { sign: '', digits: precision === undefined ? String(arg) : String(arg).slice(0, precision), numeric: false };
    case 'd': case 'i': return signed(BigInt(whole(arg)), flags, precision);
    case 'u': return { ...unsigned(arg, 10, precision), sign: '' };
    case 'o': return { ...unsigned(arg, 8, precision), sign: flags.includes('#') ? '0' : '' };
    case 'p': return { ...unsigned(arg, 16, precision), sign: '0x' };
    case 'x': case 'X': {
      const { digits } = unsigned(arg, 16, precision);
      const prefix = flags.includes('#') && !/^0*$/.test(digits) ? '0x' : '';
      return kind === 'X' ? { sign: prefix.toUpperCase(), digits: digits.toUpperCase(), numeric: true } : { sign: prefix, digits, numeric: true };
    }
    default: return floating(kind, Number(arg), flags, precision ?? 6);
  }
}

const whole = (arg: FormatArgument): bigint | number => (typeof arg === 'number' ? Math.trunc(arg) : typeof arg === 'bigint' ? arg : Number(arg));
const atLeast = (digits: string, precision: number | undefined): string => digits.padStart(precision ?? 1, '0');
const signOf = (negative: boolean, flags: string): string => (negative ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '');

const signed = (value: bigint, flags: string, precision: number | undefined): Converted => ({
  sign: signOf(value < 0n, flags), digits: atLeast((value < 0n ? -value : value).toString(), precision), numeric: true,
});

/** A negative value wraps as C's would: at 32 bits when it fits there, else at 64. */
function unsigned(arg: FormatArgument, radix: number, precision: number | undefined): Converted {
  const value = BigInt(whole(arg));
  const bits = value >= -(1n << 31n) && typeof arg === 'number' ? 32 : 64;
  return { sign: '', digits: atLeast((value < 0n ? BigInt.asUintN(bits, value) : value).toString(radix), precision), numeric: true };
}

function floating(kind: string, value: number, flags: string, precision: number): Converted {
  const sign = signOf(value < 0 || Object.is(value, -0), flags);
  const size = Math.abs(value);
  if (!Number.isFinite(size)) return { sign, digits: Number.isNaN(size) ? 'nan' : 'inf', numeric: false };
  const exponential = (text: string): string => text.replace(/e([+-])(\d)$/, 'e$10$2');
  const lower = kind.toLowerCase();
  let digits: string;
  if (lower === 'f') digits = size.toFixed(precision);
  else if (lower === 'e') digits = exponential(size.toExponential(precision));
  else {
    const significant = Math.max(precision, 1);
    const exponent = size === 0 ? 0 : Number(size.toExponential(significant - 1).split('e')[1]);
    const fixed = exponent >= -4 && exponent < significant;
    digits = fixed ? size.toFixed(significant - 1 - exponent) : exponential(size.toExponential(significant - 1));
    if (!flags.includes('#')) digits = digits.replace(/(\.\d*?)0+(e|$)/, '$1$2').replace(/\.(e|$)/, '$1');
  }
  return { sign, digits: kind === lower ? digits : digits.toUpperCase(), numeric: true };
}
