/** ps, top, free and their kin: procps's columns, over this kernel's /proc. Headings as procps 4.0.2 prints them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './boot.ts';

const lines = (command: string): string[] => run(command).output.split('\n');

const HEADINGS: readonly (readonly [options: string, heading: string])[] = [
  ['', '  PID TTY          TIME CMD'],
  ['-e', '  PID TTY          TIME CMD'],
  ['-f', 'UID        PID  PPID  C STIME TTY          TIME CMD'],
  ['-eLf', 'UID        PID  PPID   LWP  C NLWP STIME TTY          TIME CMD'],
  ['-l', 'F S   UID   PID  PPID  C PRI  NI ADDR SZ WCHAN  TTY          TIME CMD'],
  ['aux', 'USER       PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND'],
  ['ax', '  PID TTY      STAT   TIME COMMAND'],
  ['-eLo pid,tid,psr,ni,comm', '  PID   TID PSR  NI COMMAND'],
  ['-eLo pid,tid,class,rtprio,ni,pri,psr,pcpu,stat,wchan:14,comm', '  PID   TID CLS RTPRIO  NI PRI PSR %CPU STAT WCHAN          COMMAND'],
  ['-o etime,etimes,rss,vsz,args', '    ELAPSED ELAPSED   RSS    VSZ COMMAND'],
  ['-o lstart,user,uid,nlwp', '                 STARTED USER       UID NLWP'],
];

test('ps prints the headings of procps', () => {
  const { output } = run(HEADINGS.map(([options]) => `ps ${options} | head -1`).join('; '));
  assert.deepEqual(output.trimEnd().split('\n'), HEADINGS.map(([, heading]) => heading));
});

test('ps lists processes with what the kernel knows of them', () => {
  const [, init, kthreadd] = lines('ps -eo pid,ppid,ni,stat,comm');
  assert.equal(init, '    1     0   0 S    init');
  assert.equal(kthreadd, '    2     0   0 S    kthreadd');
  const out = lines('nice -n 7 sleep 1 & sleep 0.01; ps -o ni,stat,args -C sleep; ps -p 1 -o pid= -o comm=; ps -p 999; echo $?');
  assert.match(out[1] ?? '', /^ {2}7 SN\+? +sleep 1$/);
  assert.deepEqual(out.slice(2, 5), ['    1 init', '  PID TTY          TIME CMD', '1']);
  assert.equal(run('ps -o nosuch').output.split('\n')[0], 'error: unknown user-defined format specifier "nosuch"');
});

test('ps sorts, and selects by name, parent and list', () => {
  const { output } = run('sleep 1 & sleep 1 & P=$$; ps --ppid $P -o pid= --sort=-pid | head -3; ps -C init -o pid=; ps -p 1,2 --no-headers -o comm; ps --sort=bogus; ps -Z | head -1');
  const [a, b, c, ...rest] = output.split('\n');
  assert.ok(Number(a) > Number(b) && Number(b) > Number(c), output);
  assert.deepEqual(rest.slice(0, 3), ['    1', 'init', 'kthreadd']);
});

test('top in batch mode has procps\'s five lines of summary and its columns', () => {
  const out = lines('top -b -n 1');
  assert.match(out[0] ?? '', /^top - \d\d:\d\d:\d\d up 0 min, {2}1 user, {2}load average: \d\.\d\d, \d\.\d\d, \d\.\d\d$/);
  assert.match(out[1] ?? '', /^Tasks: +\d+ total, +1 running, +\d+ sleeping, +0 stopped, +0 zombie$/);
  assert.match(out[2] ?? '', /^%Cpu\(s\): +[\d.]+ us, +[\d.]+ sy, +[\d.]+ ni, *[\d.]+ id, +[\d.]+ wa, +[\d.]+ hi, +[\d.]+ si, +[\d.]+ st $/);
  assert.match(out[3] ?? '', /^MiB Mem : +[\d.]+ total, +[\d.]+ free, +[\d.]+ used, +[\d.]+ buff\/cache {5}$/);
  assert.equal(out[6], '  PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND');
  assert.match(out[7] ?? '', /^ +\d+ root {6}20 {3}0 /);
});

test('a busy thread shows in top with its share of the processor', () => {
  const { output } = run('while :; do :; done & top -b -n 2 -d 0.2 | grep "R .* sh$" | tail -1; kill $!');
  assert.match(output, /R +(9\d|100)\.\d /);
});

test('free, uptime, taskset, nice and renice print as their models do', () => {
  assert.equal(lines('free')[0], '               total        used        free      shared  buff/cache   available');
  assert.match(lines('free -m')[1] ?? '', /^Mem: +\d+ +\d+ +\d+ +\d+ +\d+ +\d+$/);
  assert.match(lines('free -h')[1] ?? '', /^Mem: +\d+[KMG]i .*[\dKMGiB]$/);
  assert.match(lines('uptime')[0] ?? '', /^ \d\d:\d\d:\d\d up 0 min, /);
  const { output } = run('taskset -p 1 $$; taskset -cp $$; nice -n 5 nice; renice -n 3 -p $$; taskset 8 true', { cpus: 2 });
  assert.match(output, /^pid \d+'s current affinity mask: 3\npid \d+'s new affinity mask: 1\npid \d+'s current affinity list: 0\n5\n\d+ \(process ID\) old priority 0, new priority 3\ntaskset: failed to set pid 0's affinity: Invalid argument\n$/);
});

test('init reaps orphans, runs what it is told, and powers off with the status', () => {
  assert.equal(run('(sleep 0.1 &); sleep 0.5; ps -eo stat | grep -c Z').output, '0\n');
  assert.deepEqual(run('', { init: ['-C', '/tmp', '--', 'sh', '-c', 'pwd; exit 9'] }), { output: '/tmp\n', status: 9 });
  assert.deepEqual(run('kill -9 $$'), { output: '', status: 137 });
  assert.deepEqual(run('', { init: [], input: 'echo one\nread x\ntwo\necho $x; false\n' }), { output: 'one\ntwo\n', status: 1 });
});

test('poweroff ends the machine at once', () => {
  assert.deepEqual(run('poweroff; echo never'), { output: '', status: 0 });
});

test('pgrep, pkill, pidof and nproc find what ps shows', () => {
  const { output } = run('sleep 5 & sleep 5 & sleep 0.01; test "$(pidof sleep)" = "$! $(pgrep -o sleep)" && echo same; pgrep -l sleep | cut -d" " -f2; pgrep -cf "^sleep 5"; pkill -KILL sleep; wait $!; echo $?; pgrep sleep; echo $?; nproc; taskset 1 nproc; hostname', { cpus: 2 });
  assert.equal(output, 'same\nsleep\nsleep\n2\n137\n1\n2\n1\nvitrine\n');
});

test('filters take megabytes', () => {
  const { output } = run('seq 200000 > /tmp/s; wc -l < /tmp/s; wc /tmp/s; sort -rn /tmp/s | head -1; sed -n "\\$p" /tmp/s; yes | head -n 200000 | wc -l', { limit: 60 });
  assert.equal(output, '200000\n 200000  200000 1288895 /tmp/s\n200000\n200000\n200000\n');
});

test('a built-in whose output nobody takes fails, and the shell goes on', () => {
  assert.equal(run('echo x > /dev/full; echo $?').output, 'sh: echo: write error: No space left on device\n1\n');
});

test('xargs fills command lines of 128 KiB, and refuses a word that does not fit into one', () => {
  assert.equal(run('seq 60000 | xargs echo | wc -l; seq 10 | xargs -n 3 echo | wc -l').output, '3\n4\n');
  assert.equal(run('printf %140000d 7 | tr " " x | xargs echo; echo $?').output, 'xargs: argument line too long\n1\n');
});

test('without job control a command behind & reads nothing, unless its input is redirected', () => {
  assert.equal(run('cat & wait; echo two | { cat & wait; }; echo three > /tmp/f; cat < /tmp/f & wait', { input: 'one\n' }).output, 'three\n');
});

test('a shell parses a line of a hundred thousand commands', () => {
  assert.equal(run('x=$(seq 150000 | tr "\\n" ";" | sed "s/[0-9][0-9]*/:/g"); eval "$x"; echo $?').output, '0\n');
});
