/**
 * A C struct, declared once: its type, its byte layout (System V x86-64) and its accessors all follow.
 *
 * A view is a window on memory, never a copy: the kernel's kvm_run and the one user space mapped are two views of
 * one page, and each sees the other's stores. A view lies in a Space and remembers the host offset of its first
 * byte together with the space's generation, so that a load is a compare, an addition and a typed-array access.
 * A struct that crosses a page or is not aligned remembers nothing and goes through the space for each access.
 * Accessors are generated, one function a field: a shared one goes megamorphic and costs five times as much.
 */
import { alignUp } from '../lib/bits.ts';
import { type Field, type Scalar, s16, s32, s64, s8, u16, u32, u64, u8 } from './scalar.ts';
import { type Space, FlatSpace, Mem, bytesAt, contiguous, copyIn, copyOut, fill } from './space.ts';

export * from './scalar.ts';
export * from './space.ts';

// Views

// Names that C cannot spell: structs have members called `base`, `mem`, `size` and `gen`.
/** What every view knows of itself. */
export interface Located {
  readonly '@space': Space;
  readonly '@base': number;
  readonly '@type': Field<unknown>;
}

/** C's `&view`. */
export const addressOf = (view: Located): number => view['@base'];
export const spaceOf = (view: Located): Space => view['@space'];
/** C's `sizeof`, of a type or of a view. */
export const sizeof = (x: Located | Field<unknown>): number => ('@type' in x ? x['@type'].size : x.size);

/** A fresh copy of the bytes a view covers. */
export const bytesOf = (view: Located): Uint8Array => bytesAt(view['@space'], view['@base'], sizeof(view));

/** The bytes a view in flat memory covers, themselves: writing to them writes to the view. */
export function windowOf(view: Located): Uint8Array {
  const space = view['@space'];
  if (!(space instanceof FlatSpace)) throw new TypeError(`${view['@type'].name}: only a view in flat memory has a window`);
  return space.mem.u8.subarray(view['@base'], view['@base'] + sizeof(view));
}

/** `T name[n]`. An index outside the array throws RangeError; a flexible array has no bound and length 0, as sizeof sees it. */
export interface ArrayView<T> extends Located, Iterable<T> {
  readonly length: number;
  get(i: number): T;
  set(i: number, value: T): void;
}

type Anonymous<F extends Fields> = Field<View<F>> & { readonly anonymous: true; readonly '@fields': F };
// biome-ignore lint/suspicious/noExplicitAny: a field of any type; the DSL's own inference needs it
type Fields = Record<string, Field<any>>;
type ValueOf<X> = X extends Field<infer T> ? T : never;
type Both<U> = (U extends unknown ? (x: U) => void : never) extends (x: infer I) => void ? I : never;
type Hoisted<F extends Fields> = Both<{ [K in keyof F]: F[K] extends Anonymous<infer G> ? Members<G> : never }[keyof F]>;
type Members<F extends Fields> = { [K in keyof F as F[K] extends { readonly anonymous: true } ? never : K]: ValueOf<F[K]> } & Hoisted<F>;
export type View<F extends Fields> = Members<F> & Located;

/** `type kvm_regs = Of<typeof kvm_regs>`: one name for the struct and for its type, as in C. */
export type Of<S> = S extends Field<infer T> ? T : never;

/** An initializer: a view to copy, or values by member name, by index for arrays. What is not named is zero, as in C. */
export type Init<T> =
  T extends ArrayView<infer E> ? ArrayView<E> | ArrayLike<Init<E>>
  : T extends Located ? T | { [K in keyof T as K extends `@${string}` ? never : K]?: Init<T[K]> }
  : T;

/** One member of a struct, for printing and for offset tables. Members of anonymous unions count as the parent's. */
export interface Member {
  readonly name: string;
  readonly offset: number;
  readonly field: Field<unknown>;
}

