/**
 * Boot: from the first instruction of processor 0 to the first process.
 *
 * Linux: init/main.c (start_kernel, rest_init, kernel_init), arch/x86/kernel/smpboot.c
 */
import { O_RDWR } from '../abi/fcntl.ts';
import { MS_RDONLY } from '../abi/mount.ts';
import { PROGRAM_MAGIC } from '../abi/process.ts';
import { is_elf } from './binfmt-elf.ts';
import { console_log_init } from './console-log.ts';
import { current, machine, set_current, this_processor } from './current.ts';
import { fd_install, files_struct } from './fs/file.ts';
import { drivers_init, fs_init, init_fs, mount_host } from './fs/init.ts';
import { do_new_mount } from './fs/namespace.ts';
import { filp_open } from './fs/open.ts';
import { root_path } from './fs/root-path.ts';
import type { path } from './fs/types.ts';
import type { InitialEntry } from './fs/ramfs.ts';
import { kernel_execve, programs } from './exec.ts';
import { bare_task, kthread_create } from './fork.ts';
import { CALL_FUNCTION_VECTOR, LOCAL_TIMER_VECTOR, RESCHEDULE_VECTOR, SPURIOUS_APIC_VECTOR, register_vector_handler, setup_local_APIC } from './irq.ts';
import type { KernelOptions } from './kernel.ts';
import { hugepage_init } from './mm/huge-memory.ts';
import { module_sysfs_init } from './module-sysfs.ts';
import { MODULE_MAGIC, modules, request_module } from './module.ts';
import { nr_free_pages, totalram_pages } from './mm/page-alloc.ts';
import { panic } from './panic.ts';
import { pid_state } from './pid.ts';
import { LOGLEVEL_WARNING, log, pr_err, pr_info, pr_notice } from './printk.ts';
import { runqueues, wake_up_new_task } from './sched/core.ts';
import { base_slice } from './sched/fair.ts';
import { type MaySleep, PF_KTHREAD, TASK_INTERRUPTIBLE } from './sched/types.ts';
import { init_syscall_table } from './syscall-table.ts';
import { hrtimer_interrupt } from './time/hrtimer.ts';
import { HZ } from './time/timekeeping.ts';
import { LINUX_BANNER, RELEASE } from './version.ts';

type Options = KernelOptions & { readonly cmdline: string };

/** Brings the kernel up on processor 0 and leaves init and kthreadd ready to run. */
export function start_kernel(options: Options): void {
  const { processors, ram, tscKhz } = machine();
  const p = this_processor();
  set_current(runqueues()[p.id]!.idle);
  if (options.quiet === true) log().console_loglevel = LOGLEVEL_WARNING;
  const mib = (bytes: number) => `${Math.floor(bytes / 2 ** 20)}M`;
  pr_notice(LINUX_BANNER);
  pr_info(`Command line: ${options.cmdline}`);
  pr_info('BIOS-provided physical RAM map:');
  pr_info(`BIOS-e820: [mem 0x0000000000000000-0x${(ram.size - 1).toString(16).padStart(16, '0')}] usable`);
  pr_info(`tsc: Detected ${(tscKhz / 1000).toFixed(3)} MHz processor`);
  pr_info(`Memory: ${nr_free_pages() * 4}K/${(ram.size / 1024)}K available (${mib(ram.size)} of RAM, ${(totalram_pages() - nr_free_pages()) * 4}K reserved)`);
  pr_info(`sched: EEVDF, HZ=${HZ}, base slice ${base_slice() / tscKhz} ms, ${processors.length} CPU${processors.length === 1 ? '' : 's'}`);
  init_syscall_table();
  irq_init();
  fs_init(initial_tree(options));
  const dev = lookup_root('dev');
  if (dev !== undefined && do_new_mount(dev, 'devtmpfs', 'devtmpfs', 0, '') === 0) pr_info('devtmpfs: mounted');
  drivers_init();
  console_log_init();
  module_sysfs_init();
  hugepage_init();
  smp_init();
  rest_init(options);
}

function lookup_root(name: string): path | undefined {
  const { mnt, dentry } = root_path();
  const found = dentry.d_subdirs?.get(name);
  return found === undefined ? undefined : { mnt, dentry: found };
}

function irq_init(): void {
  register_vector_handler(LOCAL_TIMER_VECTOR, 'LOC', 'Local timer interrupts', hrtimer_interrupt);
  register_vector_handler(RESCHEDULE_VECTOR, 'RES', 'Rescheduling interrupts', () => {});
  register_vector_handler(CALL_FUNCTION_VECTOR, 'CAL', 'Function call interrupts', () => {});
  register_vector_handler(SPURIOUS_APIC_VECTOR, 'SPU', 'Spurious interrupts', () => {});
  setup_local_APIC(this_processor());
}

