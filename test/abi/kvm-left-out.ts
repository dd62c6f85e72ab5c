/**
 * What test/golden/abi.json holds and abi/kvm does not declare, by name: other architectures' requests, constants and
 * structs. Bit-fields are not in the recording, since they have no offset.
 */
export const leftOutIoctls: readonly string[] = [
  'KVM_ARM_SET_DEVICE_ADDR', 'KVM_ARM_VCPU_FINALIZE', 'KVM_DIRTY_TLB', 'KVM_PPC_ALLOCATE_HTAB', 'KVM_PPC_SVM_OFF', 'KVM_S390_CLEAR_RESET',
  'KVM_S390_ENABLE_SIE', 'KVM_S390_INITIAL_RESET', 'KVM_S390_NORMAL_RESET', 'KVM_S390_STORE_STATUS', 'KVM_S390_VCPU_FAULT',
];

export const leftOutConstants: readonly string[] = [
  'KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE', 'KVM_CAP_ARM_EL1_32BIT', 'KVM_CAP_ARM_INJECT_EXT_DABT', 'KVM_CAP_ARM_INJECT_SERROR_ESR',
  'KVM_CAP_ARM_IRQ_LINE_LAYOUT_2', 'KVM_CAP_ARM_MTE', 'KVM_CAP_ARM_NISV_TO_USER', 'KVM_CAP_ARM_PMU_V3', 'KVM_CAP_ARM_PSCI',
  'KVM_CAP_ARM_PSCI_0_2', 'KVM_CAP_ARM_PTRAUTH_ADDRESS', 'KVM_CAP_ARM_PTRAUTH_GENERIC', 'KVM_CAP_ARM_SET_DEVICE_ADDR',
  'KVM_CAP_ARM_SUPPORTED_BLOCK_SIZES', 'KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES', 'KVM_CAP_ARM_SVE', 'KVM_CAP_ARM_SYSTEM_SUSPEND',
  'KVM_CAP_ARM_USER_IRQ', 'KVM_CAP_ARM_VM_IPA_SIZE', 'KVM_CAP_IRQ_MPIC', 'KVM_CAP_IRQ_XICS', 'KVM_CAP_MIPS_64BIT', 'KVM_CAP_MIPS_FPU',
  'KVM_CAP_MIPS_MSA', 'KVM_CAP_MIPS_TE', 'KVM_CAP_MIPS_VZ', 'KVM_CAP_PPC_AIL_MODE_3', 'KVM_CAP_PPC_ALLOC_HTAB', 'KVM_CAP_PPC_BOOKE_SREGS',
  'KVM_CAP_PPC_BOOKE_WATCHDOG', 'KVM_CAP_PPC_DAWR1', 'KVM_CAP_PPC_ENABLE_HCALL', 'KVM_CAP_PPC_EPR', 'KVM_CAP_PPC_FIXUP_HCALL',
  'KVM_CAP_PPC_FWNMI', 'KVM_CAP_PPC_GET_CPU_CHAR', 'KVM_CAP_PPC_GET_PVINFO', 'KVM_CAP_PPC_GET_SMMU_INFO', 'KVM_CAP_PPC_GUEST_DEBUG_SSTEP',
  'KVM_CAP_PPC_HIOR', 'KVM_CAP_PPC_HTAB_FD', 'KVM_CAP_PPC_HTM', 'KVM_CAP_PPC_HWRNG', 'KVM_CAP_PPC_IRQ_LEVEL', 'KVM_CAP_PPC_IRQ_XIVE',
  'KVM_CAP_PPC_MMU_HASH_V3', 'KVM_CAP_PPC_MMU_RADIX', 'KVM_CAP_PPC_NESTED_HV', 'KVM_CAP_PPC_OSI', 'KVM_CAP_PPC_PAIRED_SINGLES',
  'KVM_CAP_PPC_PAPR', 'KVM_CAP_PPC_RMA', 'KVM_CAP_PPC_RPT_INVALIDATE', 'KVM_CAP_PPC_RTAS', 'KVM_CAP_PPC_SECURE_GUEST',
  'KVM_CAP_PPC_SEGSTATE', 'KVM_CAP_PPC_SMT', 'KVM_CAP_PPC_SMT_POSSIBLE', 'KVM_CAP_PPC_UNSET_IRQ', 'KVM_CAP_S390_AIS',
  'KVM_CAP_S390_AIS_MIGRATION', 'KVM_CAP_S390_BPB', 'KVM_CAP_S390_CMMA_MIGRATION', 'KVM_CAP_S390_COW', 'KVM_CAP_S390_CPU_TOPOLOGY',
  'KVM_CAP_S390_CSS_SUPPORT', 'KVM_CAP_S390_DIAG318', 'KVM_CAP_S390_GMAP', 'KVM_CAP_S390_GS', 'KVM_CAP_S390_HPAGE_1M',
  'KVM_CAP_S390_INJECT_IRQ', 'KVM_CAP_S390_IRQCHIP', 'KVM_CAP_S390_IRQ_STATE', 'KVM_CAP_S390_MEM_OP', 'KVM_CAP_S390_MEM_OP_EXTENSION',
  'KVM_CAP_S390_PROTECTED', 'KVM_CAP_S390_PROTECTED_ASYNC_DISABLE', 'KVM_CAP_S390_PROTECTED_DUMP', 'KVM_CAP_S390_PSW', 'KVM_CAP_S390_RI',
  'KVM_CAP_S390_SKEYS', 'KVM_CAP_S390_UCONTROL', 'KVM_CAP_S390_USER_INSTR0', 'KVM_CAP_S390_USER_SIGP', 'KVM_CAP_S390_USER_STSI',
  'KVM_CAP_S390_VCPU_RESETS', 'KVM_CAP_S390_VECTOR_REGISTERS', 'KVM_CAP_S390_ZPCI_OP', 'KVM_CAP_SPAPR_MULTITCE',
  'KVM_CAP_SPAPR_RESIZE_HPT', 'KVM_CAP_SPAPR_TCE', 'KVM_CAP_SPAPR_TCE_64', 'KVM_CAP_SPAPR_TCE_VFIO', 'KVM_CAP_SW_TLB',
  'KVM_DEV_TYPE_ARM_PV_TIME', 'KVM_DEV_TYPE_ARM_VGIC_ITS', 'KVM_DEV_TYPE_ARM_VGIC_V2', 'KVM_DEV_TYPE_ARM_VGIC_V3', 'KVM_DEV_TYPE_FLIC',
  'KVM_DEV_TYPE_FSL_MPIC_20', 'KVM_DEV_TYPE_FSL_MPIC_42', 'KVM_DEV_TYPE_RISCV_AIA', 'KVM_DEV_TYPE_XICS', 'KVM_DEV_TYPE_XIVE',
  'KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE', 'KVM_HC_MIPS_CONSOLE_OUTPUT', 'KVM_HC_MIPS_EXIT_VM', 'KVM_HC_MIPS_GET_CLOCK_FREQ',
  'KVM_HC_PPC_MAP_MAGIC_PAGE', 'KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY', 'KVM_IRQ_ROUTING_S390_ADAPTER', 'KVM_MMU_FSL_BOOKE_HV',
  'KVM_MMU_FSL_BOOKE_NOHV', 'KVM_REG_ARM', 'KVM_REG_ARM64', 'KVM_REG_IA64', 'KVM_REG_LOONGARCH', 'KVM_REG_MIPS', 'KVM_REG_PPC',
  'KVM_REG_RISCV', 'KVM_REG_S390', 'KVM_S390_GET_SKEYS_NONE', 'KVM_S390_SIE_PAGE_OFFSET', 'KVM_S390_SKEYS_MAX',
  'KVM_S390_STORE_STATUS_NOADDR', 'KVM_S390_STORE_STATUS_PREFIXED', 'KVM_VM_MIPS_AUTO', 'KVM_VM_MIPS_TE', 'KVM_VM_MIPS_VZ',
  'KVM_VM_PPC_HV', 'KVM_VM_PPC_PR', 'KVM_VM_S390_UCONTROL', 'KVM_VM_TYPE_ARM_IPA_SIZE_MASK',
];

