import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { MAP_SHARED } from '../../abi/mman.ts';
import { close, loadBytes, mmap, pthread_create, pthread_join, view } from '../../userland/libc.ts';
import { word64 } from '../golden/probe/machine.ts';
import { HLT, IRET, MSR_APIC_BASE, STI, X2APIC_EOI, X2APIC_ICR, X2APIC_SPIV, apicOn, machine, next, notes, out, rawIoctl, readStats, rm, setCpuid, wrmsr } from './chips-program.ts';

const VCPUS = 8, ROUNDS = 40;
const IPI = 0x30;
const LOCK = 0x3000, SHARED = 0x3004, ARRIVED = 0x3008, IPIS = 0x3100;
const w16 = (v: number): number[] => [v & 0xff, (v >> 8) & 0xff];
const jump = (op: number, from: number, to: number): number[] => [op, (to - from - 2) & 0xff];

/** KVM_HC_SCHED_YIELD to the processor in EBX: lets it run if it has lost its turn. */
const yieldTo = [0x66, 0xb8, K.KVM_HC_SCHED_YIELD, 0, 0, 0, 0x0f, 0x01, 0xc1];

/**
 * What every processor does ROUNDS times: takes the lock, adds 1 to a shared word in two steps with work between them,
 * frees the lock, and interrupts its neighbour once the last such interrupt was taken; then it waits until its own came.
 * Who has to wait gives way to the one it waits for.
 */
function worker(id: number): number[] {
  const code: number[] = [];
  const neighbour = (id + 1) % VCPUS;
  const emit = (...bytes: number[]): number => { const at = code.length; code.push(...bytes); return at; };
  if (id !== 0) emit(...wrmsr(MSR_APIC_BASE, 0xfee00c00), ...wrmsr(X2APIC_SPIV, 0x1ff));
  emit(0xf0, 0xff, 0x06, ...w16(ARRIVED), STI);                           // LOCK INC [arrived]
  // An interrupt to a processor whose APIC is still off would be lost.
  const gather = emit(0x81, 0x3e, ...w16(ARRIVED), ...w16(VCPUS));        // CMP [arrived],VCPUS
  const gathered = emit(0x74, 0);
  emit(0x66, 0xbb, neighbour, 0, 0, 0, ...yieldTo);
  emit(...jump(0xeb, code.length, gather));
  code[gathered + 1] = code.length - gathered - 2;
  emit(0xbd, ...w16(ROUNDS));                                             // MOV BP
  const top = emit(0xb0, 0, 0xb1, id + 1);                                // MOV AL,0; MOV CL,id+1
  emit(0xf0, 0x0f, 0xb0, 0x0e, ...w16(LOCK));                             // LOCK CMPXCHG [lock],CL
  const free = emit(0x74, 0);
  emit(0x66, 0x0f, 0xb6, 0xd8, 0x66, 0x4b, ...yieldTo);                   // MOVZX EBX,AL; DEC EBX
  emit(...jump(0xeb, code.length, top));
  code[free + 1] = code.length - free - 2;
  emit(0x66, 0x8b, 0x1e, ...w16(SHARED));                                 // MOV EBX,[shared]
  emit(0xb9, ...w16(200), 0xe2, 0xfe);                                    // MOV CX; LOOP
  emit(0x66, 0x43, 0x66, 0x89, 0x1e, ...w16(SHARED));                     // INC EBX; MOV [shared],EBX
  emit(0xc6, 0x06, ...w16(LOCK), 0);
  emit(...wrmsr(X2APIC_ICR, 0x4000 | IPI, neighbour));
  const wait = emit(0xa1, ...w16(IPIS + 2 * neighbour), 0x01, 0xe8, 0x3d, ...w16(ROUNDS + 1));   // MOV AX,[its count]; ADD AX,BP; CMP AX
  const taken = emit(0x74, 0);
  emit(0x66, 0xbb, neighbour, 0, 0, 0, ...yieldTo);
  emit(...jump(0xeb, code.length, wait));
  code[taken + 1] = code.length - taken - 2;
  emit(0x4d);                                                             // DEC BP
  emit(0x0f, 0x85, ...w16(top - code.length - 4));
  const end = emit(0x81, 0x3e, ...w16(IPIS + 2 * id), ...w16(ROUNDS));    // CMP [my count],ROUNDS
  const all = emit(0x74, 0);
  emit(0x66, 0xbb, (id + VCPUS - 1) % VCPUS, 0, 0, 0, ...yieldTo);
  emit(...jump(0xeb, code.length, end));
  code[all + 1] = code.length - all - 2;
  emit(...out(0x10, id), 0xfa, HLT);
  return code;
}
/** The APIC id chooses the counter: RDMSR 802h; ADD AX,AX; MOV BX,AX; INC [BX+counts]; EOI. All registers are kept. */
const isr = [0x66, 0x60, 0x66, 0xb9, 0x02, 0x08, 0, 0, 0x0f, 0x32, 0x01, 0xc0, 0x89, 0xc3, 0xff, 0x87, ...w16(IPIS), ...wrmsr(X2APIC_EOI, 0), 0x66, 0x61, IRET];

