/**
 * Machine checks: the banks user space sets up, and errors it reports through them.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_vcpu_ioctl_x86_setup_mce, kvm_vcpu_ioctl_x86_set_mce); SDM 3B chapter 16
 */
import { EINVAL } from '../abi/errno.ts';
import type { kvm_x86_mce } from '../abi/kvm/index.ts';
import { kvm_queue_exception } from './events.ts';
import { KVM_REQ_TRIPLE_FAULT, type kvm_vcpu, kvm_make_request, kvm_read_cr4 } from './kvm_host.ts';

const MC_VECTOR = 18;
export const KVM_MAX_MCE_BANKS = 32;
const MCG_CTL_P = 0x100n, MCG_SER_P = 0x100_0000n;
/** Errors that need no action can interrupt through the local APIC. */
export const MCG_CMCI_P = 0x400n;
export const KVM_MCE_CAP_SUPPORTED = MCG_CTL_P | MCG_SER_P | MCG_CMCI_P;
export const MCI_CTL2_CMCI_EN = 1n << 30n, MCI_CTL2_CMCI_THRESHOLD_MASK = 0x7fffn;
/** Of a bank's status: context corrupt, signalled, action required. */
const PCC = 1n << 57n, SIGNALLED = 1n << 56n, ACTION = 1n << 55n;
const MCG_STATUS_MCIP = 4n;
const VAL = 1n << 63n, OVER = 1n << 62n, UC = 1n << 61n;
const CR4_MCE = 0x40n;
const ALL = 0xffff_ffff_ffff_ffffn;
/** Registers of a bank. */
const CTL = 0, STATUS = 1, ADDR = 2, MISC = 3;

export function kvm_vcpu_ioctl_x86_setup_mce(vcpu: kvm_vcpu, mcg_cap: bigint): number {
  const banks = Number(mcg_cap & 0xffn);
  if (banks === 0 || banks > KVM_MAX_MCE_BANKS || (mcg_cap & ~(KVM_MCE_CAP_SUPPORTED | 0xffn | 0xff0000n)) !== 0n) return -EINVAL;
  vcpu.arch.mcg_cap = mcg_cap;
  if ((mcg_cap & MCG_CTL_P) !== 0n) vcpu.arch.mcg_ctl = ALL;
  for (let bank = 0; bank < banks; bank++) vcpu.arch.mce_banks[4 * bank + CTL] = ALL;
  if ((mcg_cap & MCG_CMCI_P) !== 0n) vcpu.arch.mci_ctl2_banks.fill(0n, 0, banks);
  vcpu.arch.apic?.after_set_mcg_cap();
  return 0;
}

/** KVM_X86_SET_MCE: an error in a bank. One that is not corrected raises #MC, or shuts a guest down that cannot take it. */
export function kvm_vcpu_ioctl_x86_set_mce(vcpu: kvm_vcpu, mce: kvm_x86_mce): number {
  const { arch } = vcpu;
  const { mce_banks } = arch;
  const { status } = mce;
  if (mce.bank >= Number(arch.mcg_cap & 0xffn) || (status & VAL) === 0n) return -EINVAL;
  const bank = 4 * mce.bank;
  const uncorrected = (status & UC) !== 0n;
  if (uncorrected && mce.mcg_status === 0n && (status & (PCC | SIGNALLED | ACTION)) === 0n) return set_ucna(vcpu, mce);
  // Reports of uncorrected errors can be switched off, for all banks and for each.
  if (uncorrected && (((arch.mcg_cap & MCG_CTL_P) !== 0n && arch.mcg_ctl !== ALL) || mce_banks[bank + CTL] !== ALL)) return 0;
  const there = mce_banks[bank + STATUS]!;
  const overflow = (there & VAL) !== 0n ? OVER : 0n;
  const store = (): void => {
    mce_banks[bank + STATUS] = status | overflow;
    mce_banks[bank + ADDR] = mce.addr;
    mce_banks[bank + MISC] = mce.misc;
  };
  if (uncorrected) {
    if ((arch.mcg_status & MCG_STATUS_MCIP) !== 0n || (kvm_read_cr4(vcpu) & CR4_MCE) === 0n) {
      kvm_make_request(KVM_REQ_TRIPLE_FAULT, vcpu);
      return 0;
    }
    store();
    arch.mcg_status = mce.mcg_status;
    kvm_queue_exception(vcpu, MC_VECTOR);
  } else if ((there & VAL) === 0n || (there & UC) === 0n) store();
  else mce_banks[bank + STATUS] = there | OVER;
  return 0;
}

/** An uncorrected error that needs no action is noted, and interrupts if its bank says so. */
function set_ucna(vcpu: kvm_vcpu, mce: kvm_x86_mce): number {
  const { arch } = vcpu;
  arch.mce_banks.set([mce.status, mce.addr, mce.misc], 4 * mce.bank + STATUS);
  arch.mcg_status = mce.mcg_status;
  if ((arch.mcg_cap & MCG_CMCI_P) !== 0n && (arch.mci_ctl2_banks[mce.bank]! & MCI_CTL2_CMCI_EN) !== 0n) arch.apic?.chip.machineCheck();
  return 0;
}
