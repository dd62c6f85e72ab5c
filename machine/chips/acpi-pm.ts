/**
 * The part of an ACPI power-management block that powers off: the PM1a control register. Writing SLP_EN with the
 * sleep type of S5 to it ends the machine. ACPI 6.4, 4.8.3.2.1.
 */
export const ACPI_PM1_CNT_SCI_EN = 1 << 0;
export const ACPI_PM1_CNT_SLP_TYP_SHIFT = 10;
export const ACPI_PM1_CNT_SLP_EN = 1 << 13;
/** S5's sleep type here; a firmware table would tell it. */
export const ACPI_S5_SLP_TYP = 5;

export class AcpiPm {
  private control = ACPI_PM1_CNT_SCI_EN;
  private readonly powerOff: () => void;

  constructor(powerOff: () => void) {
    this.powerOff = powerOff;
  }

  readControl(): number {
    return this.control;
  }

  writeControl(value: number): void {
    this.control = (value & 0xffff & ~ACPI_PM1_CNT_SLP_EN) | ACPI_PM1_CNT_SCI_EN;
    if ((value & ACPI_PM1_CNT_SLP_EN) !== 0 && ((value >> ACPI_PM1_CNT_SLP_TYP_SHIFT) & 7) === ACPI_S5_SLP_TYP) this.powerOff();
  }
}
