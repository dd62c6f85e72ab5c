/**
 * ls: names in a directory. Options -a -A -l -1 -C -d -F -h -i -r -R -S -t -U as GNU's.
 */
import type { Sys } from '../abi/process.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFSOCK, major, minor } from '../abi/fcntl.ts';
import { CLOCK_REALTIME } from '../abi/time.ts';
import { Errno, clock_gettime, eputs, fputs, isatty, lstat, readdir, readlink, stat, windowSize, type FileStatus } from './libc.ts';
import { strftime } from './lib/clock.ts';
import { inColumns } from './lib/columns.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError, type Parsed } from './lib/options.ts';

interface Entry { readonly name: string; readonly path: string; readonly status: FileStatus }

const TYPES: Readonly<Record<number, string>> = { [S_IFDIR]: 'd', [S_IFLNK]: 'l', [S_IFCHR]: 'c', [S_IFBLK]: 'b', [S_IFIFO]: 'p', [S_IFSOCK]: 's' };
const SIX_MONTHS = 15778476;

/** `drwxr-xr-x` of a mode. */
export function modeString(mode: number): string {
  const special = [0o4000, 0o2000, 0o1000];
  const triples = [6, 3, 0].map((shift, i) => {
    const bits = mode >> shift;
    const set = (mode & (special[i] ?? 0)) !== 0;
    const x = (bits & 1) !== 0;
    const last = set ? (i === 2 ? (x ? 't' : 'T') : x ? 's' : 'S') : x ? 'x' : '-';
    return (bits & 4 ? 'r' : '-') + (bits & 2 ? 'w' : '-') + last;
  });
  return (TYPES[mode & S_IFMT] ?? '-') + triples.join('');
}

function human(size: number): string {
  if (size < 1024) return String(size);
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    unit++;
  }
  const up = (n: number, by: number) => Math.ceil(n * by) / by;
  return `${value < 10 ? up(value, 10).toFixed(1) : up(value, 1)}${'KMGT'.charAt(unit - 1)}`;
}

class Lister {
  private readonly parsed: Parsed;
  private readonly terminal: boolean;
  private readonly width: number;
  private readonly now: number;
  status = 0;
  constructor(parsed: Parsed, terminal: boolean, width: number, now: number) {
    this.parsed = parsed;
    this.terminal = terminal;
    this.width = width;
    this.now = now;
  }

  private suffix(mode: number): string {
    if (!this.parsed.has('F', 'classify')) return this.parsed.has('p') && (mode & S_IFMT) === S_IFDIR ? '/' : '';
    switch (mode & S_IFMT) {
      case S_IFDIR: return '/';
      case S_IFLNK: return this.parsed.has('l') ? '' : '@';
      case S_IFIFO: return '|';
      case S_IFSOCK: return '=';
      default: return (mode & 0o111) !== 0 && (mode & S_IFMT) !== S_IFCHR && (mode & S_IFMT) !== S_IFBLK ? '*' : '';
    }
  }

  /** A name as GNU's ls shows it at a terminal: quoted when a shell would read it otherwise. */
  private shown(name: string): string {
    return this.terminal && /[^\w@%+=:,./~{}^-]/.test(name) ? (name.includes("'") ? `"${name}"` : `'${name}'`) : name;
  }

  sort(entries: Entry[]): Entry[] {
    const { parsed } = this;
    if (!parsed.has('U', 'f')) {
      const byName = (a: Entry, b: Entry) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
      entries.sort((a, b) => (parsed.has('S') ? b.status.st_size - a.status.st_size : parsed.has('t') ? b.status.st_mtime - a.status.st_mtime : 0) || byName(a, b));
      if (parsed.has('r', 'reverse')) entries.reverse();
    }
    return entries;
  }

  *print(entries: readonly Entry[]): Sys {
    const { parsed } = this;
    const inode = (e: Entry) => (parsed.has('i', 'inode') ? `${e.status.st_ino} ` : '');
    const name = (e: Entry) => `${inode(e)}${this.shown(e.name)}${this.suffix(e.status.st_mode)}`;
    if (parsed.has('l', 'n', 'g')) yield* this.long(entries);
    else if (parsed.has('1') || !(this.terminal || parsed.has('C'))) yield* fputs(entries.map((e) => `${name(e)}\n`).join(''));
    else yield* fputs(inColumns(entries.map(name), this.width));
  }

