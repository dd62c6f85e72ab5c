import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { loadBytes } from '../../userland/libc.ts';
import { setMode } from '../golden/probe/guest.ts';
import { run } from '../support/boot.ts';
import { HLT, chipsProgram, machine, make, next, out, rawIoctl, rm } from './chips-program.ts';

const IRET = 0xcf;
const A = 0x600, B = 0x6200, C = 0x6400, SEL_B = 0x50, SEL_C = 0x58;
const le = (value: number, n: number): number[] => Array.from({ length: n }, (_, i) => (value >>> (8 * i)) & 0xff);
/** A 32-bit TSS: EIP, flags, registers with ESP and EAX, flat segments. */
function tss(eip: number, eax: number): Uint8Array {
  const image = new DataView(new ArrayBuffer(0x68));
  [[0x20, eip], [0x24, 2], [0x28, eax], [0x38, 0x6f00], [0x4c, 8], [0x48, 16], [0x50, 16], [0x54, 16], [0x58, 16], [0x5c, 16], [0x64, 0x680000]].forEach(([at, value]) => { image.setUint32(at!, value!, true); });
  return new Uint8Array(image.buffer);
}
const descriptor = (base: number): bigint => 0x0000890000000067n | (BigInt(base) << 16n);

test('CALL and JMP to a task, IRET out of one, and an exception with its error code through a task gate', () => {
  const lines: string[] = [];
  const program = chipsProgram(function* body(sys) {
    // CALL 50h:0; OUT 11h,AL; JMP 50h:0
    const g = yield* machine(sys, {}, [0x9a, ...le(0, 4), ...le(SEL_B, 2), ...out(0x11, 1), 0xea, ...le(0, 4), ...le(SEL_B, 2)], []);
    yield* setMode(g, 'prot32');
    g.put64(0x500 + SEL_B, descriptor(B), descriptor(C));
    g.put(A, tss(0, 0));
    g.put(B, tss(0x1100, 0x11111111));
    g.put(C, tss(0x1180, 0x22222222));
    // The task called: OUT 10h; IRET; and when it is jumped to: OUT 12h; MOV DS,1000h, which is no selector.
    g.put(0x1100, Uint8Array.of(0xe6, 0x10, IRET, 0xe6, 0x12, 0xb8, ...le(0x1000, 4), 0x8e, 0xd8, HLT));
    // The task behind the gate: POP EAX; OUT 13h
    g.put(0x1180, Uint8Array.of(0x58, 0xe6, 0x13, HLT));
    g.put64(0x3000 + 13 * 8, (0x85n << 40n) | (BigInt(SEL_C) << 16n));
    const s = yield* g.sregs();
    s.gdt.limit = 0x67;
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s);
    const regs = yield* make(K.kvm_regs);
    const busy = (sel: number): number => (loadBytes(g.m.mem + 0x500 + sel + 5, 1)[0]! >> 1) & 1;
    for (let i = 0; i < 4; i++) {
      const line = yield* next(g);
      yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
      const now = yield* g.sregs();
      lines.push(`${line} eax ${regs.rax.toString(16)} tr ${now.tr.selector.toString(16)} NT ${Number(regs.rflags >> 14n) & 1} TS ${Number(now.cr0 >> 3n) & 1} busy ${busy(0x40)}${busy(SEL_B)}${busy(SEL_C)} link ${loadBytes(g.m.mem + B, 2)[0]!.toString(16)}`);
    }
    yield* rm(g.m);
  });
  assert.equal(run({ init: ['-c', 'chips'], programs: [program], seconds: 30 }).status, 0);
  assert.deepEqual(lines, [
    'out 10 eax 11111111 tr 50 NT 1 TS 1 busy 110 link 40',
    'out 11 eax 1 tr 40 NT 0 TS 1 busy 100 link 40',
    'out 12 eax 11111111 tr 50 NT 0 TS 1 busy 010 link 40',
    'out 13 eax 1000 tr 58 NT 1 TS 1 busy 011 link 40',
  ]);
});
