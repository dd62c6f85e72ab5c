/**
 * ps: processes and threads, from /proc. UNIX options -e -A -a -x -f -F -l -j -L -T -H -p -C -t -o -u --no-headers --sort --ppid,
 * BSD's `aux`, `ax`, `l`, `j`, `-o` lists with headings (`pid=`, `comm=NAME`, `wchan:14`).
 */
import type { Sys } from '../abi/process.ts';
import { eputs, getpid, fputs, isatty, time, windowSize } from './libc.ts';
import { COLUMNS, type Column, type Moment } from './lib/ps-columns.ts';
import { type TaskStat, USER_HZ, readMeminfo, readUptime, tasks } from './lib/procfs.ts';

interface Shown { readonly column: Column; readonly heading: string; readonly width: number }

interface Wanted {
  all: boolean; terminals: boolean; mine: boolean; threads: boolean; headings: boolean; deselect: boolean;
  wide: boolean;
  pids: number[]; ppids: number[]; names: string[];
  format: string[];
  extra: string;
  sort: string[];
}

const column = (name: string): Shown => {
  const found = COLUMNS[name];
  if (!found) throw new RangeError(name);
  return { column: found, heading: found.heading, width: found.width };
};

/** Columns of one -o argument: names parted by commas or blanks; `name=HEADING` takes the rest of the argument. */
function parseFormat(list: string): Shown[] {
  const out: Shown[] = [];
  let rest = list.trim();
  while (rest !== '') {
    const found = /^([%\w]+)(?::(\d+))?(?:=([^,]*(?:,(?![%\w]+(?:[:=,]|$))[^,]*)*)?)?/.exec(rest);
    if (!found) throw new RangeError(rest);
    const base = column(found[1] ?? '');
    const heading = found[0].includes('=') ? (found[3] ?? '') : base.heading;
    out.push({ ...base, heading, width: found[2] !== undefined ? Number(found[2]) : found[0].includes('=') ? Math.max(heading.length, base.width) : base.width });
    rest = rest.slice(found[0].length).replace(/^[,\s]+/, '');
  }
  return out;
}

const FORMATS: Readonly<Record<string, string>> = {
  '':  'pid,tname,time,ucmd',
  L:   'pid,lwp,tname,time,ucmd',
  T:   'pid,spid,tname,time,ucmd',
  f:   'user=UID,pid,ppid,c,stime,tname,time,cmd',
  fL:  'user=UID,pid,ppid,lwp,c,nlwp,stime,tname,time,cmd',
  l:   'f,s,uid,pid,ppid,c,opri,ni,addr,sz,wchan,tname,time,ucmd',
  lL:  'f,s,uid,pid,ppid,lwp,c,opri,ni,addr,sz,wchan,tname,time,ucmd',
  j:   'pid,pgid,sid,tname,time,ucmd',
  u:   'user,pid,%cpu,%mem,vsz,rss,tname,stat,start_time,bsdtime,args',
  x:   'pid,tname,stat,bsdtime,args',
  F:   'user=UID,pid,ppid,c,sz,rss,psr,stime,tname,time,cmd',
};

const numbers = (text: string): number[] => text.split(/[,\s]+/).filter((t) => t !== '').map(Number);

/** What the arguments ask for; a string is what is wrong with them. */
function parse(args: readonly string[]): Wanted | string {
  const w: Wanted = { all: false, terminals: false, mine: true, threads: false, headings: true, deselect: false, wide: false, pids: [], ppids: [], names: [], format: [], extra: '', sort: [] };
  const style = new Set<string>();
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg.startsWith('--')) {
      const [name = '', value] = arg.slice(2).split(/=(.*)/s);
      const take = () => value ?? args[++i] ?? '';
      if (name === 'no-headers' || name === 'no-heading') w.headings = false;
      else if (name === 'sort') w.sort.push(...take().split(','));
      else if (name === 'pid') w.pids.push(...numbers(take()));
      else if (name === 'ppid') w.ppids.push(...numbers(take()));
      else if (name === 'format') w.format.push(take());
      else return `unknown gnu long option`;
      continue;
    }
    const bsd = !arg.startsWith('-');
    if (bsd && /^\d/.test(arg)) {
      w.pids.push(...numbers(arg));
      continue;
    }
    const letters = bsd ? arg : arg.slice(1);
    for (let j = 0; j < letters.length; j++) {
      const letter = letters.charAt(j);
      const take = (): string => {
        const rest = letters.slice(j + 1);
        j = letters.length;
        return rest !== '' ? rest : (args[++i] ?? '');
      };
      if (letter === 'o' || letter === 'O') w.format.push(take());
      else if (letter === 'p') w.pids.push(...numbers(take()));
      else if (letter === 'w') w.wide = true;
      else if (bsd && letter === 'a') w.terminals = true;
      else if (bsd && letter === 'x') { w.mine = false; style.add('x'); }
      else if (bsd && letter === 'u') style.add('u');
      else if (bsd && (letter === 'e' || letter === 'f' || letter === 'r')) continue;
      else if (bsd && letter === 'h') w.headings = false;
      else if (bsd && (letter === 'H' || letter === 'm')) w.threads = true;
      else if (bsd && (letter === 'l' || letter === 'j')) style.add(letter);
      else if (bsd && letter === 'A') w.all = true;
      else if (letter === 'e' || letter === 'A') w.all = true;
      else if (letter === 'a' || letter === 'd') w.terminals = true;
      else if (letter === 'f' || letter === 'F' || letter === 'l' || letter === 'j') style.add(letter);
      else if (letter === 'L' || letter === 'T') { w.threads = true; style.add(letter); }
      else if (letter === 'C') w.names.push(...take().split(','));
      else if (letter === 'u' || letter === 'U' || letter === 't') { take(); w.all = true; }
      else if (letter === 'H' || letter === 'y' || letter === 'M') continue;
      else if (letter === 'N') w.deselect = true;
      else return bsd ? 'unsupported option (BSD syntax)' : 'unsupported SysV option';
    }
  }
  // BSD: `a` lifts "only mine", `x` lifts "only with a terminal"; both together are every process.
  if (w.terminals && !w.mine) w.all = true;
  const base = ['u', 'F', 'f', 'l', 'j', 'L', 'T'].find((letter) => style.has(letter));
  const bsd = style.has('x') || (w.terminals && args.some((a) => !a.startsWith('-')));
  const key = base === undefined ? (bsd ? 'x' : '') : (base === 'f' || base === 'l') && style.has('L') ? `${base}L` : base;
  w.extra = FORMATS[key] ?? '';
  return w;
}

