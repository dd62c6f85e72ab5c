/** Which devices a PC has and at which ports: every fixed address of the machine. QEMU: hw/i386/pc.c */
import type { Sys } from '../../abi/process.ts';
import { openChardev } from '../chardev.ts';
import type { Machine } from '../machine.ts';
import { ACPI_PM_BASE, ACPI_PM_PORTS, acpiPm } from './acpi-pm.ts';
import { debugExit } from './debug-exit.ts';
import { DEBUGCON_PORT, debugcon } from './debugcon.ts';
import { FW_CFG_PORT, fwCfg } from './fw-cfg.ts';
import { pcTestdev } from './pc-testdev.ts';
import { PCI_CONFIG_ADDRESS, pciConfigAddress } from './pci-config.ts';
import { PORT80, port80 } from './port80.ts';
import { KBD_PORTS, RESET_CONTROL_PORT, keyboardController, keyboardData, resetControl } from './reset.ts';
import { SERIAL_PORTS, SERIAL_REGISTERS, serial } from './serial.ts';

/** Opens what the devices print to. */
export function* pc_open_chardevs(machine: Machine): Sys {
  const { config } = machine;
  const events = { output: () => machine.outputWaits(), room: () => machine.wakeMainLoop() };
  for (const backend of config.serial) machine.serial.push(yield* openChardev(backend, events));
  if (config.debugcon !== undefined) machine.debugcon = yield* openChardev(config.debugcon, events);
}

/** Plugs in fresh devices, as after power-on. */
export function pc_plug(machine: Machine): void {
  const { config, ports } = machine;
  const reset = (): void => machine.requestReset();
  ports.clear();
  machine.mmio.clear();
  ports.add(KBD_PORTS[0], 1, keyboardData);
  ports.add(KBD_PORTS[1], 1, keyboardController(reset));
  ports.add(PORT80, 1, port80);
  ports.add(ACPI_PM_BASE, ACPI_PM_PORTS, acpiPm(() => machine.requestShutdown(0)));
  ports.add(PCI_CONFIG_ADDRESS, 4, pciConfigAddress());
  ports.add(FW_CFG_PORT, 2, fwCfg(config));
  ports.add(RESET_CONTROL_PORT, 1, resetControl(reset));
  machine.serial.forEach((chardev, i) => { if (chardev !== undefined) ports.add(SERIAL_PORTS[i] ?? 0, SERIAL_REGISTERS, serial(chardev)); });
  if (machine.debugcon !== undefined) ports.add(DEBUGCON_PORT, 1, debugcon(machine.debugcon));
  if (config.testdev) pcTestdev(machine);
  for (const { iobase, iosize } of config.debugExit) ports.add(iobase, iosize, debugExit((status) => machine.requestShutdown(status)));
}