export interface Struct<F extends Fields> extends Field<View<F>> {
  readonly kind: 'struct' | 'union';
  /** Byte offset by member name; a member of a nested struct as 'cs.base'. */
  readonly offset: { readonly [K in keyof Members<F>]: number } & { readonly [nested: `${string}.${string}`]: number };
  readonly members: readonly Member[];
  /** A view of the struct at `address`. Touches no memory yet: a bad address faults at the first access. */
  at(space: Space, address: number): View<F>;
  /** A struct in flat memory of its own, zero but for `init`. */
  make(init?: Init<View<F>>): View<F>;
  /** A private copy of the struct at `address`, as copy_from_user makes one. */
  copyIn(space: Space, address: number): View<F>;
}

/** Byte offset of a member by its path ('cs.base', 'entries.3.index'); an unknown path throws. */
export function offsetof(type: Field<unknown>, path: string): number {
  let at = 0;
  let field: Field<unknown> = type;
  for (const step of path.split('.')) {
    const { of, members } = field as { of?: Field<unknown>; members?: readonly Member[] };
    const member = members?.find((m) => m.name === step);
    if (member) { at += member.offset; field = member.field; }
    else if (of && /^\d+$/.test(step)) { at += Number(step) * of.size; field = of; }
    else throw new TypeError(`${type.name} has no member ${path}`);
  }
  return at;
}

/** Writes an initializer over an existing struct or array: what C does on assignment of a compound literal. */
export const assign = <T extends Located>(view: T, init: Init<T>): T => {
  (view['@type'] as Field<unknown>).store(view['@space'], view['@base'], init);
  return view;
};

/** Copies `value` to `address` when it is a view. Through a buffer: the two may overlap, and a fault must leave no half. */
function storeView(space: Space, address: number, value: object, size: number): boolean {
  if (!('@type' in value)) return false;
  copyOut(space, address, bytesOf(value as Located).subarray(0, size));
  return true;
}

// Slow paths of the generated accessors

interface Cached extends Located {
  '@off': number; '@gen': number; '@woff': number; '@wgen': number;
  /** Whether one translation covers the whole struct at its natural alignment. */
  readonly '@whole': boolean;
}

/** A load whose translation is missing or of an older generation. */
function reload<T>(view: Cached, field: Field<T>, offset: number): T {
  const space = view['@space'];
  if (view['@whole']) {
    view['@off'] = space.resolve(view['@base'], false);
    view['@gen'] = space.gen;
  }
  return field.load(space, view['@base'] + offset);
}

function restore<T>(view: Cached, field: Field<T>, offset: number, value: T): void {
  const space = view['@space'];
  if (view['@whole']) {
    view['@woff'] = space.resolve(view['@base'], true);
    view['@wgen'] = space.wgen;
  }
  field.store(space, view['@base'] + offset, value);
}

function isWhole(space: Space, base: number, size: number, align: number): boolean {
  if (space instanceof FlatSpace && !(base >= 0 && base + size <= space.mem.u8.length)) {
    throw new RangeError(`${size} bytes at ${base} do not lie in a flat space of ${space.mem.u8.length} bytes`);
  }
  return base % align === 0 && size <= contiguous(space, base);
}

// Arrays

export interface ArrayField<E> extends Field<ArrayView<E>> {
  readonly kind: 'array' | 'flex';
  readonly of: Field<E>;
  readonly length: number;
}

type ArrayClass = new (space: Space, base: number, type: ArrayField<unknown>) => ArrayView<never>;
const outside = (i: number, type: ArrayField<unknown>): never => { throw new RangeError(`index ${i} is outside ${type.name}`); };

/**
 * Views of scalar arrays remember the translation of the page last touched, [@lo, @hi), for reads and for writes.
 * One class a scalar width.
 */