/** Starts the other processors; each sets itself up when it first runs. */
function smp_init(): void {
  const m = machine();
  for (const p of m.processors) if (p.id !== 0) m.start(p.id);
  const n = m.processors.length;
  pr_info(`smp: Brought up 1 node, ${n} CPU${n === 1 ? '' : 's'}`);
  pr_info(`smpboot: Total of ${n} processor${n === 1 ? '' : 's'} activated (${((m.tscKhz * 2 * n) / 1000).toFixed(2)} BogoMIPS)`);
}

/** First entry of an application processor. */
export function secondary_start(): void {
  setup_local_APIC(this_processor());
  set_current(runqueues()[this_processor().id]!.idle);
}

/** /bin, /lib/modules and what the options add. */
function initial_tree(options: Options): InitialEntry[] {
  const tree: InitialEntry[] = ['/bin', '/dev', '/etc', '/lib/modules', '/proc', '/root', '/sys', '/tmp', '/mnt', '/boot', '/home', '/run']
    .map((path) => (path === '/tmp' ? { path, directory: true, mode: 0o1777 } : { path, directory: true }));
  tree.push({ path: '/sbin', target: 'bin' }, { path: '/usr/bin', target: '../bin' });
  for (const program of options.programs) {
    programs().set(program.name, program);
    tree.push({ path: `/bin/${program.name}`, contents: `${PROGRAM_MAGIC}${program.name}\n`, mode: 0o755 });
  }
  for (const module of options.modules) {
    modules().known.set(module.name, module);
    tree.push({ path: `/lib/modules/${module.name}.ko`, contents: `${MODULE_MAGIC}${module.name}\n` });
  }
  tree.push({ path: `/lib/modules/${RELEASE}`, target: '.' });
  tree.push({ path: '/lib/modules/modules.dep', contents: options.modules.map((m) => `${m.name}.ko:${m.depends.map((d) => ` ${d}.ko`).join('')}\n`).join('') });
  for (const [path, contents] of options.files ?? []) tree.push({ path, contents, mode: is_program(contents) ? 0o755 : 0o644 });
  return tree;
}

/** Files that execve would take are given the right to be executed. */
function is_program(contents: string | Uint8Array): boolean {
  return typeof contents === 'string' ? contents.startsWith('#!') : is_elf(contents) || (contents[0] === 0x23 && contents[1] === 0x21);
}

function rest_init(options: Options): void {
  const idle = current();
  const init = bare_task(1, 'swapper/0', idle);
  init.flags = PF_KTHREAD;
  init.fs = init_fs();
  init.files = new files_struct();
  init.kernel_gen = kernel_init(options);
  pid_state().last = 1;
  const kthreadd = kthread_create(sleep_forever, 'kthreadd', idle);
  kthreadd.__state = TASK_INTERRUPTIBLE;
  wake_up_new_task(init);
}

function* sleep_forever(): MaySleep<number> {
  for (;;) {
    current().__state = TASK_INTERRUPTIBLE;
    current().wchan = 'kthreadd';
    yield;
  }
}

/** The body of task 1 until it becomes a user process. */
function* kernel_init(options: Options): MaySleep<number> {
  for (const { host, guest, writable } of options.mounts ?? []) {
    const error = mount_host(host, guest, writable ? 0 : MS_RDONLY);
    if (error < 0) pr_err(`hostfs: cannot mount ${host} on ${guest}: error ${error}`);
  }
  for (const name of options.load ?? options.modules.map((m) => m.name)) {
    const error = yield* request_module(name);
    if (error < 0) pr_err(`module ${name}: init failed with error ${error}`);
  }
  const task = current();
  const console = filp_open(task, '/dev/console', O_RDWR, 0);
  if (typeof console === 'number') pr_err('Warning: unable to open an initial console.');
  else for (const fd of [0, 1, 2]) {
    if (fd > 0) console.f_count++;
    fd_install(task.files!, fd, console, false);
  }
  const [name] = options.init;
  pr_info(`Run ${name} as init process`);
  const term = machine().platform.console.isTerminal ? 'xterm-256color' : 'dumb';
  task.flags &= ~PF_KTHREAD;
  const error = yield* kernel_execve(name!, [...options.init], ['HOME=/root', `TERM=${term}`, 'PATH=/bin:/sbin:/usr/bin']);
  if (error < 0) panic(`Requested init ${name} failed (error ${error}).`);
  return error;
}
