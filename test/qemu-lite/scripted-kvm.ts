/**
 * A /dev/kvm whose vCPUs do what a script says, so that every exit a VMM must understand can be made, those too that
 * no healthy guest causes. The rest of the system is the real one.
 */
import { EINVAL } from '../../abi/errno.ts';
import {
  KVM_CAP_IRQCHIP, KVM_CAP_MAX_VCPUS, KVM_CHECK_EXTENSION, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT,
  KVM_GET_API_VERSION, KVM_GET_REGS, KVM_GET_SUPPORTED_CPUID, KVM_GET_VCPU_MMAP_SIZE, KVM_RUN, KVM_SET_REGS, KVM_SET_USER_MEMORY_REGION, kvm_run,
} from '../../abi/kvm/index.ts';
import { Machine } from '../../machine/machine.ts';
import { Kernel } from '../../kernel/index.ts';
import {
  type Module, KVM_MINOR, alloc_page, anon_inode_getfd, copy_from_user, copy_to_user, get_page, machine, misc_register, wait_event_interruptible, wait_queue_head,
} from '../../kernel/exports.ts';
import type { file_operations } from '../../kernel/fs/types.ts';
import { main as qemuLite } from '../../qemu-lite/main.ts';
import { initialFiles } from '../../system/files.ts';
import { _start, makeLibcState } from '../../userland/libc.ts';
import { programs } from '../../userland/programs.ts';
import { TestConsole } from '../support/boot.ts';

const PAGE = 4096;
const PAGES = 3;

/** One exit: fills kvm_run and the page of port data behind it, and gives what KVM_RUN returns. */
export type Exit = (run: kvm_run, data: Uint8Array) => number | void;
/** The exits of a vCPU in order; `yield` gives the data that the last IN was answered with. A script that ends sleeps in guest mode. */
export type Script = (vcpu: number) => Generator<Exit, void, number>;

const port = (direction: number, at: number, size: number, values: readonly number[]): Exit => (run, data) => {
  run.exit_reason = KVM_EXIT_IO;
  run.io.direction = direction;
  run.io.port = at;
  run.io.size = size;
  run.io.count = values.length;
  run.io.data_offset = BigInt(PAGE);
  values.forEach((value, i) => { for (let b = 0; b < size; b++) data[i * size + b] = value >>> (8 * b); });
};
export const outb = (at: number, ...values: number[]): Exit => port(KVM_EXIT_IO_OUT, at, 1, values);
export const outw = (at: number, value: number): Exit => port(KVM_EXIT_IO_OUT, at, 2, [value]);
export const outl = (at: number, value: number): Exit => port(KVM_EXIT_IO_OUT, at, 4, [value]);
export const inb = (at: number): Exit => port(KVM_EXIT_IO_IN, at, 1, [0]);
export const inl = (at: number): Exit => port(KVM_EXIT_IO_IN, at, 4, [0]);
export const hlt: Exit = (run) => { run.exit_reason = KVM_EXIT_HLT; };
export function* say(text: string): Generator<Exit, void, number> {
  for (const c of text) yield outb(0x3f8, c.charCodeAt(0));
}

/** The calls a vCPU's file has answered, for tests that ask what a VMM set. */
export interface Seen { readonly ioctls: number[]; regs: Uint8Array }

function vcpuFile(script: Script, index: number, seen: Seen): file_operations {
  const pages = Array.from({ length: PAGES }, () => alloc_page());
  const { mem, base, physical } = machine().ram;
  const run = kvm_run.at(physical, pages[0]! * PAGE);
  const data = mem.u8.subarray(base + pages[1]! * PAGE, base + (pages[1]! + 1) * PAGE);
  const words = new DataView(data.buffer, data.byteOffset);
  const exits = script(index);
  const never = new wait_queue_head();
  return {
    *ioctl(_, cmd, arg) {
      seen.ioctls.push(cmd);
      switch (cmd) {
        case KVM_RUN.nr: {
          const { size } = run.io;
          const next = exits.next(size === 4 ? words.getUint32(0, true) : size === 2 ? words.getUint16(0, true) : words.getUint8(0));
          if (next.done === true) return yield* wait_event_interruptible(never, () => false);
          return next.value(run, data) ?? 0;
        }
        case KVM_SET_REGS.nr:
          return copy_from_user(seen.regs, Number(arg));
        case KVM_GET_REGS.nr:
          return copy_to_user(Number(arg), seen.regs);
        default:
          return 0;
      }
    },
    mmap(_, vma) {
      vma.vm_ops = {
        fault: (_vma, pgoff) => {
          const pfn = pages[pgoff];
          if (pfn === undefined) return -EINVAL;
          get_page(pfn);
          return pfn;
        },
      };
      return 0;
    },
  };
}

export function scriptedKvm(script: Script, seen: Seen): Module {
  const vm: file_operations = {
    ioctl(_, cmd, arg) {
      if (cmd === KVM_CREATE_VCPU.nr) return anon_inode_getfd('kvm-vcpu', vcpuFile(script, Number(arg), seen), undefined, 2);
      if (cmd === KVM_CHECK_EXTENSION.nr) return Number(arg) === KVM_CAP_IRQCHIP ? 0 : Number(arg) === KVM_CAP_MAX_VCPUS ? 16 : 0;
      if (cmd === KVM_SET_USER_MEMORY_REGION.nr) seen.ioctls.push(cmd);
      return 0;
    },
  };
  const fops: file_operations = {
    ioctl(_, cmd, arg) {
      switch (cmd) {
        case KVM_GET_API_VERSION.nr: return 12;
        case KVM_CREATE_VM.nr: return anon_inode_getfd('kvm-vm', vm, undefined, 2);
        case KVM_GET_VCPU_MMAP_SIZE.nr: return PAGES * PAGE;
        case KVM_GET_SUPPORTED_CPUID.nr: return copy_to_user(Number(arg), new Uint8Array(4));
        default: return -EINVAL;
      }
    },
  };
  return { name: 'kvm', params: {}, depends: [], init: () => misc_register({ name: 'kvm', minor: KVM_MINOR, fops, mode: 0o666 }), exit: () => {} };
}

export interface ScriptedRun { readonly status: number; readonly state: string; readonly output: string; readonly seen: Seen; readonly cycles: number }

/** A shell command in a system whose vCPUs follow `script`. `seconds` of virtual time end it. */
export function runScripted(script: Script, command: string, { input = '', seconds = 5 } = {}): ScriptedRun {
  const console = new TestConsole(input);
  const hardware = new Machine({ cpus: 2, memory: 64 << 20, seed: 1, platform: { console, startDate: 0n } });
  const seen: Seen = { ioctls: [], regs: new Uint8Array(144) };
  new Kernel(hardware, {
    programs: [...programs, { name: 'qemu-lite', main: _start(qemuLite) }], modules: [scriptedKvm(script, seen)], makeLibcState,
    init: ['/bin/init', '-c', command], quiet: true, files: initialFiles(),
  });
  const state = hardware.run(seconds * 1e9);
  return { status: hardware.status, state, output: console.output.replace(/\[ *[\d.]+\] reboot: Power down\n$/, ''), seen, cycles: hardware.now() };
}
