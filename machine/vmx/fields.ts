/**
 * The fields of a VMCS by their encodings: SDM Appendix B, names as in Linux's asm/vmx.h. An encoding says its own
 * width and kind, so this list is the whole table; a field that is not here does not exist on this processor.
 *
 *   bit 0  high half of a 64-bit field   9:1 index   11:10 control, exit information, guest, host
 *   14:13  16 bits, 64 bits, 32 bits, natural width (64)
 */

/* 16-bit control */
export const VIRTUAL_PROCESSOR_ID            = 0x0000;

/* 16-bit guest state */
export const GUEST_ES_SELECTOR               = 0x0800;
export const GUEST_CS_SELECTOR               = 0x0802;
export const GUEST_SS_SELECTOR               = 0x0804;
export const GUEST_DS_SELECTOR               = 0x0806;
export const GUEST_FS_SELECTOR               = 0x0808;
export const GUEST_GS_SELECTOR               = 0x080a;
export const GUEST_LDTR_SELECTOR             = 0x080c;
export const GUEST_TR_SELECTOR               = 0x080e;

/* 16-bit host state */
export const HOST_ES_SELECTOR                = 0x0c00;
export const HOST_CS_SELECTOR                = 0x0c02;
export const HOST_SS_SELECTOR                = 0x0c04;
export const HOST_DS_SELECTOR                = 0x0c06;
export const HOST_FS_SELECTOR                = 0x0c08;
export const HOST_GS_SELECTOR                = 0x0c0a;
export const HOST_TR_SELECTOR                = 0x0c0c;

/* 64-bit control */
export const IO_BITMAP_A                     = 0x2000;
export const IO_BITMAP_B                     = 0x2002;
export const MSR_BITMAP                      = 0x2004;
export const VM_EXIT_MSR_STORE_ADDR          = 0x2006;
export const VM_EXIT_MSR_LOAD_ADDR           = 0x2008;
export const VM_ENTRY_MSR_LOAD_ADDR          = 0x200a;
export const TSC_OFFSET                      = 0x2010;
export const VIRTUAL_APIC_PAGE_ADDR          = 0x2012;
export const EPT_POINTER                     = 0x201a;

/* 64-bit exit information */
export const GUEST_PHYSICAL_ADDRESS          = 0x2400;

/* 64-bit guest state */
export const VMCS_LINK_POINTER               = 0x2800;
export const GUEST_IA32_DEBUGCTL             = 0x2802;
export const GUEST_IA32_PAT                  = 0x2804;
export const GUEST_IA32_EFER                 = 0x2806;
export const GUEST_PDPTR0                    = 0x280a;
export const GUEST_PDPTR1                    = 0x280c;
export const GUEST_PDPTR2                    = 0x280e;
export const GUEST_PDPTR3                    = 0x2810;

/* 64-bit host state */
export const HOST_IA32_PAT                   = 0x2c00;
export const HOST_IA32_EFER                  = 0x2c02;

/* 32-bit control */
export const PIN_BASED_VM_EXEC_CONTROL       = 0x4000;
export const CPU_BASED_VM_EXEC_CONTROL       = 0x4002;
export const EXCEPTION_BITMAP                = 0x4004;
export const PAGE_FAULT_ERROR_CODE_MASK      = 0x4006;
export const PAGE_FAULT_ERROR_CODE_MATCH     = 0x4008;
export const CR3_TARGET_COUNT                = 0x400a;
export const VM_EXIT_CONTROLS                = 0x400c;
export const VM_EXIT_MSR_STORE_COUNT         = 0x400e;
export const VM_EXIT_MSR_LOAD_COUNT          = 0x4010;
export const VM_ENTRY_CONTROLS               = 0x4012;
export const VM_ENTRY_MSR_LOAD_COUNT         = 0x4014;
export const VM_ENTRY_INTR_INFO_FIELD        = 0x4016;
export const VM_ENTRY_EXCEPTION_ERROR_CODE   = 0x4018;
export const VM_ENTRY_INSTRUCTION_LEN        = 0x401a;
export const TPR_THRESHOLD                   = 0x401c;
export const SECONDARY_VM_EXEC_CONTROL       = 0x401e;

/* 32-bit exit information */
export const VM_INSTRUCTION_ERROR            = 0x4400;
export const VM_EXIT_REASON                  = 0x4402;
export const VM_EXIT_INTR_INFO               = 0x4404;
export const VM_EXIT_INTR_ERROR_CODE         = 0x4406;
export const IDT_VECTORING_INFO_FIELD        = 0x4408;
export const IDT_VECTORING_ERROR_CODE        = 0x440a;
export const VM_EXIT_INSTRUCTION_LEN         = 0x440c;
export const VMX_INSTRUCTION_INFO            = 0x440e;

