/**
 * The load averages: how many tasks want to run, averaged over 1, 5 and 15 minutes.
 * Linux: kernel/sched/loadavg.c. Sampled when asked: every 5 s that passed since are made up with the present count.
 */
import { kernelVariable, machine } from '../current.ts';
import { pid_tasks } from '../pid.ts';
import { TASK_RUNNING, TASK_UNINTERRUPTIBLE, type task_struct } from './types.ts';

const LOAD_SECONDS = 5;
const MINUTES = [1, 5, 15] as const;
const state = kernelVariable(() => ({ averages: [0, 0, 0], sampled: 0 }));

const active = (task: task_struct): boolean => task.exit_state === 0 && (task.__state === TASK_RUNNING || (task.__state & TASK_UNINTERRUPTIBLE) !== 0);

export const nr_running = (): number => pid_tasks().filter((t) => t.exit_state === 0 && t.__state === TASK_RUNNING).length;

/** The three averages now. */
export function calc_load(): [number, number, number] {
  const s = state();
  const period = machine().tscKhz * 1000 * LOAD_SECONDS;
  const n = Math.floor(machine().now() / period) - s.sampled;
  if (n > 0) {
    const count = pid_tasks().filter(active).length;
    s.averages = s.averages.map((average, i) => {
      const decay = Math.exp(-LOAD_SECONDS / (60 * MINUTES[i]!)) ** n;
      return average * decay + count * (1 - decay);
    });
    s.sampled += n;
  }
  return [s.averages[0]!, s.averages[1]!, s.averages[2]!];
}
