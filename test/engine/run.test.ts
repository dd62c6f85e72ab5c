/** What a run of machine code owes to the outside: exact counts, restartable instructions, code that changes itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { GP_VECTOR, PF_VECTOR, SS_VECTOR } from '../../machine/cpu/exceptions.ts';
import { CS, CpuState, DS, RAX, RBX, RCX, RDI, RSI, RSP, SS, STATE, cpu_state, updateMode } from '../../machine/cpu/state.ts';
import { readFlags } from '../../machine/engine/flags.ts';
import { STOP_EVENT, STOP_FAULT, STOP_LIMIT, stopSoon } from '../../machine/engine/stop.ts';

const CODE = 0x1000;
const PT = 0x10_0000;
const hex = (n: bigint | number) => n.toString(16);

function longMode(code: string, at = CODE): BareMachine {
  const m = new BareMachine(16 << 20);
  m.longMode(at);
  m.poke(at, code);
  m.cpu.gpr[RSP] = 0x9000n;
  return m;
}
/** Maps 4 KiB pages for the 2 MiB at 0x400000: page i where `frames[i]` says, -1 for none. */
function smallPages(m: BareMachine, frames: number[]): void {
  const { u64 } = m.ram.mem;
  const table = PT + 0x3000;
  u64[(m.ram.base + PT + 0x2000 + 2 * 8) >>> 3] = BigInt(table | 7);
  frames.forEach((f, i) => { u64[((m.ram.base + table) >>> 3) + i] = f < 0 ? 0n : BigInt(f | 7); });
  m.engine.flushTlb(m.cpu);
}

test('a run stops after exactly as many instructions as it was given', () => {
  // 48 ff c0  inc rax ; eb fb  jmp back
  const m = longMode('48 ff c0 eb fb');
  for (const n of [1, 2, 3, 7, 64, 65, 1000, 12345]) {
    const before = m.cpu.gpr[RAX]!, retired = m.cpu.state.retired;
    const at = m.cpu.rip;
    assert.equal(m.engine.run(m.cpu, n), STOP_LIMIT);
    assert.equal(m.engine.used, n);
    assert.equal(m.cpu.state.retired - retired, BigInt(n));
    const incs = at === BigInt(CODE) ? Math.ceil(n / 2) : Math.floor(n / 2);
    assert.equal(m.cpu.gpr[RAX]! - before, BigInt(incs));
    assert.equal(m.cpu.rip, BigInt(incs * 2 === n ? Number(at) : at === BigInt(CODE) ? CODE + 3 : CODE));
  }
});

test('a run of any slices passes through the same states as one run', () => {
  // mov ecx,300; l: lea rax,[rax+rcx*4+1]; xor rbx,rax; push rbx; pop rdx; rep stosb with rcx kept in rsi
  const code = 'b9 2c 01 00 00  48 8d 44 88 01  48 31 c3  53 5a  89 ce  bf 00 80 00 00  f3 aa  89 f1  e2 e8  90 eb fe';
  const whole = longMode(code);
  whole.engine.run(whole.cpu, 60_000);
  for (const slice of [1, 7, 100, 9999]) {
    const m = longMode(code);
    for (let left = 60_000; left > 0; left -= slice) m.engine.run(m.cpu, Math.min(slice, left));
    assert.deepEqual(Array.from(m.cpu.gpr, hex), Array.from(whole.cpu.gpr, hex), `slices of ${slice}`);
    assert.equal(m.cpu.rip, whole.cpu.rip);
    assert.equal(m.cpu.state.retired, whole.cpu.state.retired);
    assert.equal(readFlags(m.cpu), readFlags(whole.cpu));
  }
});

