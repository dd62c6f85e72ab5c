/** strace: the look of its lines, its options, and what it follows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './boot.ts';

/** The lines strace writes to a file for a command. */
const traced = (options: string, command: string): string[] => run(`strace -o /tmp/log ${options} ${command} >/dev/null 2>&1; cat /tmp/log`).output.trimEnd().split('\n');

test('a call is written with its arguments, the result stands in column 40', () => {
  const lines = traced('', 'echo hi');
  assert.match(lines[0] ?? '', /^execve\("\/bin\/echo", \["echo", "hi"\], 0x[0-9a-f]+ \/\* \d+ vars \*\/\) = 0$/);
  assert.ok(lines.includes('write(1, "hi\\n", 3)                     = 3'), lines.join('\n'));
  assert.deepEqual(lines.slice(-2), ['exit_group(0)                           = ?', '+++ exited with 0 +++']);
});

test('a failure is written with name and text, a signal with who sent it', () => {
  assert.ok(traced('-e trace=file', 'cat /nothere').includes('open("/nothere", O_RDONLY)              = -1 ENOENT (No such file or directory)'));
  const lines = traced('-e trace=kill,rt_sigaction', 'sh -c "trap : TERM; kill -TERM \\$\\$; kill -9 \\$\\$"');
  assert.match(lines.join('\n'), /^rt_sigaction\(SIGTERM, \{sa_handler=0x[0-9a-f]+, sa_mask=\[\], sa_flags=0\}, \{sa_handler=SIG_DFL, sa_mask=\[\], sa_flags=0\}, 8\) = 0$/m);
  assert.match(lines.join('\n'), /^kill\(\d+, SIGTERM\) +=.*0\n--- SIGTERM \{si_signo=SIGTERM, si_code=SI_USER, si_pid=\d+, si_uid=0\} ---$/m);
  assert.match(lines.at(-2) ?? '', /^kill\(\d+, SIGKILL\) +=\s\?$/);
  assert.equal(lines.at(-1), '+++ killed by SIGKILL +++');
});

test('-f follows children, and a call that another interrupts is resumed on a line of its own', () => {
  const lines = traced('-f', 'sh -c "echo a | cat"').join('\n');
  assert.match(lines, /^\d+ +wait4\(-1 <unfinished \.\.\.>$/m);
  assert.match(lines, /^\d+ +<\.\.\. wait4 resumed>, \[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == 0\}\], WUNTRACED\|WCONTINUED, NULL\) = \d+$/m);
  assert.equal(lines.match(/\+\+\+ exited with 0 \+\+\+/g)?.length, 3);
});

test('-c counts, -e chooses, -s cuts strings, the status is the program\'s', () => {
  const table = traced('-c', 'ls /');
  assert.equal(table[0], '% time     seconds  usecs/call     calls    errors syscall');
  assert.match(table.at(-1) ?? '', /^100\.00 +0\.\d{6} +\d+ +\d+ +(\d+ +)?total$/);
  assert.deepEqual(traced('-q -s 4 -e trace=write', 'echo 123456789'), ['write(1, "1234"..., 10)                 = 10']);
  assert.ok(!traced('-e "trace=!write,mmap"', 'echo x').some((line) => /^(write|mmap)/.test(line)));
  assert.equal(run('strace -o /dev/null sh -c "exit 7"').status, 7);
});

test('what strace cannot do it says in a line', () => {
  assert.equal(run('strace nosuch').output, "strace: Can't find executable 'nosuch'\n");
  assert.equal(run('strace -e trace=bogus true').output, "strace: invalid system call 'bogus'\n");
  assert.equal(run('strace -p 999').output, 'strace: attach: ptrace(PTRACE_ATTACH, 999): No such process\n');
});

test('-p attaches to a process that runs and sees it end', () => {
  const { output } = run('sleep 0.5 & strace -q -o /tmp/log -p $!; cat /tmp/log');
  assert.match(output, /exit_group\(0\) +=\s\?$/m);
});