const scalarArrayClass = (of: Scalar<number | bigint>): ArrayClass => new Function('of', 'outside', 'contiguous', 'PAGE', `
  return class ArrayOf_${of.name} {
    constructor(space, base, type) {
      this['@space'] = space; this['@base'] = base; this['@type'] = type; this['@mem'] = space.mem;
      this.length = type.kind === 'flex' ? 0 : type.length;
      this['@bound'] = type.length;
      this['@whole'] = base % ${of.size} === 0;
      this['@gen'] = -1; this['@lo'] = 0; this['@hi'] = 0; this['@off'] = 0;
      this['@wgen'] = -1; this['@wlo'] = 0; this['@whi'] = 0; this['@woff'] = 0;
    }
    get(i) {
      if (!(i >= 0 && i < this['@bound'])) outside(i, this['@type']);
      const at = this['@base'] + i * ${of.size}, space = this['@space'];
      if (space.gen === this['@gen'] && at >= this['@lo'] && at < this['@hi']) return this['@mem'].${of.name}[(at - this['@lo'] + this['@off']) >>> ${Math.log2(of.size)}];
      if (this['@whole']) {
        this['@off'] = space.resolve(at, false); this['@gen'] = space.gen; this['@lo'] = at; this['@hi'] = at + contiguous(space, at);
      }
      return of.load(space, at);
    }
    set(i, value) {
      if (!(i >= 0 && i < this['@bound'])) outside(i, this['@type']);
      const at = this['@base'] + i * ${of.size}, space = this['@space'];
      if (space.wgen === this['@wgen'] && at >= this['@wlo'] && at < this['@whi']) { this['@mem'].${of.name}[(at - this['@wlo'] + this['@woff']) >>> ${Math.log2(of.size)}] = value; return; }
      if (this['@whole']) {
        this['@woff'] = space.resolve(at, true); this['@wgen'] = space.wgen; this['@wlo'] = at; this['@whi'] = at + contiguous(space, at);
      }
      of.store(space, at, value);
    }
    *[Symbol.iterator]() { for (let i = 0; i < this.length; i++) yield this.get(i); }
  };`)(of, outside, contiguous) as ArrayClass;

const scalarArrays = new Map([u8, u16, u32, u64, s8, s16, s32, s64].map((of) => [of as Field<unknown>, scalarArrayClass(of as Scalar<number | bigint>)]));

/** Views of arrays of structs or arrays: each element is a view made when asked for. */
class ArrayOfViews implements ArrayView<unknown> {
  readonly '@space': Space;
  readonly '@base': number;
  readonly '@type': ArrayField<unknown>;
  readonly length: number;
  constructor(space: Space, base: number, type: ArrayField<unknown>) {
    this['@space'] = space; this['@base'] = base; this['@type'] = type;
    this.length = type.kind === 'flex' ? 0 : type.length;
  }
  get(i: number): unknown {
    const type = this['@type'];
    if (!(i >= 0 && i < type.length)) outside(i, type);
    return type.of.load(this['@space'], this['@base'] + i * type.of.size);
  }
  set(i: number, value: unknown): void {
    const type = this['@type'];
    if (!(i >= 0 && i < type.length)) outside(i, type);
    type.of.store(this['@space'], this['@base'] + i * type.of.size, value);
  }
  *[Symbol.iterator](): Generator<unknown> { for (let i = 0; i < this.length; i++) yield this.get(i); }
}

function arrayField<E>(of: Field<E>, n: number, kind: 'array' | 'flex'): ArrayField<E> {
  const size = kind === 'flex' ? 0 : of.size * n;
  const Class = scalarArrays.get(of as Field<unknown>) ?? (ArrayOfViews as unknown as ArrayClass);
  const type: ArrayField<E> = {
    name: kind === 'flex' ? `${of.name}[]` : `${of.name}[${n}]`,
    kind, of, length: n, size, align: of.align,
    load: (space, address) => new Class(space, address, type as ArrayField<unknown>) as ArrayView<E>,
    store: (space, address, value) => {
      if (storeView(space, address, value, size)) return;
      const elements = value as unknown as ArrayLike<E>;
      if (elements.length > n) outside(elements.length - 1, type as ArrayField<unknown>);
      for (let i = 0; i < elements.length; i++) of.store(space, address + i * of.size, elements[i]!);
      if (size > 0) fill(space, address + elements.length * of.size, size - elements.length * of.size);
    },
  };
  return type;
}

