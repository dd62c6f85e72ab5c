import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EEXIST, EINVAL, ENOENT, EWOULDBLOCK } from '../../abi/errno.ts';
import type { Sys } from '../../abi/process.ts';
import { misc_deregister, misc_register, module_param, module_put, try_module_get, type Module } from '../../kernel/exports.ts';
import { module_rows } from '../../kernel/module.ts';
import { NR, boot, call, fork, mmap, peek32, poke } from './support/boot.ts';

const log: string[] = [];
const device = { name: 'demo', minor: 200, mode: 0o600, fops: { ioctl: (_f: unknown, cmd: number): number => (cmd === 0x1001 ? boom() : cmd === 0x1002 ? (try_module_get('demo'), 0) : (module_put('demo'), 0)) } };
function boom(): number { throw new TypeError('a bug in a driver'); }

const demo: Module = {
  name: 'demo', depends: [],
  params: { level: { type: 'int', value: 3, perm: 0o644 }, fast: { type: 'bool', value: true, perm: 0o444 } },
  init() { log.push(`init ${module_param('demo', 'level')} ${module_param('demo', 'fast')}`); return misc_register(device as never); },
  exit() { log.push('exit'); misc_deregister(device as never); },
};
const above: Module = { name: 'above', depends: ['demo'], params: {}, init: () => 0, exit() {} };
const broken: Module = { name: 'broken', depends: [], params: {}, init: () => -ENOENT, exit() {} };

const modules = [demo, above, broken];

function* text(page: number, s: string): Sys<number> {
  poke(page, new TextEncoder().encode(`${s}\0`));
  return page;
}
function* insmod(page: number, name: string, args = ''): Sys<number> {
  const fd = yield* call(NR.__NR_open, yield* text(page, `/lib/modules/${name}.ko`), 0);
  const r = yield* call(NR.__NR_finit_module, fd, yield* text(page, args), 0);
  yield* call(NR.__NR_close, fd);
  return r;
}
function* rmmod(page: number, name: string): Sys<number> { return yield* call(NR.__NR_delete_module, yield* text(page, name), 0); }

test('modules load with parameters, in the order of what they need, and go when nobody uses them', () => {
  log.length = 0;
  const seen: unknown[] = [];
  const { status, output } = boot(function* () {
    const page = yield* mmap(4096);
    seen.push(yield* insmod(page, 'above'));
    seen.push(yield* insmod(page, 'demo', 'level=x'));
    seen.push(yield* insmod(page, 'demo', 'level=7 fast=0'));
    seen.push(yield* insmod(page, 'demo'));
    seen.push(yield* insmod(page, 'above'));
    seen.push(yield* insmod(page, 'broken'));
    seen.push(...module_rows());
    seen.push(yield* rmmod(page, 'demo'));
    seen.push(yield* rmmod(page, 'above'));
    const fd = yield* call(NR.__NR_open, yield* text(page, '/dev/demo'), 2);
    seen.push(yield* call(NR.__NR_ioctl, fd, 0x1002, 0));
    seen.push(yield* rmmod(page, 'demo'));
    yield* call(NR.__NR_ioctl, fd, 0x1003, 0);
    yield* call(NR.__NR_close, fd);
    seen.push(yield* rmmod(page, 'demo'));
    seen.push(yield* rmmod(page, 'demo'));
    seen.push(yield* call(NR.__NR_open, yield* text(page, '/dev/demo'), 2));
    return 0;
  }, { modules, load: [] });
  assert.equal(status, 0, output);
  assert.deepEqual(seen, [
    -ENOENT, -EINVAL, 0, -EEXIST, 0, -ENOENT,
    'above 16384 0 - Live 0x0000000000000000', 'demo 16384 1 above, Live 0x0000000000000000',
    -EWOULDBLOCK, 0, 0, -EBUSY, 0, -ENOENT, -ENOENT,
  ]);
  assert.deepEqual(log, ['init 7 false', 'exit']);
});

test('a bug in a driver costs the task that ran into it, with an oops in the log, and nobody else', () => {
  log.length = 0;
  const { status, output } = boot(function* () {
    const page = yield* mmap(4096);
    yield* insmod(page, 'demo');
    yield* fork(function* () {
      const fd = yield* call(NR.__NR_open, yield* text(page, '/dev/demo'), 2);
      yield* call(NR.__NR_ioctl, fd, 0x1001, 0);
    });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    return peek32(page);
  }, { modules, load: [] });
  assert.equal(status, 9);
  assert.match(output, /Oops: TypeError: a bug in a driver/);
  assert.match(output, /PID: \d+ Comm: init/);
});
