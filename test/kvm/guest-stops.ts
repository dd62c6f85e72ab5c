/**
 * Stops guest code at exact instruction counts: a test's hook in the machine, which has no counterpart in KVM's interface.
 * At the count the thread in KVM_RUN gets a signal and its processor an interrupt, so the guest exits before its next
 * instruction and KVM_RUN ends with EINTR. Where a shadow holds interrupts back the exit comes an instruction later.
 */
import { SIGALRM } from '../../abi/signal.ts';
import { current } from '../../kernel/current.ts';
import { send_sig } from '../../kernel/signal.ts';
import { smp_send_reschedule } from '../../kernel/smp.ts';
import type { System } from '../../system/boot.ts';

export class GuestStops {
  /** Instructions and REP iterations guests have retired, on any processor. */
  retired = 0;
  private at = Number.POSITIVE_INFINITY;

  /** The next stop: `after` instructions from now. */
  stopAfter(after: number): void { this.at = this.retired + after; }

  install = (system: System): void => {
    for (const p of system.machine.processors) {
      const execute = p.execute.bind(p);
      p.execute = (cycles) => {
        if (!p.cpu.inGuest) return execute(cycles);
        const before = p.retired.guest;
        const stop = execute(Math.max(1, Math.min(cycles, this.at - this.retired)));
        this.retired += p.retired.guest - before;
        if (this.retired < this.at) return stop;
        this.at = Number.POSITIVE_INFINITY;
        send_sig(SIGALRM, current());
        smp_send_reschedule(p.id);
        return stop;
      };
    }
  };
}
