/**
 * execve: a new program image in an old process.
 *
 * Linux: fs/exec.c, fs/binfmt_script.c
 *
 * Three formats: ELF (binfmt-elf.ts); a file that begins with PROGRAM_MAGIC stands for a registered TypeScript program, one that begins with
 * "#!" for its interpreter. The new address space is complete before the old one goes, so a failure leaves the caller
 * as it was.
 */
import { PROGRAM_MAGIC, type Program } from '../abi/process.ts';
import { E2BIG, EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOEXEC } from '../abi/errno.ts';
import { O_RDONLY, S_IFMT, S_IFREG } from '../abi/fcntl.ts';
import { SIG_IGN, sigmask } from '../abi/signal.ts';
import { AT_RANDOM } from '../abi/elf.ts';
import { fromUtf8, utf8 } from '../lib/text.ts';
import { current, kernelVariable, machine } from './current.ts';
import { do_close_on_exec, dup_fd, exit_files, fput, get_file } from './fs/file.ts';
import { getname } from './fs/namei.ts';
import { filp_open } from './fs/open.ts';
import { kernel_read } from './fs/read-write.ts';
import type { file } from './fs/types.ts';
import { mm_release, release_task } from './exit.ts';
import { fresh_thread } from './fork.ts';
import { is_elf, load_elf_binary } from './binfmt-elf.ts';
import { type pt_regs, start_thread } from './user-mode.ts';
import { mm_alloc, mmput } from './mm/mm.ts';
import { space_of } from './mm/space.ts';
import { PAGE_SIZE, TASK_SIZE, VM_GROWSDOWN, VM_MAYEXEC, VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_WRITE, type mm_struct, vm_area_struct } from './mm/types.ts';
import { get_user64, strncpy_from_user } from './mm/uaccess.ts';
import { insert_vma } from './mm/vma.ts';
import { attach_pid, detach_pid } from './pid.ts';
import { ptrace_exec } from './ptrace.ts';
import { default_action, recalc_sigpending, signal_wake_up, start_body } from './signal.ts';
import { exit_itimers } from './time/itimer.ts';
import { type MaySleep, PF_EXITING, PF_FORKNOEXEC, type task_struct } from './sched/types.ts';
import { wait_event_killable } from './sched/wait.ts';

/** Registered programs by name. */
export const programs = kernelVariable(() => new Map<string, Program>());

const MAX_ARG_STRINGS = 2 ** 21;
const MAX_ARG_STRLEN = 32 * PAGE_SIZE;
const BINPRM_BUF_SIZE = 256;
const MAX_INTERPRETERS = 4;
const STACK_TOP = TASK_SIZE - PAGE_SIZE;
const STACK_SIZE = 33 * PAGE_SIZE;
/** Where brk starts: above where a small static program would lie. */
const START_BRK = 0x55_5555_5560_00;

interface Binary { /** Undefined: machine code. */ readonly program: Program | undefined; readonly exe: file; readonly argv: string[]; readonly comm: string }

/** A NULL-terminated array of strings in user memory, or -errno. */
function read_strings(address: number): string[] | number {
  const list: string[] = [];
  if (address === 0) return list;
  for (let total = 0; ; ) {
    const at = get_user64(address + list.length * 8);
    if (at === undefined) return -EFAULT;
    if (at === 0n) return list;
    const text = strncpy_from_user(Number(at), MAX_ARG_STRLEN);
    if (typeof text === 'number') return text;
    if (text === undefined) return -E2BIG;
    total += text.length + 9;
    if (total > MAX_ARG_STRINGS) return -E2BIG;
    list.push(text);
  }
}

