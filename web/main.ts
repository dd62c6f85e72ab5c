/**
 * The machine in a browser tab: the same core with another platform. The console is a <pre>; virtual time keeps
 * to the wall clock and stands still while the tab is hidden.
 */
import { bootSystem } from '../system/boot.ts';
import { BrowserConsole } from './console.ts';

const element = document.getElementById('console')!;
const port = new BrowserConsole((text) => {
  element.textContent = text;
  window.scrollTo(0, document.body.scrollHeight);
});
const system = bootSystem({
  machine: { cpus: 2, memory: 256 << 20, seed: 1, platform: { console: port, startDate: BigInt(Date.now()) * 1_000_000n } },
});
const { machine } = system;

const send = (bytes: Uint8Array): void => void machine.at(machine.latest() + 100_000, () => machine.uart.receive(bytes));
element.addEventListener('keydown', (event) => {
  const bytes = port.keyBytes(event);
  if (!bytes) return;
  event.preventDefault();
  send(bytes);
});
element.addEventListener('paste', (event) => send(new TextEncoder().encode(event.clipboardData?.getData('text').replace(/\n/g, '\r') ?? '')));
element.focus();

let then = performance.now();
function frame(now: number): void {
  const elapsed = Math.min(now - then, 20);
  then = now;
  if (machine.run(machine.now() + Math.max(1, Math.floor(elapsed * system.cyclesPerMs))) === 'off') {
    element.append(`\n[the machine is off, status ${machine.status}]`);
    return;
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);
