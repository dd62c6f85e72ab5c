/**
 * What the kernel offers to modules: our EXPORT_SYMBOL. kvm/ imports this file and nothing else of the kernel.
 */
export { current, kernelVariable, machine, smp_processor_id, this_processor } from './current.ts';
export { ENOIOCTLCMD, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from './errno-internal.ts';

// ---- tasks and scheduling
export type { MaySleep, preempt_notifier, task_struct } from './sched/types.ts';
export { TASK_INTERRUPTIBLE, TASK_KILLABLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE } from './sched/types.ts';
export {
  cond_resched, need_resched, preempt_notifier_register, preempt_notifier_unregister, schedule, schedule_timeout, set_current_state, signal_pending, single_task_running, wake_up_process,
  yield_to,
} from './sched/core.ts';
export { guest_enter, guest_exit } from './sched/cputime.ts';
export type { wait_queue_func } from './sched/wait.ts';
export { wait_event, wait_event_interruptible, wait_event_interruptible_timeout, wait_event_killable, wait_queue_entry, wait_queue_head } from './sched/wait.ts';
export { restore_saved_sigmask, set_user_sigmask, sigmask } from './signal.ts';

// ---- processors and interrupts
export { on_each_cpu, smp_call_function_single, smp_send_reschedule } from './smp.ts';
export { handle_external_interrupt, local_irq_disable, local_irq_enable, register_vector_handler, unregister_vector_handler } from './irq.ts';

// ---- time
export { cycles_to_ns, get_tsc, ktime_get, ktime_get_real, ns_to_cycles } from './time/timekeeping.ts';
export { hrtimer } from './time/hrtimer.ts';

// ---- memory
export type { mm_struct, mmu_notifier, vm_area_struct, vm_operations_struct } from './mm/types.ts';
export { PAGE_SIZE, VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from './mm/types.ts';
export { __get_free_zeroed, alloc_page, free_page, get_page, page_to_host_offset, put_page } from './mm/page-alloc.ts';
export { get_user_page, get_user_page_fast, get_user_page_fast_only } from './mm/gup.ts';
export { HPAGE_PMD_NR, huge_run } from './mm/huge-memory.ts';
export { mmgrab, mmdrop, mmu_notifier_register, mmu_notifier_unregister } from './mm/mm.ts';
export { vm_mmap, vm_munmap } from './mm/mmap.ts';
export { copy_from_user, copy_to_user, user_space } from './mm/uaccess.ts';

// ---- files
export type { file, file_operations, inode, poll_table } from './fs/types.ts';
export { FMODE_PREAD, FMODE_STREAM, poll_wait } from './fs/types.ts';
export { alloc_fd, close_fd, fd_install, fd_lookup, fput, get_file } from './fs/file.ts';
export { anon_inode_getfd, anon_inode_getfile } from './fs/anon-inodes.ts';
export type { eventfd_ctx } from './fs/eventfd.ts';
export { eventfd_ctx_fdget, eventfd_ctx_fileget, eventfd_ctx_remove_wait_queue, eventfd_signal } from './fs/eventfd.ts';
export type { miscdevice } from './drivers/char/misc.ts';
export { KVM_MINOR, MISC_DYNAMIC_MINOR, misc_deregister, misc_register } from './drivers/char/misc.ts';
export { debugfs_create_dir, debugfs_create_dir_unfilled, debugfs_create_file, debugfs_create_u64, debugfs_remove } from './fs/debugfs.ts';
export { iov_iter } from './fs/iov-iter.ts';

// ---- modules and messages
export type { Module, ModuleParam } from './module.ts';
export { module_param, module_put, set_param, try_module_get } from './module.ts';
export { trace_buffer, TRACE_EVENT } from './trace/tracepoint.ts';
export type { Tracepoint } from './trace/tracepoint.ts';
export { pr_debug, pr_err, pr_info, pr_warn, printk } from './printk.ts';
