import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as abi from '../../abi/index.ts';
import * as kvm from '../../abi/kvm/index.ts';
import { type Field, type Member, offsetof } from '../../abi/struct.ts';

// Recorded with gcc from the headers of Linux 6.1 (Debian 12): constants, requests, and [offset, size] of struct members.
interface Golden {
  constants: Record<string, number>;
  ioctls: Record<string, number>;
  structs: Record<string, { size: number; align: number; fields: Record<string, [number, number]> }>;
}
const golden: Golden = JSON.parse(readFileSync(new URL('../golden/linux-abi.json', import.meta.url), 'utf8'));
// How much there is to compare
const STRUCTS = 45;
const FIELDS = 338;

const ours = Object.fromEntries(Object.entries(abi).filter(([name]) => !(name in kvm) && !/multiboot/i.test(name)));

/** Ours alone: names of the kernel's inside or of our own, and system calls younger than the recording. */
const notRecorded = [
  'ELF_MAGIC', 'PAGE_SIZE', 'SCHED_OTHER', '_NSIG', 'continuedStatus',
  'ENOIOCTLCMD', 'EPROBE_DEFER', 'ERESTARTNOHAND', 'ERESTARTNOINTR', 'ERESTARTSYS', 'ERESTART_RESTARTBLOCK',
  '__NR_cachestat', '__NR_fchmodat2', '__NR_futex_requeue', '__NR_futex_wait', '__NR_futex_wake', '__NR_listmount',
  '__NR_lsm_get_self_attr', '__NR_lsm_list_modules', '__NR_lsm_set_self_attr', '__NR_map_shadow_stack', '__NR_mseal',
  '__NR_statmount', '__NR_uretprobe',
];

test('every constant has the value of Linux’s headers', () => {
  let compared = 0;
  for (const [name, value] of Object.entries(ours)) {
    if ((typeof value !== 'number' && typeof value !== 'bigint') || notRecorded.includes(name)) continue;
    const recorded = golden.constants[name];
    assert.ok(recorded !== undefined, `${name} is not recorded`);
    // Where C has an int we may have the same bits unsigned
    const bits = recorded < 0 || value < 0 ? (typeof value === 'bigint' ? 64 : 32) : 64;
    assert.equal(BigInt.asUintN(bits, BigInt(value)), BigInt.asUintN(bits, BigInt(recorded)), name);
    compared++;
  }
  assert.equal(compared, Object.keys(golden.constants).length);
  assert.ok(compared > 1100);
});

test('every terminal request has Linux’s number', () => {
  const requests = Object.entries(ours).flatMap(([name, r]) => (typeof r === 'object' && r !== null && 'dir' in r ? [[name, r.nr] as const] : []));
  assert.deepEqual(Object.fromEntries(requests), golden.ioctls);
  assert.equal(requests.length, 27);
});

test('every struct has the size, alignment and offsets of C', () => {
  let fields = 0;
  for (const [name, g] of Object.entries(golden.structs)) {
    const type = ours[name] as Field<unknown> & { members: readonly Member[] };
    assert.ok(type, name);
    // glibc gives d_name 256 bytes; the kernel's array has no length
    const sized = name !== 'linux_dirent64';
    if (sized) assert.equal(type.size, g.size, name);
    assert.equal(type.align, g.align, name);
    for (const [field, [offset, size]] of Object.entries(g.fields)) {
      assert.equal(offsetof(type, field), offset, `${name}.${field}`);
      const declared = type.members.find((m) => m.name === field)!.field.size;
      if (sized || field !== 'd_name') assert.equal(declared, size, `${name}.${field}`);
      fields++;
    }
  }
  assert.equal(Object.keys(golden.structs).length, STRUCTS);
  assert.equal(fields, FIELDS);
  const without = Object.keys(ours).filter((n) => typeof ours[n] === 'object' && 'members' in (ours[n] as object) && !(n in golden.structs));
  assert.deepEqual(without.sort(), ['dirent64', 'rt_sigframe']);
});
test('numbers have names', () => {
  assert.equal(abi.errnoName(2), 'ENOENT');
  assert.equal(abi.errnoName(95), 'EOPNOTSUPP');
  assert.equal(abi.errnoName(11), 'EAGAIN');
  assert.equal(abi.strerror(25), 'Inappropriate ioctl for device');
  assert.equal(abi.strerror(4096), 'Unknown error 4096');
  assert.equal(abi.syscallName(16), 'ioctl');
  assert.equal(abi.syscallName(999), 'syscall_0x3e7');
  assert.equal(abi.signalName(9), 'SIGKILL');
  assert.equal(abi.signalName(29), 'SIGIO');
  assert.equal(abi.signalName(34), 'SIGRT_2');
  assert.equal(abi.signalNumber('TERM'), 15);
  assert.equal(abi.signalNumber('SIGSTOP'), 19);
  assert.equal(abi.signalNumber('BOGUS'), undefined);
  assert.equal(abi.signalNumber('STKSZ'), undefined);
  for (let n = 1; n < 32; n++) assert.equal(abi.signalNumber(abi.signalName(n)), n);
});

test('a status word says exit, death by a signal, stop or continuation, one of them', () => {
  const kinds = (s: number) => [abi.WIFEXITED(s), abi.WIFSIGNALED(s), abi.WIFSTOPPED(s), abi.WIFCONTINUED(s)].map(Number).join('');
  assert.deepEqual([kinds(abi.exitStatus(3)), abi.WEXITSTATUS(abi.exitStatus(3)), abi.WEXITSTATUS(abi.exitStatus(-1))], ['1000', 3, 255]);
  assert.deepEqual([kinds(abi.killedStatus(9)), abi.WTERMSIG(abi.killedStatus(11, true)), abi.WCOREDUMP(abi.killedStatus(11, true))], ['0100', 11, true]);
  assert.deepEqual([kinds(abi.stoppedStatus(19)), abi.WSTOPSIG(abi.stoppedStatus(19))], ['0010', 19]);
  assert.equal(kinds(abi.continuedStatus), '0001');
});

test('a device number survives packing', () => {
  for (const [ma, mi] of [[10, 232], [1, 3], [4095, 0xfffff], [5, 1]] as const) {
    assert.deepEqual([abi.major(abi.makedev(ma, mi)), abi.minor(abi.makedev(ma, mi))], [ma, mi]);
  }
  assert.equal(abi.makedev(5, 1), 0x501);
});
