/**
 * Register offsets and field values of the local APIC, spelled as in Linux's asm/apicdef.h. SDM 3A, chapter 11
 * ("Advanced Programmable Interrupt Controller"), tables 11-1 and 11-6.
 */
export const APIC_ID = 0x20;
export const APIC_LVR = 0x30;
export const APIC_TASKPRI = 0x80;
export const APIC_ARBPRI = 0x90;
export const APIC_PROCPRI = 0xa0;
export const APIC_EOI = 0xb0;
export const APIC_RRR = 0xc0;
export const APIC_LDR = 0xd0;
export const APIC_DFR = 0xe0;
export const APIC_SPIV = 0xf0;
export const APIC_ISR = 0x100;
export const APIC_TMR = 0x180;
export const APIC_IRR = 0x200;
export const APIC_ESR = 0x280;
export const APIC_LVTCMCI = 0x2f0;
export const APIC_ICR = 0x300;
export const APIC_ICR2 = 0x310;
export const APIC_LVTT = 0x320;
export const APIC_LVTTHMR = 0x330;
export const APIC_LVTPC = 0x340;
export const APIC_LVT0 = 0x350;
export const APIC_LVT1 = 0x360;
export const APIC_LVTERR = 0x370;
export const APIC_TMICT = 0x380;
export const APIC_TMCCT = 0x390;
export const APIC_TDCR = 0x3e0;
export const APIC_SELF_IPI = 0x3f0;

export const APIC_SPIV_APIC_ENABLED = 1 << 8;
export const APIC_SPIV_FOCUS_DISABLED = 1 << 9;
export const APIC_SPIV_DIRECTED_EOI = 1 << 12;
export const APIC_LVR_DIRECTED_EOI = 1 << 24;

export const APIC_LVT_TIMER_ONESHOT = 0 << 17;
export const APIC_LVT_TIMER_PERIODIC = 1 << 17;
export const APIC_LVT_TIMER_TSCDEADLINE = 2 << 17;
export const APIC_LVT_TIMER_MODE = 3 << 17;
export const APIC_LVT_MASKED = 1 << 16;
export const APIC_LVT_LEVEL_TRIGGER = 1 << 15;
export const APIC_LVT_REMOTE_IRR = 1 << 14;
export const APIC_SEND_PENDING = 1 << 12;
export const APIC_DFR_CLUSTER = 0x0fff_ffff;
export const APIC_DFR_FLAT = 0xffff_ffff;

/** Delivery modes, in bits 10:8 of ICR, LVT entries, I/O APIC entries and MSI data. */
export const APIC_DM_FIXED = 0;
export const APIC_DM_LOWEST = 1;
export const APIC_DM_SMI = 2;
export const APIC_DM_NMI = 4;
export const APIC_DM_INIT = 5;
export const APIC_DM_STARTUP = 6;
export const APIC_DM_EXTINT = 7;

export const APIC_ICR_LEVEL_ASSERT = 1 << 14;
export const APIC_DEST_NOSHORT = 0;
export const APIC_DEST_SELF = 1;
export const APIC_DEST_ALLINC = 2;
export const APIC_DEST_ALLBUT = 3;

export const APIC_ESR_SEND_CS = 1 << 0;
export const APIC_ESR_SENDILL = 1 << 5;
export const APIC_ESR_RECVILL = 1 << 6;
export const APIC_ESR_ILLREGA = 1 << 7;

/** IA32_APIC_BASE (MSR 0x1b). */
export const MSR_IA32_APICBASE_BSP = 1 << 8;
export const X2APIC_ENABLE = 1 << 10;
export const MSR_IA32_APICBASE_ENABLE = 1 << 11;
export const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000;