test('processors started by INIT and SIPI share a lock and interrupt each other, four to one real processor', () => {
  notes(function* body(sys) {
    const start = Array.from({ length: VCPUS - 1 }, (_, i) => [...wrmsr(X2APIC_ICR, 0x4500, i + 1), ...wrmsr(X2APIC_ICR, 0x4600 | (0x10 + i), i + 1)]).flat();
    const first = [...apicOn, ...start, 0xb8, ...w16(0x5000), 0xff, 0xe0];
    const g = yield* machine(sys, { irqchip: true }, first, []);
    g.put(0x5000, Uint8Array.from(worker(0)));
    g.put(0x1c00, Uint8Array.from(isr));
    g.put32(IPI * 4, 0x1c00);
    const vcpus = [{ fd: g.m.vcpu, run: g.m.run }];
    for (let id = 1; id < VCPUS; id++) {
      const fd = yield* rawIoctl(g.m.vm, K.KVM_CREATE_VCPU.nr, id);
      yield* setCpuid(sys, fd);
      vcpus.push({ fd, run: view(K.kvm_run, yield* mmap(0, 12288, 3, MAP_SHARED, fd, 0)) });
      // Real mode: its segment is the vector's page, data is at 0.
      g.put(0x10000 + 0x1000 * (id - 1), Uint8Array.from([0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, ...w16(0x7000 - 0x100 * id), 0xea, ...w16(0x6000 + 0x100 * id), 0, 0]));
      g.put(0x6000 + 0x100 * id, Uint8Array.from(worker(id)));
    }
    const said: string[] = [];
    const threads = [];
    for (const { fd, run } of vcpus) {
      threads.push(yield* pthread_create(function* vcpu() {
        let exit = '';
        do exit = yield* next(g, fd, run); while (exit === 'error 11');
        said.push(exit);
        return 0;
      }));
    }
    for (const thread of threads) yield* pthread_join(thread);
    assert.deepEqual(said, Array.from({ length: VCPUS }, () => 'out 10'));
    assert.equal(Number(word64(g.m.mem + SHARED) & 0xffff_ffffn), VCPUS * ROUNDS);
    const counts = loadBytes(g.m.mem + IPIS, 2 * VCPUS);
    assert.deepEqual(Array.from({ length: VCPUS }, (_, i) => counts[2 * i]! | (counts[2 * i + 1]! << 8)), Array.from({ length: VCPUS }, () => ROUNDS));
    let preempted = 0;
    for (const { fd } of vcpus) {
      const stats = yield* rawIoctl(fd, K.KVM_GET_STATS_FD.nr, 0);
      preempted += (yield* readStats(stats)).get('irq_exits')![0]!;
      yield* close(stats);
    }
    assert.ok(preempted > VCPUS, `${preempted} exits for the host's interrupts`);
    for (const { fd } of vcpus.slice(1)) yield* close(fd);
    yield* rm(g.m);
  }, 2, 60);
});
