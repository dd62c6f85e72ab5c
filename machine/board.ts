/**
 * Where things are on the machine's board: every magic address and interrupt pin, once. As on a PC, so that what is
 * known about PCs holds.
 */
export const COM1_PORT = 0x3f8;
export const COM1_IRQ = 4;
/** PM1a control, where QEMU's q35 has it. */
export const PM1A_CNT_PORT = 0x604;
/** Cycles of one count of the local APIC's timer at divide value 1: a 100 MHz bus beside the 1 GHz TSC. */
export const LAPIC_TIMER_PERIOD = 10;
