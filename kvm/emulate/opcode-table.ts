/**
 * The instructions KVM's emulator knows: those that touch memory, and their neighbours that need nothing more.
 * One row an opcode, in the order of the opcode maps of SDM Vol. 2, appendix A.
 *
 * Linux: arch/x86/kvm/emulate.c (opcode_table, twobyte_table and the groups)
 */
import {
  em_adc, em_add, em_and, em_bsf, em_bsr, em_bswap, em_bt, em_btc, em_btr, em_bts, em_call_near_abs, em_call_rel, em_cbw, em_clc, em_cld, em_cli, em_cmc, em_cmov, em_cmp,
  em_cmpxchg, em_cmpxchg8b, em_cwd, em_dec, em_div, em_fnstcw, em_fnstsw, em_hypercall, em_idiv, em_imul_3op, em_imul_acc, em_imul_reg, em_in, em_inc, em_jcc, em_jcxz, em_jmp_abs,
  em_jmp_rel, em_lahf, em_lea, em_leave, em_loop, em_mov, em_mov_from_sreg, em_movbe_mem, em_movsx, em_mul, em_neg, em_nop, em_not, em_or, em_out, em_pop, em_popa, em_popf, em_push,
  em_push_sreg, em_rsm, em_pusha, em_pushf, em_ret, em_sahf, em_sbb, em_setcc, em_shift, em_shld_left, em_shrd, em_stc, em_std, em_sti, em_sub, em_test, em_unhandled, em_xadd, em_xchg, em_xor,
} from './execute.ts';
import {
  Acc, Aligned, BitOp, ByteOp, CL, DI, DX, DstFull, EmulateOnUD, FarImm, Imm, Imm16, Imm64, ImmByte, ImmUByte, Lock, MOffs, Mem, Mem16, Mem32, Mem8, MemDouble, ModRM, Mov, NaturalOp, NearBranch, No64, NoAccess, NoWrite,
  Mmx, None, One, Op3264, OpReg, Priv, Prot, Reg, SI, Sreg, SrcWrite, Sse, Stack, String, op,
} from './opcode.ts';
import { em_call_far, em_int, em_int3, em_into, em_iret, em_jmp_far, em_lseg, em_mov_to_sreg, em_pop_sreg, em_ret_far } from './far.ts';
import { em_fxrstor, em_fxsave } from './fxsave.ts';
import { em_aad, em_aam, em_das, em_enter, em_fninit, em_salc, em_xlat } from './misc.ts';
import {
  em_clts, em_cpuid, em_cr_read, em_cr_write, em_dr_read, em_dr_write, em_hlt, em_invlpg, em_lgdt, em_lidt, em_lldt, em_lmsw, em_ltr, em_rdmsr, em_rdpmc, em_rdtsc, em_sgdt, em_sidt, em_sldt,
  em_smsw, em_str, em_syscall, em_sysenter, em_sysexit, em_wrmsr,
} from './system.ts';
import type { opcode } from './types.ts';

type Row = opcode | undefined;
const U = undefined;

/** A row chosen by ModRM.reg, or by mandatory prefix; `pick` says which. */
export interface choice { readonly pick: 'reg' | 'prefix' | 'mode'; readonly rows: readonly Row[] }
/** By ModRM.reg, and register forms by the whole byte first: index 0 is C0. */
export interface group7 { readonly pick: 'group7'; readonly rows: readonly Row[]; readonly registers: Readonly<Record<number, Row>> }
export type entry = Row | choice | group7;

const group = (...rows: Row[]): choice => ({ pick: 'reg', rows });
/** No prefix, 66, F2, F3. */
const byPrefix = (none: Row, p66: Row, f2: Row, f3: Row): choice => ({ pick: 'prefix', rows: [none, p66, f2, f3] });
/** Outside 64-bit mode, inside. */
const byMode = (legacy: Row, long: Row): choice => ({ pick: 'mode', rows: [legacy, long] });

const table = (rows: readonly (readonly [number, entry, number?])[]): readonly entry[] => {
  const all: entry[] = Array.from({ length: 256 }, () => undefined);
  for (const [code, row, count = 1] of rows) for (let i = 0; i < count; i++) all[code + i] = row;
  return all;
};