function select(w: Wanted, list: readonly TaskStat[], self: TaskStat | undefined): TaskStat[] {
  const byList = w.pids.length + w.ppids.length + w.names.length > 0;
  const chosen = (t: TaskStat): boolean =>
    byList ? w.pids.includes(t.pid) || w.ppids.includes(t.ppid) || w.names.includes(t.comm)
    : w.all ? true
    : w.terminals ? t.tty_nr !== 0
    : !w.mine ? true
    : t.tty_nr === (self?.tty_nr ?? 0);
  return list.filter((t) => chosen(t) !== w.deselect);
}

function* sorted(w: Wanted, list: TaskStat[], moment: Moment): Sys<TaskStat[]> {
  const keys: { values: Map<TaskStat, string>; down: boolean }[] = [];
  for (const key of w.sort) {
    const name = key.replace(/^[-+]/, '');
    const values = new Map<TaskStat, string>();
    for (const task of list) values.set(task, yield* valueOf(column(name).column, task, moment));
    keys.push({ values, down: key.startsWith('-') });
  }
  return list.sort((a, b) => {
    for (const { values, down } of keys) {
      const [x = '', y = ''] = [values.get(a), values.get(b)];
      const order = Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? (x < y ? -1 : x > y ? 1 : 0) : Number(x) - Number(y);
      if (order !== 0) return down ? -order : order;
    }
    return 0;
  });
}

function* valueOf(c: Column, task: TaskStat, moment: Moment): Sys<string> {
  const value = c.value(task, moment);
  return typeof value === 'string' ? value : yield* value;
}

export function* main(argv: string[]): Sys<number> {
  const wanted = parse(argv.slice(1));
  if (typeof wanted === 'string') {
    yield* eputs(`error: ${wanted}\n\nUsage:\n ps [options]\n\n Try 'ps --help <simple|list|output|threads|misc|all>'\n  or 'ps --help <s|l|o|t|m|a>'\n for additional help text.`);
    return 1;
  }
  let shown: Shown[];
  try {
    shown = (wanted.format.length > 0 ? wanted.format : [wanted.extra]).flatMap(parseFormat);
    for (const key of wanted.sort) column(key.replace(/^[-+]/, ''));
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    yield* eputs(`error: unknown user-defined format specifier "${e.message}"\n\nUsage:\n ps [options]`);
    return 1;
  }
  const self = (yield* tasks(false, [yield* getpid()]))[0];
  const list = select(wanted, yield* tasks(wanted.threads), self);
  const moment: Moment = { uptime: yield* readUptime(), now: yield* time(), memory: (yield* readMeminfo()).get('MemTotal') ?? 1, ticks: USER_HZ };
  const terminal = yield* isatty(1);
  const limit = terminal && !wanted.wide ? (yield* windowSize(1)).cols : Number.POSITIVE_INFINITY;
  const line = (cells: readonly string[], heading = false): string => {
    let out = '';
    let over = 0;
    for (const [i, cell] of cells.entries()) {
      const { column: c, width } = shown[i] ?? { column: { left: true }, width: 0 };
      const last = i === cells.length - 1;
      // A value too wide pushes the next ones right until blanks have made up for it, as procps does.
      const room = Math.max(0, width - over);
      const text = c.left ? (last ? cell : (heading ? cell : cell.slice(0, Math.max(width, 1))).padEnd(room)) : cell.padStart(room);
      over = Math.max(0, text.length + over - width);
      out += (i > 0 ? ' ' : '') + text;
    }
    return `${out.slice(0, limit)}\n`;
  };
  let out = '';
  if (wanted.headings && shown.some(({ heading }) => heading !== '')) out += line(shown.map(({ heading }) => heading), true).replace(/ +\n$/, '\n');
  for (const task of yield* sorted(wanted, list, moment)) {
    const cells: string[] = [];
    for (const { column: c } of shown) cells.push(yield* valueOf(c, task, moment));
    out += line(cells);
  }
  yield* fputs(out);
  return list.length > 0 ? 0 : 1;
}
