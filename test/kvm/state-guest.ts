/**
 * A guest whose state is worth saving: integer, SSE and x87 registers, memory, string instructions, shadows, exceptions,
 * CPUID, ports and device memory, all of it a function of the number of instructions run and of the interrupts taken.
 */
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { munmap, storeBytes } from '../../userland/libc.ts';
import { Guest, gate, setMode } from '../golden/probe/guest.ts';
import { anon, make, mk, rm, setmem } from '../golden/probe/machine.ts';
import { fromHex, rawIoctl } from '../golden/probe/recorder.ts';
import type { Parts } from './vm-state.ts';

type Code = readonly (readonly [bytes: string, assembly: string])[];
const START = 0x1000, IRQ_HANDLER = 0x1a00, NMI_HANDLER = 0x1a40, DE_HANDLER = 0x1a80, SMI_HANDLER = 0x38000;
export const VECTOR = 0x40;

const main: Code = [
  ['49bf2d7f954c2df45158',  'start: mov r15, 6364136223846793005'],
  ['49be4f8167f77e7b0514',  'mov r14, 1442695040888963407'],
  ['4531c0',                'xor r8d, r8d'],
  ['490fafc7',              'again: imul rax, r15'],
  ['4c01f0',                'add rax, r14'],
  ['4889c3',                'mov rbx, rax'],
  ['48c1eb2f',              'shr rbx, 47'],
  ['81e3f8ff0000',          'and ebx, 0xfff8'],
  ['48018300000400',        'add [rbx+0x40000], rax'],
  ['f30f7e8300000400',      'movq xmm0, [rbx+0x40000]'],
  ['660fd4c8',              'paddq xmm1, xmm0'],
  ['f20f2ad3',              'cvtsi2sd xmm2, ebx'],
  ['f20f58da',              'addsd xmm3, xmm2'],
  ['dfab00000400',          'fild qword [rbx+0x40000]'],
  ['d9fa',                  'fsqrt'],
  ['dd1c2500f00300',        'fstp qword [0x3f000]'],
  ['fa',                    'cli'],
  ['fb',                    'sti'],
  ['668cd1',                'mov cx, ss'],
  ['8ed1',                  'mov ss, cx'],
  ['a83f',                  'test al, 0x3f'],
  ['7513',                  'jnz .a'],
  ['488db300000400',        'lea rsi, [rbx+0x40000]'],
  ['bf00800300',            'mov edi, 0x38000'],
  ['b9c8000000',            'mov ecx, 200'],
  ['f3a4',                  'rep movsb'],
  ['a900007000',            '.a: test eax, 0x700000'],
  ['7504',                  'jnz .b'],
  ['31d2',                  'xor edx, edx'],
  ['f6f2',                  'div dl'],
  ['a90000007f',            '.b: test eax, 0x7f000000'],
  ['7509',                  'jnz .c'],
  ['50',                    'push rax'],
  ['b801000000',            'mov eax, 1'],
  ['0fa2',                  'cpuid'],
  ['58',                    'pop rax'],
  ['a900f03f00',            '.c: test eax, 0x3ff000'],
  ['750c',                  'jnz .d'],
  ['e610',                  'out 0x10, al'],
  ['8b0c2500001000',        'mov ecx, [0x100000]'],
  ['4901c9',                'add r9, rcx'],
  ['49ffc0',                '.d: inc r8'],
  ['e96effffff',            'jmp again'],
];
const irq: Code = [
  ['48ff042500f10300',      'irq: inc qword [0x3f100]'],
  ['4c01042508f10300',      'add [0x3f108], r8'],
  ['48cf',                  'iretq'],
];
const nmi: Code = [
  ['48ff042510f10300',      'nmi: inc qword [0x3f110]'],
  ['48cf',                  'iretq'],
];
const divideError: Code = [
  ['48ff042518f10300',      'de: inc qword [0x3f118]'],
  ['4883042402',            'add qword [rsp], 2'],
  ['48cf',                  'iretq'],
];
/** 16-bit code, in memory only the handler sees. */
const smi: Code = [
  ['b92c01',                'mov cx, 300'],
  ['2e010e00f0',            'l: add [cs:0xf000], cx'],
  ['e2f9',                  'loop l'],
  ['0faa',                  'rsm'],
];
const assembled = (code: Code): Uint8Array => fromHex(code.map(([bytes]) => bytes).join(''));

export interface Subject extends Parts { readonly g: Guest }

/** A VM for the guest, with memory of its own in both address spaces; without `fresh` its state is still to come. */
export function* subject(sys: number, chips: boolean, fresh: boolean): Sys<Subject> {
  const m = yield* mk(sys, { mem: true, vcpu: true, tss: true, cpuid: true, irqchip: chips, pit: chips });
  const g = new Guest(m, sys);
  const smram = yield* anon(m.size);
  yield* setmem(m.vm, 1 << 16, 0, 0n, m.size, smram);
  if (fresh) {
    yield* setMode(g, 'long64');
    g.put(START, assembled(main));
    g.put(IRQ_HANDLER, assembled(irq));
    g.put(NMI_HANDLER, assembled(nmi));
    g.put(DE_HANDLER, assembled(divideError));
    for (const [vector, at] of [[0, DE_HANDLER], [2, NMI_HANDLER], [VECTOR, IRQ_HANDLER]] as const) gate(g, 'long64', vector, at);
    storeBytes(smram + SMI_HANDLER, assembled(smi));
    yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: BigInt(START), rflags: 2n, rsp: 0x7000n, rax: 0x9e3779b97f4a7c15n }));
  }
  return { g, vm: m.vm, vcpu: m.vcpu, sys, memories: [m.mem, smram], memorySize: m.size, chips };
}

export function* drop(s: Subject): Sys {
  yield* rm(s.g.m);
  yield* munmap(s.memories[1]!, s.memorySize);
}

/** Runs on until KVM_RUN is interrupted; ports are ignored and device memory reads as a constant. */
export function* runOn(s: Subject): Sys<string> {
  const { run } = s.g.m;
  for (;;) {
    const r = yield* rawIoctl(s.vcpu, K.KVM_RUN.nr, 0);
    if (r === -4) return 'stopped';
    if (r !== 0) return `error ${-r}`;
    if (run.exit_reason === K.KVM_EXIT_MMIO) for (let i = 0; i < 8; i++) run.mmio.data.set(i, 17 * i);
    else if (run.exit_reason !== K.KVM_EXIT_IO) return `exit ${run.exit_reason}`;
  }
}
