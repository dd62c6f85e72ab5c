/**
 * The wires between I/O APICs, MSI writers and local APICs: who gets an interrupt message. SDM 3A 11.6.2
 * ("Determining IPI Destination"). Lowest-priority delivery takes the least task priority, ties to the lowest id:
 * any choice is architectural, this one is deterministic.
 */
import { APIC_DEST_ALLBUT, APIC_DEST_ALLINC, APIC_DEST_SELF, APIC_DM_LOWEST } from './apic-registers.ts';
import type { LocalApic } from './lapic.ts';

export interface ApicMessage {
  vector: number;
  deliveryMode: number;
  /** Logical destination mode; physical otherwise. */
  logical: boolean;
  destination: number;
  level: boolean;
  /** Assert (true) or de-assert; only INIT knows the difference. */
  assert: boolean;
}

export class ApicBus {
  readonly lapics: LocalApic[] = [];

  /** Delivers to every local APIC addressed; false if there was none. */
  send(message: ApicMessage, shorthand = 0, source?: LocalApic): boolean {
    if (message.deliveryMode === APIC_DM_LOWEST && shorthand === 0) {
      const chosen = this.lowestPriority(message);
      if (chosen !== undefined) this.deliver(chosen, message);
      return chosen !== undefined;
    }
    let found = false;
    for (const lapic of this.lapics) {
      if (!this.addresses(message, shorthand, source, lapic)) continue;
      found = true;
      this.deliver(lapic, message);
    }
    return found;
  }

  /** How a message crosses the wires; a board with a notion of time may delay it. */
  deliver: (lapic: LocalApic, message: ApicMessage) => void = (lapic, message) => lapic.receive(message);

  /** EOI of a level-triggered vector, broadcast by a local APIC to all I/O APICs. */
  onEoi: (vector: number) => void = () => {};

  private addresses(message: ApicMessage, shorthand: number, source: LocalApic | undefined, lapic: LocalApic): boolean {
    switch (shorthand) {
      case APIC_DEST_SELF: return lapic === source;
      case APIC_DEST_ALLINC: return true;
      case APIC_DEST_ALLBUT: return lapic !== source;
      default: return message.logical ? lapic.matchesLogical(message.destination) : lapic.matchesPhysical(message.destination);
    }
  }

  private lowestPriority(message: ApicMessage): LocalApic | undefined {
    let chosen: LocalApic | undefined;
    for (const lapic of this.lapics) {
      if (!lapic.enabled || !this.addresses(message, 0, undefined, lapic)) continue;
      if (chosen === undefined || lapic.taskPriority < chosen.taskPriority) chosen = lapic;
    }
    return chosen;
  }
}
