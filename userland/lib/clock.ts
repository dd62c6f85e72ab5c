/**
 * Dates without the host's: the calendar of the Gregorian years, and strftime's letters. Time is UTC.
 */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

export interface Calendar {
  readonly year: number; readonly month: number; readonly day: number;
  readonly hour: number; readonly minute: number; readonly second: number;
  readonly weekday: number; readonly yearday: number;
}

/** The date of a number of seconds since 1970. Years are counted from March, so that a leap day is the last of its year. */
export function calendar(seconds: number): Calendar {
  const days = Math.floor(seconds / 86400);
  const rest = seconds - days * 86400;
  const shifted = days + 719468;
  const era = Math.floor(shifted / 146097);
  const dayOfEra = shifted - era * 146097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = marchMonth < 10 ? marchMonth + 2 : marchMonth - 10;
  const year = yearOfEra + era * 400 + (month < 2 ? 1 : 0);
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month] ?? 0;
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  return {
    year, month, day, hour: Math.floor(rest / 3600), minute: Math.floor(rest / 60) % 60, second: Math.floor(rest) % 60,
    weekday: (((days + 4) % 7) + 7) % 7, yearday: before + day - 1 + (leap && month > 1 ? 1 : 0),
  };
}

const two = (n: number): string => String(n).padStart(2, '0');

export function strftime(format: string, seconds: number): string {
  const c = calendar(seconds);
  const day = DAYS[c.weekday] ?? '';
  const month = MONTHS[c.month] ?? '';
  const twelve = c.hour % 12 === 0 ? 12 : c.hour % 12;
  const values: Readonly<Record<string, () => string>> = {
    a: () => day.slice(0, 3), A: () => day, b: () => month.slice(0, 3), h: () => month.slice(0, 3), B: () => month, d: () => two(c.day), e: () => String(c.day).padStart(2),
    H: () => two(c.hour), I: () => two(twelve), j: () => String(c.yearday + 1).padStart(3, '0'), m: () => two(c.month + 1), M: () => two(c.minute), S: () => two(c.second),
    y: () => two(c.year % 100), Y: () => String(c.year), Z: () => 'UTC', z: () => '+0000', p: () => (c.hour < 12 ? 'AM' : 'PM'), s: () => String(Math.floor(seconds)),
    u: () => String(c.weekday || 7), w: () => String(c.weekday), n: () => '\n', t: () => '\t', '%': () => '%',
    N: () => String(Math.round((seconds % 1) * 1e9)).padStart(9, '0'),
    D: () => strftime('%m/%d/%y', seconds), F: () => strftime('%Y-%m-%d', seconds), T: () => strftime('%H:%M:%S', seconds), R: () => strftime('%H:%M', seconds),
    c: () => strftime('%a %b %e %H:%M:%S %Y', seconds), x: () => strftime('%m/%d/%y', seconds), X: () => strftime('%H:%M:%S', seconds), r: () => strftime('%I:%M:%S %p', seconds),
  };
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => values[letter]?.() ?? whole);
}