export const leftOutStructs: readonly string[] = [
  'kvm_config_tlb', 'kvm_dirty_tlb', 'kvm_arm_device_addr', 'kvm_vfio_spapr_tce',
];

export const leftOutFields: readonly string[] = [
  // empty structs that C needs before a flexible array that has nothing else beside it
  'kvm_msrs.__empty_entries', 'kvm_msr_list.__empty_indices', 'kvm_cpuid.__empty_entries', 'kvm_cpuid2.__empty_entries',
  'kvm_xsave.__empty_extra', 'kvm_nested_state.data.__empty_vmx', 'kvm_nested_state.data.__empty_svm',
  'kvm_pmu_event_filter.__empty_events', 'kvm_coalesced_mmio_ring.__empty_coalesced_mmio', 'kvm_signal_mask.__empty_sigset',
  'kvm_irq_routing.__empty_entries', 'kvm_reg_list.__empty_reg', 'kvm_stats_desc.__empty_name',
  // other architectures' arms of a union
  'kvm_run.iocsr_io', 'kvm_run.iocsr_io.phys_addr', 'kvm_run.iocsr_io.data', 'kvm_run.iocsr_io.len', 'kvm_run.iocsr_io.is_write',
  'kvm_run.s390_sieic', 'kvm_run.s390_sieic.icptcode', 'kvm_run.s390_sieic.ipa', 'kvm_run.s390_sieic.ipb', 'kvm_run.s390_reset_flags',
  'kvm_run.s390_ucontrol', 'kvm_run.s390_ucontrol.trans_exc_code', 'kvm_run.s390_ucontrol.pgm_code', 'kvm_run.dcr', 'kvm_run.dcr.dcrn',
  'kvm_run.dcr.data', 'kvm_run.dcr.is_write', 'kvm_run.osi', 'kvm_run.osi.gprs', 'kvm_run.papr_hcall', 'kvm_run.papr_hcall.nr',
  'kvm_run.papr_hcall.ret', 'kvm_run.papr_hcall.args', 'kvm_run.s390_tsch', 'kvm_run.s390_tsch.subchannel_id',
  'kvm_run.s390_tsch.subchannel_nr', 'kvm_run.s390_tsch.io_int_parm', 'kvm_run.s390_tsch.io_int_word', 'kvm_run.s390_tsch.ipb',
  'kvm_run.s390_tsch.dequeued', 'kvm_run.epr', 'kvm_run.epr.epr', 'kvm_run.s390_stsi', 'kvm_run.s390_stsi.addr', 'kvm_run.s390_stsi.ar',
  'kvm_run.s390_stsi.reserved', 'kvm_run.s390_stsi.fc', 'kvm_run.s390_stsi.sel1', 'kvm_run.s390_stsi.sel2', 'kvm_run.arm_nisv',
  'kvm_run.arm_nisv.esr_iss', 'kvm_run.arm_nisv.fault_ipa', 'kvm_run.riscv_sbi', 'kvm_run.riscv_sbi.extension_id',
  'kvm_run.riscv_sbi.function_id', 'kvm_run.riscv_sbi.args', 'kvm_run.riscv_sbi.ret', 'kvm_run.riscv_csr', 'kvm_run.riscv_csr.csr_num',
  'kvm_run.riscv_csr.new_value', 'kvm_run.riscv_csr.write_mask', 'kvm_run.riscv_csr.ret_value',
];
