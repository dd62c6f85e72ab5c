/** Trace points of the scheduler, interrupts and system calls. Linux: include/trace/events/{sched,irq,syscalls}.h */
import { TRACE_EVENT } from './tracepoint.ts';

/** Bits of sched_switch's prev_state, least significant first; without any the task still runs. Linux: __trace_sched_switch_state() */
const STATES = 'SDTtXZPI';
const PREEMPTED = 0x100;
const stateText = (state: number): string => [...STATES].filter((_, bit) => (state >> bit & 1) !== 0).join('|') || 'R';
/** prev_state of a task whose state ps shows as `letter`, and which was preempted or gave way itself. */
export const switch_state = (letter: string, preempted: boolean): number => (preempted ? PREEMPTED : letter === 'R' ? 0 : 1 << STATES.indexOf(letter));

export const sched_switch = TRACE_EVENT('sched', 'sched_switch', {
  prev_comm: 'char[16]', prev_pid: 'int', prev_prio: 'int', prev_state: 'long', next_comm: 'char[16]', next_pid: 'int', next_prio: 'int',
}, (e) => `prev_comm=${e.prev_comm} prev_pid=${e.prev_pid} prev_prio=${e.prev_prio} prev_state=${stateText(e.prev_state)}${e.prev_state & PREEMPTED ? '+' : ''} ==> next_comm=${e.next_comm} next_pid=${e.next_pid} next_prio=${e.next_prio}`,
  '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", REC->prev_comm, REC->prev_pid, REC->prev_prio, '
  + `(REC->prev_state & 0xff) ? __print_flags(REC->prev_state & 0xff, "|", ${[...STATES].map((letter, bit) => `{ 0x${(1 << bit).toString(16)}, "${letter}" }`).join(', ')}) : "R", `
  + 'REC->prev_state & 0x100 ? "+" : "", REC->next_comm, REC->next_pid, REC->next_prio');

export const sched_wakeup = TRACE_EVENT('sched', 'sched_wakeup', { comm: 'char[16]', pid: 'int', prio: 'int', target_cpu: 'int' },
  (e) => `comm=${e.comm} pid=${e.pid} prio=${e.prio} target_cpu=${String(e.target_cpu).padStart(3, '0')}`,
  '"comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu');

export const sched_migrate_task = TRACE_EVENT('sched', 'sched_migrate_task', { comm: 'char[16]', pid: 'int', prio: 'int', orig_cpu: 'int', dest_cpu: 'int' },
  (e) => `comm=${e.comm} pid=${e.pid} prio=${e.prio} orig_cpu=${e.orig_cpu} dest_cpu=${e.dest_cpu}`,
  '"comm=%s pid=%d prio=%d orig_cpu=%d dest_cpu=%d", REC->comm, REC->pid, REC->prio, REC->orig_cpu, REC->dest_cpu');

export const sched_process_fork = TRACE_EVENT('sched', 'sched_process_fork', { parent_comm: 'char[16]', parent_pid: 'int', child_comm: 'char[16]', child_pid: 'int' },
  (e) => `comm=${e.parent_comm} pid=${e.parent_pid} child_comm=${e.child_comm} child_pid=${e.child_pid}`,
  '"comm=%s pid=%d child_comm=%s child_pid=%d", REC->parent_comm, REC->parent_pid, REC->child_comm, REC->child_pid');

export const sched_process_exit = TRACE_EVENT('sched', 'sched_process_exit', { comm: 'char[16]', pid: 'int', prio: 'int' },
  (e) => `comm=${e.comm} pid=${e.pid} prio=${e.prio}`,
  '"comm=%s pid=%d prio=%d", REC->comm, REC->pid, REC->prio');

export const irq_handler_entry = TRACE_EVENT('irq', 'irq_handler_entry', { irq: 'int', name: 'const char *' }, (e) => `irq=${e.irq} name=${e.name}`,
  '"irq=%d name=%s", REC->irq, __get_str(name)');
export const irq_handler_exit = TRACE_EVENT('irq', 'irq_handler_exit', { irq: 'int', ret: 'int' }, (e) => `irq=${e.irq} ret=${e.ret ? 'handled' : 'unhandled'}`,
  '"irq=%d ret=%s", REC->irq, REC->ret ? "handled" : "unhandled"');

export const sys_enter = TRACE_EVENT('raw_syscalls', 'sys_enter', { id: 'long', args: 'unsigned long[6]' },
  (e) => `NR ${e.id} (${e.args.map((a) => a.toString(16)).join(', ')})`,
  '"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)", REC->id, REC->args[0], REC->args[1], REC->args[2], REC->args[3], REC->args[4], REC->args[5]');
export const sys_exit = TRACE_EVENT('raw_syscalls', 'sys_exit', { id: 'long', ret: 'long' }, (e) => `NR ${e.id} = ${e.ret}`,
  '"NR %ld = %ld", REC->id, REC->ret');
