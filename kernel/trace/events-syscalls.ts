/**
 * sys_enter_NAME and sys_exit_NAME: a pair of trace points for each system call, made from the table of its parameters.
 *
 * Linux: kernel/trace/trace_syscalls.c, include/trace/syscall.h
 */
import { kernelName, parameters } from '../../abi/syscall-parameters.ts';
import { syscall_signatures } from '../../abi/syscall-signatures.ts';
import type { UserThread, Word } from '../../abi/process.ts';
import { TRACE_EVENT, type TraceGroup, type Tracepoint } from './tracepoint.ts';

/** A register as C's unsigned long. */
const unsigned = (word: Word): bigint => BigInt.asUintN(64, BigInt(word));

/** Not 0 while any of them is wanted. */
export const syscall_points: TraceGroup = { enabled: 0, wholeLine: true };

interface SyscallPoints { readonly enter: Tracepoint; readonly exit: Tracepoint; readonly names: readonly string[] }

function declare(call: string): SyscallPoints {
  const name = kernelName(call);
  const params = parameters(call);
  const fields = Object.fromEntries([['__syscall_nr', 'int'], ...params.map((p) => [p.name, `word ${p.type}`])]);
  const enter = TRACE_EVENT('syscalls', `sys_enter_${name}`, fields,
    (e) => `sys_${name}(${params.map((p) => `${p.name}: ${(e[p.name] as bigint).toString(16)}`).join(', ')})`,
    [`"${params.map((p) => `${p.name}: 0x%08lx`).join(', ')}"`, ...params.map((p) => `((unsigned long)(REC->${p.name}))`)].join(', '), syscall_points);
  const exit = TRACE_EVENT('syscalls', `sys_exit_${name}`, { __syscall_nr: 'int', ret: 'long' },
    (e) => `sys_${name} -> 0x${BigInt.asUintN(64, BigInt(e.ret)).toString(16)}`, '"0x%lx", REC->ret', syscall_points);
  return { enter, exit: exit as unknown as Tracepoint, names: params.map((p) => p.name) };
}

const points: (SyscallPoints | undefined)[] = [];
for (const { nr, name } of syscall_signatures) points[nr] = declare(name);

/** The call in the registers of `user` begins. */
export function trace_syscall_enter(user: UserThread): void {
  const point = points[user.nr];
  if (point === undefined || point.enter.enabled === 0) return;
  const registers = [user.a0, user.a1, user.a2, user.a3, user.a4, user.a5];
  point.enter.trace(Object.fromEntries([['__syscall_nr', user.nr], ...point.names.map((name, i) => [name, unsigned(registers[i]!)])]));
}

export function trace_syscall_exit(user: UserThread, ret: number): void {
  const point = points[user.nr];
  if (point !== undefined && point.exit.enabled > 0) point.exit.trace({ __syscall_nr: user.nr, ret });
}