/** Finds the program behind a name, through "#!" lines. The file returned holds a reference. */
function open_exec(task: task_struct, name: string, argv: string[]): Binary | number {
  const comm = name.slice(name.lastIndexOf('/') + 1).slice(0, 15);
  for (let depth = 0; depth <= MAX_INTERPRETERS; depth++) {
    const f = filp_open(task, name, O_RDONLY, 0);
    if (typeof f === 'number') return f;
    const mode = f.f_inode.i_mode;
    const head = new Uint8Array(BINPRM_BUF_SIZE);
    const error = (mode & S_IFMT) !== S_IFREG || (mode & 0o111) === 0 ? -EACCES : kernel_read(f, head, 0);
    if (error < 0) {
      fput(f);
      return error;
    }
    if (is_elf(head)) return { program: undefined, exe: f, argv, comm };
    const line = fromUtf8(head.subarray(0, error)).split('\n', 1)[0]!;
    if (line.startsWith(PROGRAM_MAGIC)) {
      const program = programs().get(line.slice(PROGRAM_MAGIC.length).trim());
      if (program !== undefined) return { program, exe: f, argv, comm };
      fput(f);
      return -ENOEXEC;
    }
    fput(f);
    const script = /^#!\s*(\S+)(?:\s+(.*\S))?\s*$/.exec(line);
    if (script === null) return -ENOEXEC;
    argv = [script[1]!, ...(script[2] === undefined ? [] : [script[2]]), name, ...argv.slice(1)];
    name = script[1]!;
  }
  return -ELOOP;
}

