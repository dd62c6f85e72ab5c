/**
 * A worker of a child process that ends it when its parent has gone, however the parent ended and whatever the child's
 * main thread is at.
 */
import { workerData } from 'node:worker_threads';

const { parent } = workerData as { parent: number };
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL');
}, 250);
