/**
 * Finds a program that computes for ever without a system call: the whole machine is one JavaScript thread, so such
 * a program stops everything. A worker watches a heartbeat that the run loop moves; when it stands still, the
 * worker pauses the main thread through the inspector, prints where it is as a soft lockup, and ends the simulator
 * with status 1. Linux: kernel/watchdog.c.
 */
import { writeSync } from 'node:fs';
import { Session } from 'node:inspector';
import { workerData } from 'node:worker_threads';

interface Frame { functionName: string; url: string; location: { lineNumber: number }; callFrameId: string }

/** Shared with the run loop: [0] counts up while the machine moves, [1] is 1 while it is meant to move. */
const heartbeat = new Int32Array(workerData.heartbeat as SharedArrayBuffer);
const limitSeconds = workerData.seconds as number;

const say = (line: string): void => void writeSync(2, `${line}\n`);

function report(): void {
  say(`watchdog: BUG: soft lockup - no system call and no yield for ${limitSeconds}s of host time`);
  const session = new Session();
  session.connectToMainThread();
  session.on('Debugger.paused', (message) => {
    const frames = (message.params as unknown as { callFrames: Frame[] }).callFrames;
    say('Call Trace:');
    for (const frame of frames.slice(0, 16)) {
      const file = frame.url.replace(/^.*\//, '');
      say(` ${frame.functionName || '(anonymous)'} (${file}:${frame.location.lineNumber + 1})`);
    }
    session.post('Debugger.evaluateOnCallFrame', { callFrameId: frames[0]!.callFrameId, expression: 'process.stdin.isTTY && process.stdin.setRawMode(false); process.reallyExit(1)' });
  });
  session.post('Debugger.enable');
  session.post('Debugger.pause');
  // A main thread that cannot even be paused is in host code: nothing more to learn there.
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 5000);
}

let last = Atomics.load(heartbeat, 0);
let still = 0;
const timer = setInterval(() => {
  const beat = Atomics.load(heartbeat, 0);
  still = beat === last && Atomics.load(heartbeat, 1) === 1 ? still + 1 : 0;
  last = beat;
  if (still < limitSeconds) return;
  clearInterval(timer);
  report();
}, 1000);