/** `T name[n]`. */
export const array = <E>(of: Field<E>, n: number): ArrayField<E> => arrayField(of, n, 'array');
/** `T name[]`, C's flexible array member. */
export const flex = <E>(of: Field<E>): ArrayField<E> => arrayField(of, Number.POSITIVE_INFINITY, 'flex');

// Structs and unions

/** `packed` and `align` are GCC's attributes of those names. */
export interface Attributes { readonly packed?: boolean; readonly align?: number }

export const struct = <F extends Fields>(name: string, fields: F, attributes: Attributes = {}): Struct<F> =>
  layout(name, fields, 'struct', 0, attributes);
/** `size` stands for the `char padding[size]` arm. */
export const union = <F extends Fields>(name: string, fields: F, size = 0): Struct<F> => layout(name, fields, 'union', size, {});

/** A member without a name: its own members become the parent's. The key it is given in the parent is never seen. */
const anonymous = <F extends Fields>(type: Struct<F>): Anonymous<F> => Object.assign(type, { anonymous: true }) as unknown as Anonymous<F>;
export const anonymousStruct = <F extends Fields>(fields: F): Anonymous<F> => anonymous(struct('', fields));
export const anonymousUnion = <F extends Fields>(fields: F, size = 0): Anonymous<F> => anonymous(union('', fields, size));

interface Layout { readonly size: number; readonly align: number; readonly members: readonly Member[] }

function place(name: string, fields: Fields, kind: 'struct' | 'union', minSize: number, { packed = false, align: minAlign = 1 }: Attributes): Layout {
  const members: Member[] = [];
  let end = 0;
  let size = minSize;
  let align = minAlign;
  for (const [key, field] of Object.entries(fields)) {
    const at = kind === 'union' ? 0 : packed ? end : alignUp(end, field.align);
    end = at + field.size;
    size = Math.max(size, end);
    align = Math.max(align, packed ? 1 : field.align);
    if ('anonymous' in field) {
      for (const m of (field as unknown as Layout).members) members.push({ name: m.name, offset: at + m.offset, field: m.field });
    } else members.push({ name: key, offset: at, field });
  }
  const names = new Set<string>();
  for (const m of members) {
    if (names.has(m.name) || m.name.startsWith('@')) throw new TypeError(`struct ${name}: member ${m.name} is declared twice or is a reserved name`);
    names.add(m.name);
  }
  return { size: alignUp(size, align), align, members };
}

type ViewClass = new (space: Space, base: number) => Located;

