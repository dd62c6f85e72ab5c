/** The shell at a terminal: editing, history, completion, job control, and the terminal's settings afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Terminal } from './boot.ts';

const PROMPT = 'vitrine:/root# ';
/** What follows the line that was typed, up to the next prompt. */
const answer = (printed: string): string => printed.slice(printed.indexOf('\n') + 1).replace(new RegExp(`${PROMPT}$`), '');

test('the shell opens under a banner that names four things to type', () => {
  const terminal = new Terminal();
  for (const command of ['hybrid', 'kvmtest', 'strace kvmtest', 'help']) assert.match(terminal.screen, new RegExp(`^  ${command} `, 'm'));
  assert.ok(terminal.screen.endsWith(PROMPT));
});

test('a line is edited with the cursor keys, killed and yanked, recalled and searched for', () => {
  const t = new Terminal();
  assert.equal(answer(t.type('echo ac\x1b[Db\r')), 'abc\n');
  assert.equal(answer(t.type('\x1b[A\r')), 'abc\n');
  assert.equal(answer(t.type('cho x\x01\x0be\x19\r')), 'x\n');
  assert.equal(answer(t.type('\x12ab\r\r')).trim(), 'abc');
});

test('Tab completes a command and a path, and lists what it may be when pressed again', () => {
  const t = new Terminal();
  assert.equal(answer(t.type('unali\tx\r')), 'sh: unalias: x: not found\n');
  assert.match(t.type('pwd; cd /pro\t\r'), /cd \/proc\/\n/);
  assert.match(t.type('ren\t\t\x15cd\r'), /renice/);
});

test('Ctrl-C ends the whole line, Ctrl-Z stops a job, fg and bg take it up again', () => {
  const t = new Terminal();
  t.type('for i in 1 2; do sleep 100; done; echo no\r');
  assert.equal(t.type('\x03'), `^C\n${PROMPT}`);
  assert.equal(answer(t.type('echo $?\r')), '130\n');
  t.type('while :; do :; done; echo no\r');
  assert.equal(t.type('\x03'), `^C\n${PROMPT}`);
  t.type('read x\r');
  assert.equal(t.type('\x03'), `^C\n${PROMPT}`);
  t.type('sleep 50\r');
  assert.match(t.type('\x1a'), /\^Z\n\[1\]\+ {2}Stopped {17}sleep 50\n/);
  assert.match(t.type('bg\r'), /\[1\]\+ sleep 50 &\n/);
  assert.match(t.type('jobs\r'), /\[1\]\+ {2}Running {17}sleep 50 &\n/);
  t.type('fg\r');
  assert.equal(t.type('\x03'), `^C\n${PROMPT}`);
  t.type('sleep 60 | cat &\r');
  t.type('kill %1\r');
  assert.match(t.type('\r'), /\[1\]\+ {2}Terminated {14}sleep 60 \| cat\n/);
});

test('a signal sent to a child at once is not lost in what the shell ignores', () => {
  const t = new Terminal();
  assert.equal(answer(t.type('sleep 50 & kill $!; wait $!; echo $?\r')).split('\n').at(-2), '143');
});

test('a job in the background that reads the terminal is stopped by SIGTTIN', () => {
  const t = new Terminal();
  t.type('cat &\r');
  assert.match(t.type('\r'), /\[1\]\+ {2}Stopped \(tty input\)|\[1\]\+ {2}Stopped/);
  t.type('fg\r');
  assert.match(t.type('line\r'), /line\nline\n/);
  assert.equal(t.type('\x04'), PROMPT);
});

test('when a job dies by a signal the shell has the terminal and its settings back', () => {
  const t = new Terminal();
  t.type('sh -c "stty raw -echo; kill -9 \\$\\$"\r');
  assert.match(t.type('stty -a\r'), /^isig icanon .* echo /m);
  t.type('cat | cat\r');
  assert.equal(t.type('x\r\x04'), `x\nx\n${PROMPT}`);
});

test('the end of input and exit power the machine off with the last status', () => {
  const t = new Terminal();
  t.type('false\r');
  t.type('\x04');
  assert.ok(t.off);
  assert.equal(t.machine.status, 1);
  const u = new Terminal();
  u.type('exit 3\r');
  assert.ok(u.off);
  assert.equal(u.machine.status, 3);
});