/* 32-bit guest state */
export const GUEST_ES_LIMIT                  = 0x4800;
export const GUEST_CS_LIMIT                  = 0x4802;
export const GUEST_SS_LIMIT                  = 0x4804;
export const GUEST_DS_LIMIT                  = 0x4806;
export const GUEST_FS_LIMIT                  = 0x4808;
export const GUEST_GS_LIMIT                  = 0x480a;
export const GUEST_LDTR_LIMIT                = 0x480c;
export const GUEST_TR_LIMIT                  = 0x480e;
export const GUEST_GDTR_LIMIT                = 0x4810;
export const GUEST_IDTR_LIMIT                = 0x4812;
export const GUEST_ES_AR_BYTES               = 0x4814;
export const GUEST_CS_AR_BYTES               = 0x4816;
export const GUEST_SS_AR_BYTES               = 0x4818;
export const GUEST_DS_AR_BYTES               = 0x481a;
export const GUEST_FS_AR_BYTES               = 0x481c;
export const GUEST_GS_AR_BYTES               = 0x481e;
export const GUEST_LDTR_AR_BYTES             = 0x4820;
export const GUEST_TR_AR_BYTES               = 0x4822;
export const GUEST_INTERRUPTIBILITY_INFO     = 0x4824;
export const GUEST_ACTIVITY_STATE            = 0x4826;
export const GUEST_SYSENTER_CS               = 0x482a;
export const VMX_PREEMPTION_TIMER_VALUE      = 0x482e;

/* 32-bit host state */
export const HOST_IA32_SYSENTER_CS           = 0x4c00;

/* natural-width control */
export const CR0_GUEST_HOST_MASK             = 0x6000;
export const CR4_GUEST_HOST_MASK             = 0x6002;
export const CR0_READ_SHADOW                 = 0x6004;
export const CR4_READ_SHADOW                 = 0x6006;
export const CR3_TARGET_VALUE0               = 0x6008;
export const CR3_TARGET_VALUE1               = 0x600a;
export const CR3_TARGET_VALUE2               = 0x600c;
export const CR3_TARGET_VALUE3               = 0x600e;

/* natural-width exit information */
export const EXIT_QUALIFICATION              = 0x6400;
export const GUEST_LINEAR_ADDRESS            = 0x640a;

/* natural-width guest state */
export const GUEST_CR0                       = 0x6800;
export const GUEST_CR3                       = 0x6802;
export const GUEST_CR4                       = 0x6804;
export const GUEST_ES_BASE                   = 0x6806;
export const GUEST_CS_BASE                   = 0x6808;
export const GUEST_SS_BASE                   = 0x680a;
export const GUEST_DS_BASE                   = 0x680c;
export const GUEST_FS_BASE                   = 0x680e;
export const GUEST_GS_BASE                   = 0x6810;
export const GUEST_LDTR_BASE                 = 0x6812;
export const GUEST_TR_BASE                   = 0x6814;
export const GUEST_GDTR_BASE                 = 0x6816;
export const GUEST_IDTR_BASE                 = 0x6818;
export const GUEST_DR7                       = 0x681a;
export const GUEST_RSP                       = 0x681c;
export const GUEST_RIP                       = 0x681e;
export const GUEST_RFLAGS                    = 0x6820;
export const GUEST_PENDING_DBG_EXCEPTIONS    = 0x6822;
export const GUEST_SYSENTER_ESP              = 0x6824;
export const GUEST_SYSENTER_EIP              = 0x6826;

/* natural-width host state */
export const HOST_CR0                        = 0x6c00;
export const HOST_CR3                        = 0x6c02;
export const HOST_CR4                        = 0x6c04;
export const HOST_FS_BASE                    = 0x6c06;
export const HOST_GS_BASE                    = 0x6c08;
export const HOST_TR_BASE                    = 0x6c0a;
export const HOST_GDTR_BASE                  = 0x6c0c;
export const HOST_IDTR_BASE                  = 0x6c0e;
export const HOST_IA32_SYSENTER_ESP          = 0x6c10;
export const HOST_IA32_SYSENTER_EIP          = 0x6c12;
export const HOST_RSP                        = 0x6c14;
export const HOST_RIP                        = 0x6c16;