test('stopSoon ends a run at the next instruction and keeps the count exact', () => {
  const m = longMode('ee 48 ff c0 48 ff c0 eb fe');       // out dx,al; inc rax; inc rax; jmp $
  m.cpu.bus.portOut = (cpu) => stopSoon(cpu);
  assert.equal(m.engine.run(m.cpu, 1000), STOP_EVENT);
  assert.equal(m.engine.used, 1);
  assert.equal(m.cpu.rip, BigInt(CODE + 1));
});

test('a fault leaves the instruction as if it had not begun, and it does not count', () => {
  for (const [name, code] of [['add [rdi],rax', '48 01 07'], ['push [rdi]', 'ff 37'], ['xchg [rdi],rbx', '48 87 1f'], ['cmpxchg16b [rdi]', '48 0f c7 0f'],
    ['pop [rdi]', '8f 07'], ['movsq', '48 a5'], ['rcl dword [rdi],1', 'd1 17'], ['call [rdi]', 'ff 17'], ['cmpsb', 'a6'], ['leave', 'c9'], ['movaps [rdi],xmm0', '0f 29 07']] as const) {
    const m = longMode(`90 ${code} 90`);
    smallPages(m, [-1]);
    m.cpu.gpr[RDI] = 0x40_0000n;
    m.cpu.gpr[RSI] = 0x5000n;
    m.cpu.gpr[5] = 0x40_0000n;
    const before = Array.from(m.cpu.gpr, hex), flags = readFlags(m.cpu);
    assert.equal(m.engine.run(m.cpu, 10), STOP_FAULT, name);
    assert.equal(m.engine.fault!.vector, PF_VECTOR, name);
    assert.equal(m.engine.fault!.address, 0x40_0000, name);
    assert.equal(m.cpu.rip, BigInt(CODE + 1), name);
    assert.deepEqual(Array.from(m.cpu.gpr, hex), before, name);
    assert.equal(readFlags(m.cpu), flags, name);
    assert.equal(m.cpu.state.retired, 1n, name);
  }
});

test('REP MOVSB that faults at a page goes on from there', () => {
  const m = longMode('f3 a4 f4');
  smallPages(m, [0x20_0000, -1, 0x20_2000]);
  m.cpu.gpr[RSI] = 0x5000n;
  m.cpu.gpr[RDI] = 0x40_0ff0n;
  m.cpu.gpr[RCX] = 0x40n;
  for (let i = 0; i < 0x40; i++) m.ram.mem.u8[m.ram.base + 0x5000 + i] = i + 1;
  assert.equal(m.engine.run(m.cpu, 1000), STOP_FAULT);
  assert.equal(m.engine.fault!.address, 0x40_1000);
  assert.deepEqual([m.cpu.gpr[RCX], m.cpu.gpr[RSI], m.cpu.gpr[RDI]], [0x30n, 0x5010n, 0x40_1000n]);
  assert.equal(m.cpu.state.retired, 0x10n);
  assert.equal(m.cpu.rip, BigInt(CODE));
  smallPages(m, [0x20_0000, 0x20_1000, 0x20_2000]);
  m.engine.run(m.cpu, 0x31);
  assert.equal(m.cpu.gpr[RCX], 0n);
  assert.equal(m.cpu.rip, BigInt(CODE + 2));
  assert.equal(m.ram.mem.u8[m.ram.base + 0x20_1000 + 0x2f], 0x40);
});

test('REP MOVSB onto itself repeats the pattern, as bytes one by one do', () => {
  const m = longMode('f3 a4 f4');
  m.cpu.gpr[RSI] = 0x5000n;
  m.cpu.gpr[RDI] = 0x5003n;
  m.cpu.gpr[RCX] = 3000n;
  for (let i = 0; i < 3; i++) m.ram.mem.u8[m.ram.base + 0x5000 + i] = 0x61 + i;
  m.engine.run(m.cpu, 3001);
  assert.equal(m.cpu.gpr[RCX], 0n);
  for (let i = 0; i < 3003; i++) assert.equal(m.ram.mem.u8[m.ram.base + 0x5000 + i], 0x61 + i % 3);
});

