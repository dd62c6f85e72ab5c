/** <linux/kvm.h>, <asm/kvm.h> and <linux/kvm_para.h> of x86, Linux 6.12, under their C names. */
export * from './caps.ts';
export * from './cpuid-msr.ts';
export * from './debug.ts';
export * from './events.ts';
export * from './exits.ts';
export * from './ioctls.ts';
export * from './irqchip.ts';
export * from './memory.ts';
export * from './nested.ts';
export * from './para.ts';
export * from './regs.ts';
export * from './run.ts';
export * from './sev.ts';
export * from './stats.ts';
export * from './vm.ts';
export * from './xen-hyperv.ts';
