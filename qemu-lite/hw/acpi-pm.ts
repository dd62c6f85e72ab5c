/**
 * The power-management registers of a PIIX4, at the place QEMU's firmware puts them: event block and control register,
 * without the timer. A guest powers off by writing SLP_EN with sleep type 0 to PM1a control.
 * QEMU: hw/acpi/piix4.c, hw/acpi/core.c; ACPI 6.4, 4.8.3
 */
import type { PortDevice } from './ports.ts';

export const ACPI_PM_BASE = 0x600;
export const ACPI_PM_PORTS = 64;

const PM1_STATUS = 0;
const PM1_ENABLE = 2;
const PM1_CONTROL = 4;

const ACPI_BITMASK_SCI_ENABLE = 0x0001;
const ACPI_BITMASK_SLEEP_ENABLE = 0x2000;
const SLEEP_TYPE_SHIFT = 10;
/** Sleep type 0 is soft off on this chip, 1 is suspend to RAM. */
const SOFT_OFF = 0;

export function acpiPm(powerOff: () => void): PortDevice {
  let enable = 0;
  let control = ACPI_BITMASK_SCI_ENABLE;
  return {
    width: 2,
    read: (offset) => {
      switch (offset) {
        case PM1_STATUS: return 0;
        case PM1_ENABLE: return enable;
        case PM1_CONTROL: return control;
        default: return 0;
      }
    },
    write: (offset, _, value) => {
      if (offset === PM1_ENABLE) enable = value;
      if (offset !== PM1_CONTROL) return;
      control = value & ~ACPI_BITMASK_SLEEP_ENABLE;
      if ((value & ACPI_BITMASK_SLEEP_ENABLE) !== 0 && ((value >> SLEEP_TYPE_SHIFT) & 7) === SOFT_OFF) powerOff();
    },
  };
}
