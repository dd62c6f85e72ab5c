/** Which devices a PC has and at which ports: every fixed address of the machine. QEMU: hw/i386/pc.c */
import type { Sys } from '../../abi/process.ts';
import { openChardev } from '../chardev.ts';
import type { Machine } from '../machine.ts';
import { ACPI_PM_BASE, ACPI_PM_PORTS, acpiPm } from './acpi-pm.ts';
import { debugExit } from './debug-exit.ts';
import { DEBUGCON_PORT, debugcon } from './debugcon.ts';
import { PCI_CONFIG_ADDRESS, pciConfigAddress } from './pci-config.ts';
import { PORT80, port80 } from './port80.ts';
import { KBD_PORTS, RESET_CONTROL_PORT, keyboardController, keyboardData, resetControl } from './reset.ts';
import { SERIAL_PORTS, SERIAL_REGISTERS, serial } from './serial.ts';

export function* pc_init(machine: Machine): Sys {
  const { config, ports, chardevs } = machine;
  const events = { output: () => machine.outputWaits(), room: () => machine.wakeMainLoop() };
  const reset = (): void => machine.requestReset();

  ports.add(KBD_PORTS[0], 1, keyboardData);
  ports.add(KBD_PORTS[1], 1, keyboardController(reset));
  ports.add(PORT80, 1, port80);
  ports.add(ACPI_PM_BASE, ACPI_PM_PORTS, acpiPm(() => machine.requestShutdown(0)));
  ports.add(PCI_CONFIG_ADDRESS, 4, pciConfigAddress());
  ports.add(RESET_CONTROL_PORT, 1, resetControl(reset));

  for (const [i, backend] of config.serial.entries()) {
    const chardev = yield* openChardev(backend, events);
    if (chardev === undefined) continue;
    chardevs.push(chardev);
    ports.add(SERIAL_PORTS[i] ?? 0, SERIAL_REGISTERS, serial(chardev));
  }
  if (config.debugcon !== undefined) {
    const chardev = yield* openChardev(config.debugcon, events);
    if (chardev !== undefined) {
      chardevs.push(chardev);
      ports.add(DEBUGCON_PORT, 1, debugcon(chardev));
    }
  }
  for (const { iobase, iosize } of config.debugExit) ports.add(iobase, iosize, debugExit((status) => machine.requestShutdown(status)));
}