  private *long(entries: readonly Entry[]): Sys {
    const rows: string[][] = [];
    for (const { name, path, status } of entries) {
      const { st_mode, st_rdev } = status;
      const device = (st_mode & S_IFMT) === S_IFCHR || (st_mode & S_IFMT) === S_IFBLK;
      const size = device ? `${major(st_rdev)}, ${String(minor(st_rdev)).padStart(3)}` : this.parsed.has('h', 'human-readable') ? human(status.st_size) : String(status.st_size);
      const recent = this.now - status.st_mtime < SIX_MONTHS && status.st_mtime <= this.now + 1;
      const target = (st_mode & S_IFMT) === S_IFLNK ? yield* maybe(readlink(path)) : undefined;
      const user = (id: number) => (id === 0 && !this.parsed.has('n') ? 'root' : String(id));
      rows.push([
        (this.parsed.has('i', 'inode') ? `${status.st_ino} ` : '') + modeString(st_mode), String(status.st_nlink), user(status.st_uid), user(status.st_gid), size,
        strftime(recent ? '%b %e %H:%M' : '%b %e  %Y', status.st_mtime), this.shown(name) + this.suffix(st_mode) + (target === undefined ? '' : ` -> ${target}`),
      ]);
    }
    const width = (column: number) => rows.reduce((most, row) => Math.max(most, row[column]?.length ?? 0), 0);
    const widths = [0, 1, 2, 3, 4].map(width);
    for (const [mode = '', links = '', user = '', group = '', size = '', date = '', name = ''] of rows) {
      yield* fputs(`${mode} ${links.padStart(widths[1] ?? 0)} ${user.padEnd(widths[2] ?? 0)} ${group.padEnd(widths[3] ?? 0)} ${size.padStart(widths[4] ?? 0)} ${date} ${name}\n`);
    }
  }

  *entry(name: string, path: string): Sys<Entry | undefined> {
    try {
      return { name, path, status: yield* lstat(path) };
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`ls: cannot access '${path}': ${e.text}`);
      this.status = Math.max(this.status, 1);
      return undefined;
    }
  }

  *directory(path: string, heading: boolean, first: boolean): Sys {
    const { parsed } = this;
    let names: string[];
    try {
      names = (yield* readdir(path)).map((d) => d.d_name);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`ls: cannot open directory '${path}': ${e.text}`);
      this.status = 2;
      return;
    }
    const all = parsed.has('a', 'all', 'f');
    const almost = parsed.has('A', 'almost-all');
    const entries: Entry[] = [];
    for (const name of names) {
      if (name.startsWith('.') && !(all || (almost && name !== '.' && name !== '..'))) continue;
      const entry = yield* this.entry(name, path.endsWith('/') ? path + name : `${path}/${name}`);
      if (entry) entries.push(entry);
    }
    this.sort(entries);
    if (heading) yield* fputs(`${first ? '' : '\n'}${path}:\n`);
    if (parsed.has('l', 'n')) yield* fputs(`total ${Math.ceil(entries.reduce((sum, e) => sum + e.status.st_blocks, 0) / 2)}\n`);
    yield* this.print(entries);
    if (!parsed.has('R', 'recursive')) return;
    for (const { name, path: inner, status } of entries) {
      if ((status.st_mode & S_IFMT) === S_IFDIR && name !== '.' && name !== '..') yield* this.directory(inner, true, false);
    }
  }
}

const LONG = { all: 0, 'almost-all': 0, classify: 2, 'human-readable': 0, inode: 0, reverse: 0, recursive: 0, directory: 0, color: 2 } as const;

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'aAlCFhiRrStUdf1npg', LONG);
  if (parsed.error !== undefined) return yield* usageError('ls', parsed.error, 2);
  const terminal = yield* isatty(1);
  const lister = new Lister(parsed, terminal, terminal ? (yield* windowSize(1)).cols : 80, Number((yield* clock_gettime(CLOCK_REALTIME)) / 1_000_000_000n));
  const operands = parsed.operands.length > 0 ? parsed.operands : ['.'];
  const files: Entry[] = [];
  const directories: string[] = [];
  for (const path of operands) {
    try {
      // A link given by name is followed unless it is itself what is asked about.
      const itself = parsed.has('d', 'directory') || parsed.has('l');
      const status = itself ? yield* lstat(path) : ((yield* maybe(stat(path))) ?? (yield* lstat(path)));
      if ((status.st_mode & S_IFMT) === S_IFDIR && !parsed.has('d', 'directory')) directories.push(path);
      else files.push({ name: path, path, status });
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`ls: cannot access '${path}': ${e.text}`);
      lister.status = 2;
    }
  }
  yield* lister.print(lister.sort(files));
  const heading = operands.length > 1 || parsed.has('R', 'recursive');
  for (const [i, path] of directories.sort().entries()) yield* lister.directory(path, heading, i === 0 && files.length === 0);
  return lister.status;
}