test('a write across two pages that faults on the second leaves the first alone', () => {
  const m = longMode('48 89 07');
  smallPages(m, [0x20_0000, -1]);
  m.cpu.gpr[RDI] = 0x40_0ffcn;
  m.cpu.gpr[RAX] = 0x1122_3344_5566_7788n;
  assert.equal(m.engine.run(m.cpu, 1), STOP_FAULT);
  assert.equal(m.engine.fault!.address, 0x40_1000);
  assert.equal(m.ram.mem.u32[(m.ram.base + 0x20_0ffc) >>> 2], 0);
  smallPages(m, [0x20_0000, 0x30_0000]);
  m.engine.run(m.cpu, 1);
  assert.equal(m.ram.mem.u32[(m.ram.base + 0x20_0ffc) >>> 2], 0x5566_7788);
  assert.equal(m.ram.mem.u32[(m.ram.base + 0x30_0000) >>> 2], 0x1122_3344);
});

test('a store across two pages is carried out once, whatever stores follow', () => {
  // mov [rdi],rax (across pages); mov byte [rdi],0x55; mov [rsi],rbx (a page not seen yet); mov [rsi],rbx
  const m = longMode('48 89 07  c6 07 55  48 89 1e  48 89 1e');
  smallPages(m, [0x20_0000, 0x30_0000, 0x31_0000]);
  m.cpu.gpr[RDI] = 0x40_0ffcn;
  m.cpu.gpr[RSI] = 0x40_2000n;
  m.cpu.gpr[RAX] = 0x1122_3344_5566_7788n;
  m.cpu.gpr[RBX] = 9n;
  for (let i = 0; i < 4; i++) assert.equal(m.engine.run(m.cpu, 1), STOP_LIMIT);
  assert.equal(m.ram.mem.u32[(m.ram.base + 0x20_0ffc) >>> 2], 0x5566_7755);
  assert.equal(m.ram.mem.u64[(m.ram.base + 0x31_0000) >>> 3], 9n);
});

test('code that overwrites the instruction after it runs the new one', () => {
  // mov byte [CODE+8+1], 0x05 ; add eax,1 -> add eax,5 (83 c0 01); jmp $
  for (let round = 0; round < 3; round++) {
    const m = longMode('c6 04 25 0a 10 00 00 05  83 c0 01  eb fe');
    m.engine.run(m.cpu, 2);
    assert.equal(m.cpu.gpr[RAX], 5n);
  }
  const m = longMode('c6 04 25 0a 10 00 00 05  83 c0 01  eb f3');
  m.engine.run(m.cpu, 30);
  assert.equal(m.cpu.gpr[RAX], 50n, 'also when its page has been written before');
});

test('data beside code can be written without losing the code, and other processors and devices are seen', () => {
  const m = longMode('48 ff 04 25 00 18 00 00  48 ff c0  eb f3');      // inc qword [CODE+0x800]; inc rax; jmp
  m.engine.run(m.cpu, 300);
  assert.equal(m.cpu.gpr[RAX], 100n);
  assert.equal(m.ram.mem.u64[(m.ram.base + CODE + 0x800) >>> 3], 100n);
  m.poke(CODE + 8, '48 ff c8');                                         // dec rax, written from outside
  m.engine.run(m.cpu, 300);
  assert.equal(m.cpu.gpr[RAX], 0n);
});

