/**
 * Devices against guests: interrupts go in by irqfd over every kind of route, answers come out by ioeventfd, and both sides
 * count. Each line has at most one interrupt on its way, so that none may merge with another.
 */
import * as K from '../../abi/kvm/index.ts';
import { MAP_SHARED } from '../../abi/mman.ts';
import type { Sys } from '../../abi/process.ts';
import { __NR_read } from '../../abi/syscalls.ts';
import { close, eventfd, loadBytes, mmap, pthread_create, pthread_join, syscall, view, write } from '../../userland/libc.ts';
import { word64, words } from '../golden/probe/machine.ts';
import { HLT, IRET, STI, X2APIC_EOI, X2APIC_ICR, apicOn, machine, make, next, notes, out, picOn, rawIoctl, rm, setCpuid, wrmsr } from './chips-program.ts';

const FIRST = 0x20, LINES = 9, END = 0x2f;
/** Lines 0–3: messages to both processors; 4–7: edges of the I/O APIC; 8: a level that comes back by a second eventfd. */
const MESSAGES = 4, LEVEL = 8;
const COUNTERS = 0x3000, PORT = 0xe0;

/** INC DWORD [counter]; EOI; OUT to the ioeventfd; IRET */
const handler = (line: number): number[] =>
  [0x66, 0xff, 0x06, (COUNTERS + 4 * line) & 0xff, (COUNTERS + 4 * line) >> 8, ...wrmsr(X2APIC_EOI, 0), ...(line === LEVEL ? [] : out(PORT, line)), IRET];

export interface Storm { readonly raised: readonly number[]; readonly taken: readonly number[]; readonly answers: number; readonly resampled: number }

/** Raises at least `total` interrupts and returns what each side counted. */
export function storm(total: number): Storm {
  let result: Storm | undefined;
  notes(function* body(sys) {
    const sleep = [HLT, 0xeb, 0xfd];
    const start = [...wrmsr(X2APIC_ICR, 0x4500, 1), ...wrmsr(X2APIC_ICR, 0x4602, 1)];
    const g = yield* machine(sys, { irqchip: true }, [...picOn(0xff), ...apicOn, ...start, ...out(0x10, 1), STI, ...sleep], []);
    g.put(0x2000, Uint8Array.from([...apicOn, 0xc6, 0x06, 0x00, 0x38, 0x01, STI, ...sleep]));
    for (let line = 0; line < LINES; line++) {
      g.put(0x4000 + 0x40 * line, Uint8Array.from(handler(line)));
      g.put32((FIRST + line) * 4, 0x4000 + 0x40 * line);
    }
    g.put(0x4400, Uint8Array.from(out(0x11, 1)));
    g.put32(END * 4, 0x4400);
    const { vm } = g.m;
    const second = yield* rawIoctl(vm, K.KVM_CREATE_VCPU.nr, 1);
    yield* setCpuid(sys, second);
    yield* route(vm);
    const answers = yield* eventfd(0);
    for (let line = 0; line < LEVEL; line++) {
      yield* rawIoctl(vm, K.KVM_IOEVENTFD.nr, yield* make(K.kvm_ioeventfd, { addr: BigInt(PORT), len: 1, fd: answers, datamatch: BigInt(line), flags: K.KVM_IOEVENTFD_FLAG_PIO | K.KVM_IOEVENTFD_FLAG_DATAMATCH }));
    }
    const again = yield* eventfd(0);
    const lines: number[] = [];
    for (let line = 0; line < LINES; line++) {
      const fd = yield* eventfd(0);
      lines.push(fd);
      yield* rawIoctl(vm, K.KVM_IRQFD.nr, yield* make(K.kvm_irqfd, line === LEVEL ? { fd, gsi: 16 + line, flags: K.KVM_IRQFD_FLAG_RESAMPLE, resamplefd: again } : { fd, gsi: 16 + line }));
    }
    if ((yield* next(g)) !== 'out 10') throw new Error('the first processor does not start');
    const at = yield* mmap(0, 12288, 3, MAP_SHARED, second, 0);
    const threads = [
      yield* pthread_create(function* first() { yield* next(g); return 0; }),
      yield* pthread_create(function* other() {
        let said = '';
        do said = yield* next(g, second, view(K.kvm_run, at)); while (said === 'error 11');
        return 0;
      }),
    ];
    while (loadBytes(g.m.mem + 0x3800, 1)[0] === 0) yield* syscall(24);
    const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
    const box = yield* words(0n);
    const read = function* read(fd: number): Sys<number> {
      yield* syscall(__NR_read, fd, box, 8);
      return Number(word64(box));
    };
    const raised = new Array<number>(LINES).fill(0);
    let answered = 0, resampled = 0, sent = 0;
    for (let round = 0; sent < total; round++) {
      // Not all lines each time, and in changing order.
      let expected = 0;
      for (let i = 0; i < LINES; i++) {
        const line = (i * 4 + round) % LINES;
        if ((round * 7 + line * 5) % 6 === 0) continue;
        yield* write(lines[line]!, one);
        raised[line]!++;
        sent++;
        if (line !== LEVEL) expected++;
      }
      const levels = raised[LEVEL]!;
      for (let got = 0; got < expected; ) {
        const n = yield* read(answers);
        got += n;
        answered += n;
      }
      while (resampled < levels) resampled += yield* read(again);
    }
    const taken = Array.from({ length: LINES }, (_, line) => Number(word64(g.m.mem + COUNTERS + 4 * line) & 0xffff_ffffn));
    for (const processor of [0, 1]) yield* rawIoctl(vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo: 0xfee00000 | (processor << 12), data: END }));
    for (const thread of threads) yield* pthread_join(thread);
    result = { raised, taken, answers: answered, resampled };
    for (const fd of [...lines, answers, again, second]) yield* close(fd);
    yield* rm(g.m);
  }, 2, 1e6);
  return result!;
}

/** gsi 16…: four messages, four edges and a level of the I/O APIC, vectors in order, processors in turn. */
function* route(vm: number): Sys {
  const entries: bigint[] = [BigInt(LINES)];
  for (let line = 0; line < LINES; line++) {
    const type = line < MESSAGES ? K.KVM_IRQ_ROUTING_MSI : K.KVM_IRQ_ROUTING_IRQCHIP;
    const union = line < MESSAGES ? [BigInt(0xfee00000 | ((line & 1) << 12)), BigInt(FIRST + line), 0n, 0n] : [BigInt(K.KVM_IRQCHIP_IOAPIC) | (BigInt(line) << 32n), 0n, 0n, 0n];
    entries.push(BigInt(16 + line) | (BigInt(type) << 32n), 0n, ...union);
  }
  const r = yield* rawIoctl(vm, K.KVM_SET_GSI_ROUTING.nr, yield* words(...entries));
  const chip = yield* make(K.kvm_irqchip, { chip_id: K.KVM_IRQCHIP_IOAPIC });
  yield* rawIoctl(vm, K.KVM_GET_IRQCHIP.nr, chip);
  for (let line = MESSAGES; line < LINES; line++) chip.chip.ioapic.redirtbl.get(line).bits = BigInt(FIRST + line) | (line === LEVEL ? 0x8000n : 0n) | (BigInt(line & 1) << 56n);
  const s = yield* rawIoctl(vm, K.KVM_SET_IRQCHIP.nr, chip);
  if (r !== 0 || s !== 0) throw new Error(`routing ${r}, chip ${s}`);
}