/** The class of views of one struct: a getter and a setter a member, nested views made once a view. */
function viewClass(type: Field<unknown> & Layout, label: string): ViewClass {
  const fields = type.members.map((m) => m.field);
  const slots = type.members.filter((m) => m.field.kind !== 'scalar').map((m) => `this[${JSON.stringify(`@.${m.name}`)}] = undefined;`);
  const accessors = type.members.map(({ name, offset, field }, i) => {
    const key = JSON.stringify(name);
    const aligned = offset % field.align === 0 && type.align >= field.align;
    if (field.kind !== 'scalar') {
      const slot = `this[${JSON.stringify(`@.${name}`)}]`;
      return `get ${key}() { return ${slot} ??= fields[${i}].load(this['@space'], this['@base'] + ${offset}); }
              set ${key}(v) { fields[${i}].store(this['@space'], this['@base'] + ${offset}, v); }`;
    }
    if (!aligned) {
      return `get ${key}() { return fields[${i}].load(this['@space'], this['@base'] + ${offset}); }
              set ${key}(v) { fields[${i}].store(this['@space'], this['@base'] + ${offset}, v); }`;
    }
    const shift = Math.log2(field.size);
    return `get ${key}() {
              if (this['@space'].gen === this['@gen']) return this['@mem'].${field.name}[(this['@off'] + ${offset}) >>> ${shift}];
              return reload(this, fields[${i}], ${offset});
            }
            set ${key}(v) {
              if (this['@space'].wgen === this['@wgen']) this['@mem'].${field.name}[(this['@woff'] + ${offset}) >>> ${shift}] = v;
              else restore(this, fields[${i}], ${offset}, v);
            }`;
  });
  const Class = new Function('fields', 'reload', 'restore', 'isWhole', `
    return class ${label} {
      constructor(space, base) {
        this['@space'] = space; this['@base'] = base; this['@mem'] = space.mem;
        this['@off'] = 0; this['@gen'] = -1; this['@woff'] = 0; this['@wgen'] = -1;
        this['@whole'] = isWhole(space, base, ${type.size}, ${type.align});
        ${slots.join(' ')}
      }
      ${accessors.join('\n')}
    };`)(fields, reload, restore, isWhole) as ViewClass;
  Object.defineProperty(Class.prototype, '@type', { value: type });
  return Class;
}

/** Offsets of the members and, with dotted names, of those of nested structs. */
function offsets(members: readonly Member[], prefix = '', base = 0, into: Record<string, number> = {}): Record<string, number> {
  for (const { name, offset, field } of members) {
    into[prefix + name] = base + offset;
    if ('members' in field) offsets((field as unknown as Layout).members, `${prefix}${name}.`, base + offset, into);
  }
  return into;
}

function layout<F extends Fields>(name: string, fields: F, kind: 'struct' | 'union', minSize: number, attributes: Attributes): Struct<F> {
  const { size, align, members } = place(name, fields, kind, minSize, attributes);
  const byName = new Map(members.map((m) => [m.name, m]));
  // Both made on first use: most structs of a run are never touched.
  let Class: ViewClass | undefined;
  let table: Record<string, number> | undefined;
  const at = (space: Space, address: number) => {
    Class ??= viewClass(type as unknown as Field<unknown> & Layout, /^[A-Za-z_]\w*$/.test(name) ? name : 'unnamed');
    return new Class(space, address) as View<F>;
  };
  const fresh = (room: number) => at(new FlatSpace(new Mem(new ArrayBuffer(alignUp(Math.max(room, 1), 8)))), 0);
  const type: Struct<F> = {
    name: name === '' ? kind : name,
    kind, size, align, members,
    get offset() { return (table ??= { ...offsets(members) }) as Struct<F>['offset']; },
    at, load: at,
    store: (space, address, value: object) => {
      if (storeView(space, address, value, size)) return;
      fill(space, address, size);
      for (const [key, v] of Object.entries(value)) {
        const member = byName.get(key);
        if (!member) throw new TypeError(`${name} has no member ${key}`);
        member.field.store(space, address + member.offset, v);
      }
    },
    make: (init) => {
      const view = fresh(size);
      if (init !== undefined) type.store(view['@space'], 0, init as View<F>);
      return view;
    },
    copyIn: (space, address) => {
      const view = fresh(size);
      copyIn(space, address, windowOf(view));
      return view;
    },
  };
  return type;
}

/** A view's values as a plain object, nested structs and arrays too: for printing and comparing. */
export function plain(view: Located): unknown {
  const value = (v: unknown): unknown => (typeof v === 'object' && v !== null ? plain(v as Located) : v);
  const { members } = view['@type'] as Partial<Layout>;
  if (!members) return Array.from(view as ArrayView<unknown>, value);
  return Object.fromEntries(members.map((m) => [m.name, value((view as unknown as Record<string, unknown>)[m.name])]));
}