/** The six forms of an ALU operation: Eb,Gb Ev,Gv Gb,Eb Gv,Ev AL,Ib eAX,Iz. */
const six = (code: number, name: string, execute: opcode['execute'], flags: number): [number, entry][] => [
  [code,     op(name, execute, Mem, Reg,     flags | ByteOp)],
  [code + 1, op(name, execute, Mem, Reg,     flags)],
  [code + 2, op(name, execute, Reg, Mem,     (flags & ~Lock) | ByteOp)],
  [code + 3, op(name, execute, Reg, Mem,     flags & ~Lock)],
  [code + 4, op(name, execute, Acc, Imm,     (flags & ~Lock) | ByteOp)],
  [code + 5, op(name, execute, Acc, Imm,     flags & ~Lock)],
];

const immediateGroup = (src: number, flags: number): choice => group(
  op('add', em_add, Mem, src, flags | Lock),
  op('or',  em_or,  Mem, src, flags | Lock),
  op('adc', em_adc, Mem, src, flags | Lock),
  op('sbb', em_sbb, Mem, src, flags | Lock),
  op('and', em_and, Mem, src, flags | Lock),
  op('sub', em_sub, Mem, src, flags | Lock),
  op('xor', em_xor, Mem, src, flags | Lock),
  op('cmp', em_cmp, Mem, src, flags | NoWrite),
);
const shifts = (src: number, flags: number): Row => op('shift', em_shift, Mem, src, flags);
const unary = (flags: number): choice => group(
  op('test', em_test,     Mem,  Imm,  flags | NoWrite),
  op('test', em_test,     Mem,  Imm,  flags | NoWrite),
  op('not',  em_not,      Mem,  None, flags | Lock),
  op('neg',  em_neg,      Mem,  None, flags | Lock),
  op('mul',  em_mul,      None, Mem,  flags),
  op('imul', em_imul_acc, None, Mem,  flags),
  op('div',  em_div,      None, Mem,  flags),
  op('idiv', em_idiv,     None, Mem,  flags),
);
const bits = (src: number): choice => group(U, U, U, U,
  op('bt',  em_bt,  Mem, src, NoWrite),
  op('bts', em_bts, Mem, src, Lock),
  op('btr', em_btr, Mem, src, Lock),
  op('btc', em_btc, Mem, src, Lock),
);
const sseLoad = (name: string, flags: number): Row => op(name, em_mov, Reg, Mem, Mov | Sse | flags);
const sseStore = (name: string, flags: number): Row => op(name, em_mov, Mem, Reg, Mov | Sse | flags);