test('processors share translated code: what one overwrites is new for the other', () => {
  const m = longMode('48 ff c0  eb fb');                                  // inc rax; jmp back
  const second = new CpuState(m.ram.mem, m.ram.reserve(cpu_state.size, 64), 1, m.ram.base, m.ram.size);
  second.bus = m.cpu.bus;
  m.engine.attach(second);
  m.cpu.mem.u8.copyWithin(second.base + STATE.seg, m.cpu.base + STATE.seg, m.cpu.base + cpu_state.size);
  m.poke(0x3000, 'c6 04 25 02 10 00 00 c8  eb fe');                       // mov byte [CODE+2], 0xc8: dec rax
  second.rip = 0x3000n;
  updateMode(second);
  m.engine.flushTlb(second);
  m.engine.run(m.cpu, 200);
  assert.equal(m.cpu.gpr[RAX], 100n);
  m.engine.run(second, 5);
  m.engine.run(m.cpu, 200);
  assert.equal(m.cpu.gpr[RAX], 0n);
});

test('an instruction across two pages follows its second page to another frame', () => {
  // mov eax, imm32 begins at the last byte of a page; its immediate is in the next one.
  const m = longMode('');
  smallPages(m, [0x20_0000, 0x20_1000]);
  m.poke(0x20_0fff, 'b8');
  m.poke(0x20_1000, '01 00 00 00 eb fe');
  m.poke(0x20_2000, '02 00 00 00 eb fe');
  m.cpu.rip = 0x40_0fffn;
  m.engine.run(m.cpu, 2);
  assert.equal(m.cpu.gpr[RAX], 1n);
  smallPages(m, [0x20_0000, 0x20_2000]);
  m.cpu.rip = 0x40_0fffn;
  m.engine.run(m.cpu, 2);
  assert.equal(m.cpu.gpr[RAX], 2n);
  m.poke(0x20_2000, '03 00 00 00 eb fe');
  m.cpu.rip = 0x40_0fffn;
  m.engine.run(m.cpu, 2);
  assert.equal(m.cpu.gpr[RAX], 3n);
});

test('a jump to a page that is not there faults at its target, after the jump has retired', () => {
  const m = longMode('ff e0');
  smallPages(m, [-1]);
  m.cpu.gpr[RAX] = 0x40_0123n;
  assert.equal(m.engine.run(m.cpu, 10), STOP_FAULT);
  assert.equal(m.engine.fault!.address, 0x40_0123);
  assert.equal(m.engine.fault!.error & 0x11, 0x10, 'not present, instruction fetch');
  assert.equal(m.cpu.rip, 0x40_0123n);
  assert.equal(m.cpu.state.retired, 1n);
  // What is due at the end of the run comes before the fault.
  m.cpu.rip = BigInt(CODE);
  assert.equal(m.engine.run(m.cpu, 1), STOP_LIMIT);
  assert.equal(m.cpu.rip, 0x40_0123n);
  assert.equal(m.engine.run(m.cpu, 1), STOP_FAULT);
  assert.equal(m.engine.used, 0);
});

test('addresses that are not canonical raise #GP, through the stack #SS; a jump to one faults where it stands', () => {
  for (const [code, vector] of [['48 8b 00', GP_VECTOR], ['48 8b 04 24', SS_VECTOR], ['50', SS_VECTOR], ['ff e0', GP_VECTOR], ['c3', SS_VECTOR]] as const) {
    const m = longMode(code);
    m.cpu.gpr[RAX] = 0x8000_0000_0000_0000n;
    m.cpu.gpr[RSP] = 0x8000_0000_0000_1000n;
    assert.equal(m.engine.run(m.cpu, 1), STOP_FAULT, code);
    assert.equal(m.engine.fault!.vector, vector, code);
    assert.equal(m.cpu.rip, BigInt(CODE), code);
  }
});