/** The stack of a new image as the ABI lays it out: argc, argv, envp, then the strings at the top. */
function setup_stack(mm: mm_struct, argv: readonly string[], envp: readonly string[], auxv: readonly (readonly [number, number])[]): number {
  const flags = VM_READ | VM_WRITE | VM_GROWSDOWN | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
  const bytes = (list: readonly string[]) => utf8(list.map((s) => `${s}\0`).join(''));
  const args = bytes(argv);
  const env = bytes(envp);
  const pointers = (argv.length + envp.length + 3 + (auxv.length + 2) * 2) * 8;
  const room = args.length + env.length + pointers + 64;
  const size = Math.max(STACK_SIZE, Math.ceil(room / PAGE_SIZE) * PAGE_SIZE + STACK_SIZE);
  const vma = new vm_area_struct(mm, STACK_TOP - size, STACK_TOP, flags, 0, undefined, undefined);
  vma.name = '[stack]';
  insert_vma(vma);
  mm.env_end = STACK_TOP - 8;
  mm.env_start = mm.env_end - env.length;
  mm.arg_end = mm.env_start;
  mm.arg_start = mm.arg_end - args.length;
  const random = Math.floor((mm.arg_start - 16) / 16) * 16;
  mm.start_stack = Math.floor((random - pointers) / 16) * 16;
  const words = new BigUint64Array(pointers / 8);
  let i = 0;
  words[i++] = BigInt(argv.length);
  for (const [start, list] of [[mm.arg_start, argv], [mm.env_start, envp]] as const) {
    let at = start;
    for (const s of list) {
      words[i++] = BigInt(at);
      at += utf8(s).length + 1;
    }
    i++;
  }
  for (const [type, value] of [...auxv, [AT_RANDOM, random] as const]) {
    words[i++] = BigInt(type);
    words[i++] = BigInt(value);
  }
  const seed = new Uint8Array(16);
  if (auxv.length > 0) machine().random.fill(seed);
  const space = space_of(mm);
  for (const [address, data] of [[mm.start_stack, new Uint8Array(words.buffer)], [mm.arg_start, args], [mm.env_start, env], [random, seed]] as const) {
    for (let done = 0; done < data.length; ) {
      const at = space.translate(address + done, true);
      if (at < 0) return -E2BIG;
      const n = Math.min(data.length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
      space.mem.u8.set(data.subarray(done, done + n), at);
      done += n;
    }
  }
  return 0;
}

/** A complete new image of the program. */
function load(binary: Binary, argv: readonly string[], envp: readonly string[]): { mm: mm_struct; regs: pt_regs | undefined } | number {
  const mm = mm_alloc();
  if (typeof mm === 'number') return mm;
  mm.start_brk = mm.brk = START_BRK;
  const image = binary.program === undefined ? load_elf_binary(mm, binary.exe) : undefined;
  const error = typeof image === 'number' ? image : setup_stack(mm, argv, envp, image?.auxv ?? []);
  if (error < 0) {
    mmput(mm);
    return error;
  }
  mm.exe_file = get_file(binary.exe);
  if (typeof image !== 'object') return { mm, regs: undefined };
  space_of(mm).begin_machine_code();
  return { mm, regs: start_thread(image.entry, mm.start_stack) };
}

/** Makes the current task run that program. 0 or -errno; after 0 the old image is gone. */
export function* do_execve(task: task_struct, name: string, argv: string[], envp: string[]): MaySleep<number> {
  if (argv.length === 0) argv = [''];
  const binary = open_exec(task, name, argv);
  if (typeof binary === 'number') return binary;
  const image = load(binary, binary.argv, envp);
  fput(binary.exe);
  if (typeof image === 'number') return image;
  const { mm, regs } = image;
  const { program } = binary;
  const gen = program === undefined ? undefined : start_body(() => program.main([...binary.argv], [...envp]));
  if (gen === undefined && regs === undefined) {
    mmput(mm);
    return -ENOEXEC;
  }
  if (task.signal.threads.length > 1) {
    const alone = yield* de_thread(task);
    if (alone < 0) {
      mmput(mm);
      return alone;
    }
  }
  begin_new_exec(task, mm, binary.comm);
  task.frames.length = 0;
  task.regs = regs;
  task.frames.push({ gen, result: 0, burn: 0, calling: false, restart: 0, lost: undefined, saved: undefined });
  ptrace_exec(task);
  return 0;
}

/** All other threads die; the caller becomes the leader. */
function* de_thread(task: task_struct): MaySleep<number> {
  const { signal } = task;
  for (const thread of signal.threads) {
    if (thread === task || (thread.flags & PF_EXITING) !== 0) continue;
    thread.pending.signal |= sigmask(9);
    signal_wake_up(thread, true);
  }
  const leader = task.group_leader;
  const gone = () => signal.threads.every((t) => t === task || t.exit_state !== 0);
  const error = yield* wait_event_killable(signal.wait_chldexit, gone);
  if (error < 0) return error;
  if (leader !== task) take_leadership(task, leader);
  return 0;
}

/** The caller takes over number, parent and children of the dead leader, which is released. */
function take_leadership(task: task_struct, leader: task_struct): void {
  const { pid } = task;
  detach_pid(task);
  detach_pid(leader);
  task.pid = leader.pid;
  leader.pid = pid;
  attach_pid(task);
  attach_pid(leader);
  task.exit_signal = leader.exit_signal;
  task.start_time = leader.start_time;
  const { children } = leader.real_parent;
  children.splice(children.indexOf(leader), 1, task);
  task.group_leader = task;
  leader.group_leader = task;
  release_task(leader);
}

function begin_new_exec(task: task_struct, mm: mm_struct, comm: string): void {
  const old = task.mm;
  mm_release(task);
  task.mm = mm;
  mm.owner = task;
  if (old !== undefined) {
    task.signal.maxrss = Math.max(task.signal.maxrss, old.hiwater_rss);
    mmput(old);
  }
  task.user = fresh_thread(mm);
  task.user_fault = undefined;
  task.flags &= ~PF_FORKNOEXEC;
  task.comm = comm;
  task.signal.did_exec = true;
  exit_itimers(task.signal);
  if (task.sighand.count > 1) {
    task.sighand.count--;
    task.sighand = { action: task.sighand.action.slice(), count: 1 };
  }
  const { action } = task.sighand;
  for (let sig = 1; sig < action.length; sig++) {
    if (action[sig] !== default_action) action[sig] = action[sig]!.sa_handler === SIG_IGN ? { ...default_action, sa_handler: SIG_IGN } : default_action;
  }
  if (task.files!.count > 1) {
    const copy = dup_fd(task.files!);
    exit_files(task.files!);
    task.files = copy;
  }
  do_close_on_exec(task.files!);
  recalc_sigpending(task);
}

export function sys_execve(task: task_struct, name: number, argv: number, envp: number): number | MaySleep<number> {
  const path = getname(name);
  if (typeof path === 'number') return path;
  if (path === '') return -ENOENT;
  if (path.length >= 4096) return -ENAMETOOLONG;
  const args = read_strings(argv);
  if (typeof args === 'number') return args;
  const env = read_strings(envp);
  if (typeof env === 'number') return env;
  return do_execve(task, path, args, env);
}

/** Runs a program as the first process does: from inside the kernel. */
export const kernel_execve = (name: string, argv: string[], envp: string[]): MaySleep<number> => do_execve(current(), name, argv, envp);