export const opcode_table = table([
  ...six(0x00, 'add', em_add, Lock),
  [0x06, op('push es', em_push_sreg(0), None, None, No64)],
  [0x07, op('pop es', em_pop_sreg(0), None, None, No64)],
  ...six(0x08, 'or',  em_or,  Lock),
  [0x0e, op('push cs', em_push_sreg(1), None, None, No64)],
  ...six(0x10, 'adc', em_adc, Lock),
  [0x16, op('push ss', em_push_sreg(2), None, None, No64)],
  [0x17, op('pop ss', em_pop_sreg(2), None, None, No64)],
  ...six(0x18, 'sbb', em_sbb, Lock),
  [0x1e, op('push ds', em_push_sreg(3), None, None, No64)],
  [0x1f, op('pop ds', em_pop_sreg(3), None, None, No64)],
  ...six(0x20, 'and', em_and, Lock),
  ...six(0x28, 'sub', em_sub, Lock),
  [0x2f, op('das', em_das, None, None, No64)],
  ...six(0x30, 'xor', em_xor, Lock),
  ...six(0x38, 'cmp', em_cmp, NoWrite),
  [0x40, op('inc',  em_inc,  OpReg, None, No64), 8],
  [0x48, op('dec',  em_dec,  OpReg, None, No64), 8],
  [0x50, op('push', em_push, None, OpReg, Stack), 8],
  [0x58, op('pop',  em_pop,  OpReg, None, Stack | Mov), 8],
  [0x60, op('pusha', em_pusha, None, None, No64)],
  [0x61, op('popa',  em_popa,  None, None, No64)],
  [0x63, byMode(U, op('movsxd', em_movsx, Reg, Mem32, Mov))],
  [0x68, op('push', em_push, None, Imm, Stack)],
  [0x69, op('imul', em_imul_3op, Reg, Mem, Mov, Imm)],
  [0x6a, op('push', em_push, None, ImmByte, Stack)],
  [0x6b, op('imul', em_imul_3op, Reg, Mem, Mov, ImmByte)],
  [0x6c, op('ins',  em_in,  DI, DX, ByteOp | String | Mov)],
  [0x6d, op('ins',  em_in,  DI, DX, String | Mov)],
  [0x6e, op('outs', em_out, DX, SI, ByteOp | String)],
  [0x6f, op('outs', em_out, DX, SI, String)],
  [0x70, op('jcc',  em_jcc, None, ImmByte, NearBranch), 16],
  [0x80, immediateGroup(Imm, ByteOp)],
  [0x81, immediateGroup(Imm, 0)],
  [0x82, byMode(op('group1', em_unhandled, Mem, Imm, ByteOp), U)],
  [0x83, immediateGroup(ImmByte, 0)],
  [0x84, op('test', em_test, Mem, Reg, ByteOp | NoWrite)],
  [0x85, op('test', em_test, Mem, Reg, NoWrite)],
  [0x86, op('xchg', em_xchg, Mem, Reg, ByteOp | Lock | SrcWrite)],
  [0x87, op('xchg', em_xchg, Mem, Reg, Lock | SrcWrite)],
  [0x88, op('mov',  em_mov, Mem, Reg, ByteOp | Mov)],
  [0x89, op('mov',  em_mov, Mem, Reg, Mov)],
  [0x8a, op('mov',  em_mov, Reg, Mem, ByteOp | Mov)],
  [0x8b, op('mov',  em_mov, Reg, Mem, Mov)],
  [0x8c, op('mov',  em_mov_from_sreg, Mem, Sreg, Mov)],
  [0x8d, op('lea',  em_lea, Reg, Mem, NoAccess | Mov)],
  [0x8e, op('mov',  em_mov_to_sreg, None, Mem16)],
  [0x8f, group(op('pop', em_pop, Mem, None, Stack | Mov))],
  [0x90, op('xchg', em_xchg, OpReg, Acc, SrcWrite), 8],
  [0x98, op('cbw',  em_cbw, Acc)],
  [0x99, op('cwd',  em_cwd)],
  [0x9a, op('call far', em_call_far, None, FarImm, No64)],
  [0x9c, op('pushf', em_pushf, None, None, Stack)],
  [0x9d, op('popf',  em_popf,  None, None, Stack)],
  [0x9e, op('sahf', em_sahf)],
  [0x9f, op('lahf', em_lahf)],
  [0xa0, op('mov',  em_mov, Acc, MOffs, ByteOp | Mov)],
  [0xa1, op('mov',  em_mov, Acc, MOffs, Mov)],
  [0xa2, op('mov',  em_mov, MOffs, Acc, ByteOp | Mov)],
  [0xa3, op('mov',  em_mov, MOffs, Acc, Mov)],
  [0xa4, op('movs', em_mov, DI, SI, ByteOp | Mov | String)],
  [0xa5, op('movs', em_mov, DI, SI, Mov | String)],
  [0xa6, op('cmps', em_cmp, SI, DI, ByteOp | NoWrite | String)],
  [0xa7, op('cmps', em_cmp, SI, DI, NoWrite | String)],
  [0xa8, op('test', em_test, Acc, Imm, ByteOp | NoWrite)],
  [0xa9, op('test', em_test, Acc, Imm, NoWrite)],
  [0xaa, op('stos', em_mov, DI, Acc, ByteOp | Mov | String)],
  [0xab, op('stos', em_mov, DI, Acc, Mov | String)],
  [0xac, op('lods', em_mov, Acc, SI, ByteOp | Mov | String)],
  [0xad, op('lods', em_mov, Acc, SI, Mov | String)],
  [0xae, op('scas', em_cmp, Acc, DI, ByteOp | NoWrite | String)],
  [0xaf, op('scas', em_cmp, Acc, DI, NoWrite | String)],
  [0xb0, op('mov',  em_mov, OpReg, Imm, ByteOp | Mov), 8],
  [0xb8, op('mov',  em_mov, OpReg, Imm64, Mov), 8],
  [0xc0, shifts(ImmUByte, ByteOp)],
  [0xc1, shifts(ImmUByte, 0)],
  [0xc2, op('ret',  em_ret, None, Imm16, NearBranch | Stack)],
  [0xc3, op('ret',  em_ret, None, None, NearBranch | Stack)],
  [0xc4, op('les', em_lseg(0), Reg, Mem, Mov | No64)],
  [0xc5, op('lds', em_lseg(3), Reg, Mem, Mov | No64)],
  [0xc6, group(op('mov', em_mov, Mem, Imm, ByteOp | Mov))],
  [0xc7, group(op('mov', em_mov, Mem, Imm, Mov))],
  [0xc8, op('enter', em_enter, None, Imm16, Stack, ImmUByte)],
  [0xc9, op('leave', em_leave, None, None, Stack)],
  [0xca, op('ret far', em_ret_far, None, Imm16)],
  [0xcb, op('ret far', em_ret_far)],
  [0xcc, op('int3', em_int3)],
  [0xcd, op('int', em_int, None, ImmUByte)],
  [0xce, op('into', em_into, None, None, No64)],
  [0xcf, op('iret', em_iret)],
  [0xd0, shifts(One, ByteOp)],
  [0xd1, shifts(One, 0)],
  [0xd2, shifts(CL, ByteOp)],
  [0xd3, shifts(CL, 0)],
  [0xd4, op('aam', em_aam, None, ImmUByte, No64)],
  [0xd5, op('aad', em_aad, None, ImmUByte, No64)],
  [0xd6, op('salc', em_salc, None, None, No64)],
  [0xd7, op('xlat', em_xlat)],
  [0xd9, group(U, U, U, U, U, U, U, op('fnstcw', em_fnstcw, Mem16, None, Mov))],
  [0xdb, { pick: 'group7', rows: [], registers: { 0x23: op('fninit', em_fninit, None, None, ModRM) } }],
  [0xdd, group(U, U, U, U, U, U, U, op('fnstsw', em_fnstsw, Mem16, None, Mov))],
  [0xe0, op('loop', em_loop, None, ImmByte, NearBranch), 3],
  [0xe3, op('jcxz', em_jcxz, None, ImmByte, NearBranch)],
  [0xe4, op('in',   em_in,  Acc, ImmUByte, ByteOp | Mov)],
  [0xe5, op('in',   em_in,  Acc, ImmUByte, Mov)],
  [0xe6, op('out',  em_out, ImmUByte, Acc, ByteOp)],
  [0xe7, op('out',  em_out, ImmUByte, Acc)],
  [0xe8, op('call', em_call_rel, None, Imm, NearBranch | Stack)],
  [0xe9, op('jmp',  em_jmp_rel, None, Imm, NearBranch)],
  [0xea, op('jmp far', em_jmp_far, None, FarImm, No64)],
  [0xeb, op('jmp',  em_jmp_rel, None, ImmByte, NearBranch)],
  [0xec, op('in',   em_in,  Acc, DX, ByteOp | Mov)],
  [0xed, op('in',   em_in,  Acc, DX, Mov)],
  [0xee, op('out',  em_out, DX, Acc, ByteOp)],
  [0xef, op('out',  em_out, DX, Acc)],
  [0xf4, op('hlt', em_hlt, None, None, Priv)],
  [0xf5, op('cmc',  em_cmc)],
  [0xf6, unary(ByteOp)],
  [0xf7, unary(0)],
  [0xf8, op('clc',  em_clc)],
  [0xf9, op('stc',  em_stc)],
  [0xfa, op('cli',  em_cli)],
  [0xfb, op('sti',  em_sti)],
  [0xfc, op('cld',  em_cld)],
  [0xfd, op('std',  em_std)],
  [0xfe, group(op('inc', em_inc, Mem, None, ByteOp | Lock), op('dec', em_dec, Mem, None, ByteOp | Lock))],
  [0xff, group(
    op('inc',  em_inc, Mem, None, Lock),
    op('dec',  em_dec, Mem, None, Lock),
    op('call', em_call_near_abs, None, Mem, NearBranch | Stack),
    op('call far', em_call_far, None, Mem),
    op('jmp',  em_jmp_abs, None, Mem, NearBranch),
    op('jmp far', em_jmp_far, None, Mem),
    op('push', em_push, None, Mem, Stack),
  )],
]);