test('segment limits and rights hold in protected mode', () => {
  const m = new BareMachine(16 << 20);
  m.protectedMode(CODE);
  m.poke(CODE, '8b 03  89 03  64 8b 03');      // mov eax,[ebx]; mov [ebx],eax; mov eax,fs:[ebx]
  const run = (rip: number, ebx: number, limit: number, access: number) => {
    m.cpu.setSegment(DS, 0x10, 0n, limit, access);
    updateMode(m.cpu);
    m.cpu.gpr[RBX] = BigInt(ebx);
    m.cpu.rip = BigInt(CODE + rip);
    return m.engine.run(m.cpu, 1) === STOP_FAULT ? m.engine.fault!.vector : -1;
  };
  assert.equal(run(0, 0x8000, 0x8003, 0xc093), -1);
  assert.equal(run(0, 0x8001, 0x8003, 0xc093), GP_VECTOR);
  assert.equal(run(2, 0x8000, 0xffff, 0xc091), GP_VECTOR, 'read-only');
  assert.equal(run(0, 0x8000, 0xffff, 0xc091), -1);
  assert.equal(run(0, 0x8000, 0x7fff, 0xc097), -1, 'expand-down: above the limit');
  assert.equal(run(0, 0x7fff, 0x7fff, 0xc097), GP_VECTOR, 'expand-down: at the limit');
  assert.equal(run(0, 0x8000, 0xffff_ffff, 0x1c093), GP_VECTOR, 'unusable');
});

test('code that runs off the end of its segment raises #GP there, and not before', () => {
  const m = new BareMachine(16 << 20);
  m.realMode(0xfffd);
  m.cpu.setSegment(SS, 0, 0n, 0xffff, 0x93);
  m.poke(0xfffd, '40 40 40 40 40');            // inc ax, five times, three of them inside
  assert.equal(m.engine.run(m.cpu, 10), STOP_FAULT);
  assert.equal(m.engine.fault!.vector, GP_VECTOR);
  assert.equal(m.cpu.gpr[RAX]! & 0xffffn, 3n);
  m.cpu.setSegment(CS, 0, 0n, 0x1fff, 0x9b);
  m.cpu.rip = 0x1ffen;
  m.poke(0x1ffe, '40 b8 01 00');                // inc ax; mov ax,imm16 that reaches beyond
  assert.equal(m.engine.run(m.cpu, 10), STOP_FAULT);
  assert.equal(m.cpu.rip, 0x1fffn);
  assert.equal(m.cpu.gpr[RAX]! & 0xffffn, 4n);
});

test('real mode wraps offsets at 64 KiB and adds segment bases', () => {
  const m = new BareMachine(16 << 20);
  m.realMode(CODE);
  // mov bx,0x10; mov si,0xfff8; mov al,[bx+si]; push ax; jmp back
  m.poke(CODE, 'bb 10 00  be f8 ff  8a 00  50  eb f5');
  m.cpu.setSegment(DS, 0x300, 0x3000n, 0xffff, 0x93);
  updateMode(m.cpu);
  m.cpu.gpr[RSP] = 0n;
  m.ram.mem.u8[m.ram.base + 0x3008] = 0x5a;
  m.engine.run(m.cpu, 1000);
  assert.equal(m.cpu.gpr[RAX]! & 0xffn, 0x5an);
  assert.equal(m.cpu.gpr[RSP], BigInt(0x1_0000 - 400));
  assert.equal(m.ram.mem.u8[m.ram.base + 0xfffe], 0x5a);
});

test('alignment is checked at ring 3 when CR0.AM and RFLAGS.AC ask for it', () => {
  const m = longMode('48 8b 07  8b 07');
  m.cpu.setSegment(CS, 0x1b, 0n, 0xffff_ffff, 0xa0fb);
  m.cpu.setSegment(SS, 0x23, 0n, 0xffff_ffff, 0xc0f3);
  m.cpu.state.cr0 |= 1n << 18n;
  m.cpu.gpr[RDI] = 0x5004n;
  m.engine.writeFlags(m.cpu, 0x4_0202);
  updateMode(m.cpu);
  assert.equal(m.engine.run(m.cpu, 1), STOP_FAULT);
  assert.equal(m.engine.fault!.vector, 17);
  m.cpu.rip = BigInt(CODE + 3);
  assert.equal(m.engine.run(m.cpu, 1), STOP_LIMIT);
});
