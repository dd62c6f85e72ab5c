/**
 * The values of options: lists of properties, sizes with suffixes. QEMU: util/keyval.c, util/cutils.c
 */
import { OptionError } from './option-error.ts';

export interface PropertyReader {
  has(key: string): boolean;
  /** The value of a property, which counts as read. */
  take(key: string): string | undefined;
  /** Refuses the first property nobody has read. */
  finish(message: (key: string) => string): void;
}

/** "pc,accel=kvm" is { first: 'pc', … }. The first value may carry its key too: `firstKey`. A word without "=" is KEY=on. */
export function parseProperties(text: string, firstKey: string): { readonly first: string; readonly properties: PropertyReader } {
  const values = new Map<string, string>();
  text.split(',').forEach((part, i) => {
    const equals = part.indexOf('=');
    if (equals >= 0) values.set(part.slice(0, equals), part.slice(equals + 1));
    else if (i === 0) values.set(firstKey, part);
    else if (part !== '') values.set(part, 'on');
  });
  const take = (key: string): string | undefined => {
    const value = values.get(key);
    values.delete(key);
    return value;
  };
  return {
    first: take(firstKey) ?? '',
    properties: {
      has: (key) => values.has(key),
      take,
      finish: (message) => {
        for (const key of values.keys()) throw new OptionError(message(key));
      },
    },
  };
}

const SUFFIXES = ['b', 'k', 'm', 'g', 't', 'p', 'e'];

/** "1.5G" in bytes. A number without a suffix counts in `unit`. */
export function parseSize(text: string, unit: number, key: string): number {
  const match = /^(0x[0-9a-f]+|\d+(?:\.\d+)?)([bkmgtpe])?$/i.exec(text);
  if (!match) throw new OptionError(`Parameter '${key}' expects a non-negative number below 2^64`);
  const [, digits = '', suffix] = match;
  return Math.floor(Number(digits) * (suffix === undefined ? unit : 1024 ** SUFFIXES.indexOf(suffix.toLowerCase())));
}