export const twobyte_table = table([
  [0x00, group(
    op('sldt', em_sldt, Mem, None, Mov | Prot),
    op('str',  em_str,  Mem, None, Mov | Prot),
    op('lldt', em_lldt, None, Mem16, Prot | Priv),
    op('ltr',  em_ltr,  None, Mem16, Prot | Priv),
  )],
  [0x01, { pick: 'group7', rows: [
    op('sgdt', em_sgdt, Mem, None, Mov),
    op('sidt', em_sidt, Mem, None, Mov),
    op('lgdt', em_lgdt, None, Mem, NoAccess | Priv),
    op('lidt', em_lidt, None, Mem, NoAccess | Priv),
    op('smsw', em_smsw, Mem, None, Mov),
    U,
    op('lmsw', em_lmsw, None, Mem16, Priv),
    op('invlpg', em_invlpg, None, Mem, NoAccess | Priv),
  ], registers: { 0x01: op('vmcall', em_hypercall, None, None, EmulateOnUD | ModRM), 0x19: op('vmmcall', em_hypercall, None, None, EmulateOnUD | ModRM) } }],
  [0x05, op('syscall', em_syscall, None, None, EmulateOnUD)],
  [0x06, op('clts', em_clts, None, None, Priv)],
  [0x08, op('wbinvd', em_nop, None, None, Priv), 2],
  [0x0d, op('prefetch', em_nop, None, Mem, NoAccess)],
  [0x10, byPrefix(sseLoad('movups', 0), sseLoad('movupd', 0), U, U)],
  [0x11, byPrefix(sseStore('movups', 0), sseStore('movupd', 0), U, U)],
  [0x18, op('nop', em_nop, None, Mem, NoAccess), 8],
  [0x20, op('mov cr', em_cr_read,  Mem, None, Mov | Priv | NaturalOp)],
  [0x21, op('mov dr', em_dr_read,  Mem, None, Mov | Priv | NaturalOp)],
  [0x22, op('mov cr', em_cr_write, None, Mem, Priv | NaturalOp)],
  [0x23, op('mov dr', em_dr_write, None, Mem, Priv | NaturalOp)],
  [0x28, byPrefix(sseLoad('movaps', Aligned), sseLoad('movapd', Aligned), U, U)],
  [0x29, byPrefix(sseStore('movaps', Aligned), sseStore('movapd', Aligned), U, U)],
  [0x2b, byPrefix(sseStore('movntps', Aligned), sseStore('movntpd', Aligned), U, U)],
  [0x30, op('wrmsr', em_wrmsr, None, None, Priv)],
  [0x31, op('rdtsc', em_rdtsc)],
  [0x32, op('rdmsr', em_rdmsr, None, None, Priv)],
  [0x33, op('rdpmc', em_rdpmc)],
  [0x34, op('sysenter', em_sysenter, None, None, EmulateOnUD)],
  [0x35, op('sysexit',  em_sysexit,  None, None, EmulateOnUD | Priv)],
  [0x40, op('cmov', em_cmov, Reg, Mem), 16],
  [0x6f, byPrefix(op('movq', em_mov, Reg, Mem, Mov | Mmx), sseLoad('movdqa', Aligned), U, sseLoad('movdqu', 0))],
  [0x7f, byPrefix(op('movq', em_mov, Mem, Reg, Mov | Mmx), sseStore('movdqa', Aligned), U, sseStore('movdqu', 0))],
  [0x80, op('jcc',   em_jcc, None, Imm, NearBranch), 16],
  [0x90, op('setcc', em_setcc, Mem, None, ByteOp | Mov), 16],
  [0xa0, op('push fs', em_push_sreg(4), None, None, Stack)],
  [0xa1, op('pop fs', em_pop_sreg(4), None, None, Stack)],
  [0xa2, op('cpuid', em_cpuid)],
  [0xa3, op('bt',    em_bt, Mem, Reg, NoWrite | BitOp)],
  [0xa4, op('shld',  em_shld_left, Mem, Reg, 0, ImmUByte)],
  [0xa5, op('shld',  em_shld_left, Mem, Reg, 0, CL)],
  [0xa8, op('push gs', em_push_sreg(5), None, None, Stack)],
  [0xa9, op('pop gs', em_pop_sreg(5), None, None, Stack)],
  [0xaa, op('rsm', em_rsm, None, None, EmulateOnUD)],
  [0xab, op('bts',   em_bts, Mem, Reg, Lock | BitOp)],
  [0xac, op('shrd',  em_shrd, Mem, Reg, 0, ImmUByte)],
  [0xad, op('shrd',  em_shrd, Mem, Reg, 0, CL)],
  [0xae, { pick: 'group7', rows: [op('fxsave', em_fxsave, None, Mem, NoAccess), op('fxrstor', em_fxrstor, None, Mem, NoAccess), U, U, U, U, U, op('clflush', em_nop, None, Mem, NoAccess)], registers: Object.fromEntries(Array.from({ length: 24 }, (_, i) => [0x28 + i, op('fence', em_nop, None, None, ModRM)])) }],
  [0xaf, op('imul',  em_imul_reg, Reg, Mem)],
  [0xb0, op('cmpxchg', em_cmpxchg, Mem, Reg, ByteOp | Lock | SrcWrite)],
  [0xb1, op('cmpxchg', em_cmpxchg, Mem, Reg, Lock | SrcWrite)],
  [0xb2, op('lss', em_lseg(2), Reg, Mem, Mov)],
  [0xb3, op('btr',   em_btr, Mem, Reg, Lock | BitOp)],
  [0xb4, op('lfs', em_lseg(4), Reg, Mem, Mov)],
  [0xb5, op('lgs', em_lseg(5), Reg, Mem, Mov)],
  [0xb6, op('movzx', em_mov,   Reg, Mem8,  Mov | DstFull)],
  [0xb7, op('movzx', em_mov,   Reg, Mem16, Mov | DstFull)],
  [0xba, bits(ImmUByte)],
  [0xbb, op('btc',   em_btc, Mem, Reg, Lock | BitOp)],
  [0xbc, op('bsf',   em_bsf, Reg, Mem)],
  [0xbd, op('bsr',   em_bsr, Reg, Mem)],
  [0xbe, op('movsx', em_movsx, Reg, Mem8,  Mov | DstFull)],
  [0xbf, op('movsx', em_movsx, Reg, Mem16, Mov | DstFull)],
  [0xc0, op('xadd',  em_xadd, Mem, Reg, ByteOp | Lock | SrcWrite)],
  [0xc1, op('xadd',  em_xadd, Mem, Reg, Lock | SrcWrite)],
  [0xc3, op('movnti', em_mov, Mem, Reg, Mov | Op3264)],
  [0xc7, group(U, op('cmpxchg8b', em_cmpxchg8b, MemDouble, None, Lock | Op3264))],
  [0xc8, op('bswap', em_bswap, OpReg), 8],
  [0xe7, byPrefix(U, sseStore('movntdq', Aligned), U, U)],
]);

/** 0F 38 F0 and F1 without F2: MOVBE. */
export const movbe_load: opcode = op('movbe', em_movbe_mem, Reg, Mem, Mov | EmulateOnUD);
export const movbe_store: opcode = op('movbe', em_movbe_mem, Mem, Reg, Mov | EmulateOnUD);

