/**
 * prctl, arch_prctl and reboot.
 * Linux: include/uapi/linux/prctl.h, arch/x86/include/uapi/asm/prctl.h, include/uapi/linux/reboot.h
 */

// prctl
export const PR_SET_PDEATHSIG       = 1;
export const PR_GET_PDEATHSIG       = 2;
export const PR_GET_DUMPABLE        = 3;
export const PR_SET_DUMPABLE        = 4;
export const PR_SET_NAME            = 15;
export const PR_GET_NAME            = 16;
export const PR_GET_SECCOMP         = 21;
export const PR_SET_SECCOMP         = 22;
export const PR_SET_TIMERSLACK      = 29;
export const PR_GET_TIMERSLACK      = 30;
export const PR_SET_CHILD_SUBREAPER = 36;
export const PR_GET_CHILD_SUBREAPER = 37;
export const PR_SET_NO_NEW_PRIVS    = 38;
export const PR_GET_NO_NEW_PRIVS    = 39;
export const PR_SET_THP_DISABLE     = 41;
export const PR_GET_THP_DISABLE     = 42;
export const PR_SET_MM              = 35;
export const PR_SET_VMA             = 1398164801;
export const PR_SET_VMA_ANON_NAME   = 0;

// arch_prctl
export const ARCH_SET_GS    = 0x1001;
export const ARCH_SET_FS    = 0x1002;
export const ARCH_GET_FS    = 0x1003;
export const ARCH_GET_GS    = 0x1004;
export const ARCH_GET_CPUID = 0x1011;
export const ARCH_SET_CPUID = 0x1012;

// reboot
export const LINUX_REBOOT_MAGIC1        = 0xfee1dead;
export const LINUX_REBOOT_MAGIC2        = 0x28121969;
export const LINUX_REBOOT_CMD_RESTART   = 0x1234567;
export const LINUX_REBOOT_CMD_HALT      = 0xcdef0123;
export const LINUX_REBOOT_CMD_CAD_ON    = 0x89abcdef;
export const LINUX_REBOOT_CMD_CAD_OFF   = 0;
export const LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc;
export const LINUX_REBOOT_CMD_RESTART2  = 0xa1b2c3d4;
