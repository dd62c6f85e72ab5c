/** Whose guests retired how many instructions: counted at each context switch. */
import assert from 'node:assert/strict';
import { sched_switch } from '../../kernel/trace/events-sched.ts';
import { type RunOptions, boot } from './boot.ts';

/** Guest instructions retired on behalf of each thread between two moments (cycles), by thread id. */
export function guestInstructions(command: string, options: RunOptions, from: number, to: number): Map<number, { comm: string; instructions: number }> {
  const { system } = boot({ ...options, init: ['-c', command] });
  const { machine, kernel } = system;
  const counts = new Map<number, { comm: string; instructions: number }>();
  const seen = machine.processors.map(() => 0);
  let counting = false;
  const credit = (cpu: number, pid: number, comm: string): void => {
    const retired = machine.processors[cpu]!.retired.guest;
    const delta = retired - seen[cpu]!;
    seen[cpu] = retired;
    if (!counting || delta === 0) return;
    const entry = counts.get(pid) ?? { comm, instructions: 0 };
    entry.instructions += delta;
    counts.set(pid, entry);
  };
  const buffer = kernel.trace_buffer();
  buffer.consumer = ({ cpu, values }) => credit(cpu, values['prev_pid'] as number, values['prev_comm'] as string);
  buffer.enable(sched_switch as never);
  assert.equal(machine.run(from), 'paused');
  for (const cpu of machine.processors.keys()) seen[cpu] = machine.processors[cpu]!.retired.guest;
  counting = true;
  assert.equal(machine.run(to), 'paused');
  buffer.disable(sched_switch as never);
  return counts;
}
