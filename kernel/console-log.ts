/**
 * The kernel log on the console, as `dmesg --color` shows it: time green, what comes before the colon yellow, errors
 * red. No colour when nobody looks.
 */
import { machine } from './current.ts';
import { serial8250_console_write } from './drivers/tty/8250.ts';
import { LOGLEVEL_CRIT, LOGLEVEL_ERR, LOGLEVEL_WARNING, register_console, timestamp } from './printk.ts';

const GREEN = '\u001b[32m', YELLOW = '\u001b[33m', RED = '\u001b[31m', BOLD = '\u001b[1m', REVERSE_RED = '\u001b[97;41m', RESET = '\u001b[0m';

function coloured(time: string, level: number, text: string): string {
  const stamp = `${GREEN}${time}${RESET} `;
  if (level <= LOGLEVEL_CRIT) return `${stamp}${REVERSE_RED}${text}${RESET}`;
  if (level === LOGLEVEL_ERR) return `${stamp}${RED}${text}${RESET}`;
  if (level === LOGLEVEL_WARNING) return `${stamp}${BOLD}${text}${RESET}`;
  const subject = /^[\w.() -]{1,40}?: /.exec(text)?.[0] ?? '';
  return `${stamp}${subject === '' ? '' : `${YELLOW}${subject}${RESET}`}${text.slice(subject.length)}`;
}

/** From here on messages appear; those made before come first. */
export function console_log_init(): void {
  const colour = machine().platform.console.isTerminal;
  register_console((line, { time, level, text }) => {
    serial8250_console_write(`${colour ? coloured(timestamp(time), level, text) : line}\n`);
  });
}
