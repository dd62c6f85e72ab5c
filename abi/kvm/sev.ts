/**
 * Encrypted guests of AMD: the commands behind KVM_MEMORY_ENCRYPT_OP. Declared because they belong to the x86 ABI.
 * Linux: arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, struct, u16, u32, u64, u8 } from '../struct.ts';

export const KVM_SEV_SNP_PAGE_TYPE_NORMAL     = 1;
export const KVM_SEV_SNP_PAGE_TYPE_ZERO       = 3;
export const KVM_SEV_SNP_PAGE_TYPE_UNMEASURED = 4;
export const KVM_SEV_SNP_PAGE_TYPE_SECRETS    = 5;
export const KVM_SEV_SNP_PAGE_TYPE_CPUID      = 6;
export const KVM_SEV_SNP_FINISH_DATA_SIZE     = 32;
export const KVM_SEV_SNP_ID_BLOCK_SIZE        = 96;
export const KVM_SEV_SNP_ID_AUTH_SIZE         = 4096;

export const kvm_sev_cmd = struct('kvm_sev_cmd', { id: u32, pad0: u32, data: u64, error: u32, sev_fd: u32 });
export type kvm_sev_cmd = Of<typeof kvm_sev_cmd>;

export const kvm_sev_init = struct('kvm_sev_init', { vmsa_features: u64, flags: u32, ghcb_version: u16, pad1: u16, pad2: array(u32, 8) });
export type kvm_sev_init = Of<typeof kvm_sev_init>;

export const kvm_sev_launch_start = struct('kvm_sev_launch_start', {
  handle: u32, policy: u32, dh_uaddr: u64, dh_len: u32, pad0: u32, session_uaddr: u64, session_len: u32, pad1: u32,
});
export type kvm_sev_launch_start = Of<typeof kvm_sev_launch_start>;

export const kvm_sev_launch_update_data = struct('kvm_sev_launch_update_data', { uaddr: u64, len: u32, pad0: u32 });
export type kvm_sev_launch_update_data = Of<typeof kvm_sev_launch_update_data>;

export const kvm_sev_launch_secret = struct('kvm_sev_launch_secret', {
  hdr_uaddr: u64, hdr_len: u32, pad0: u32, guest_uaddr: u64, guest_len: u32, pad1: u32, trans_uaddr: u64, trans_len: u32, pad2: u32,
});
export type kvm_sev_launch_secret = Of<typeof kvm_sev_launch_secret>;

export const kvm_sev_launch_measure = struct('kvm_sev_launch_measure', { uaddr: u64, len: u32, pad0: u32 });
export type kvm_sev_launch_measure = Of<typeof kvm_sev_launch_measure>;

export const kvm_sev_guest_status = struct('kvm_sev_guest_status', { handle: u32, policy: u32, state: u32 });
export type kvm_sev_guest_status = Of<typeof kvm_sev_guest_status>;

export const kvm_sev_dbg = struct('kvm_sev_dbg', { src_uaddr: u64, dst_uaddr: u64, len: u32, pad0: u32 });
export type kvm_sev_dbg = Of<typeof kvm_sev_dbg>;

export const kvm_sev_attestation_report = struct('kvm_sev_attestation_report', { mnonce: array(u8, 16), uaddr: u64, len: u32, pad0: u32 });
export type kvm_sev_attestation_report = Of<typeof kvm_sev_attestation_report>;

export const kvm_sev_send_start = struct('kvm_sev_send_start', {
  policy: u32, pad0: u32, pdh_cert_uaddr: u64, pdh_cert_len: u32, pad1: u32, plat_certs_uaddr: u64, plat_certs_len: u32, pad2: u32,
  amd_certs_uaddr: u64, amd_certs_len: u32, pad3: u32, session_uaddr: u64, session_len: u32, pad4: u32,
});
export type kvm_sev_send_start = Of<typeof kvm_sev_send_start>;

export const kvm_sev_send_update_data = struct('kvm_sev_send_update_data', {
  hdr_uaddr: u64, hdr_len: u32, pad0: u32, guest_uaddr: u64, guest_len: u32, pad1: u32, trans_uaddr: u64, trans_len: u32, pad2: u32,
});
export type kvm_sev_send_update_data = Of<typeof kvm_sev_send_update_data>;

export const kvm_sev_receive_start = struct('kvm_sev_receive_start', {
  handle: u32, policy: u32, pdh_uaddr: u64, pdh_len: u32, pad0: u32, session_uaddr: u64, session_len: u32, pad1: u32,
});
export type kvm_sev_receive_start = Of<typeof kvm_sev_receive_start>;

export const kvm_sev_receive_update_data = struct('kvm_sev_receive_update_data', {
  hdr_uaddr: u64, hdr_len: u32, pad0: u32, guest_uaddr: u64, guest_len: u32, pad1: u32, trans_uaddr: u64, trans_len: u32, pad2: u32,
});
export type kvm_sev_receive_update_data = Of<typeof kvm_sev_receive_update_data>;

export const kvm_sev_snp_launch_start = struct('kvm_sev_snp_launch_start', { policy: u64, gosvw: array(u8, 16), flags: u16, pad0: array(u8, 6), pad1: array(u64, 4) });
export type kvm_sev_snp_launch_start = Of<typeof kvm_sev_snp_launch_start>;

export const kvm_sev_snp_launch_update = struct('kvm_sev_snp_launch_update', { gfn_start: u64, uaddr: u64, len: u64, type: u8, pad0: u8, flags: u16, pad1: u32, pad2: array(u64, 4) });
export type kvm_sev_snp_launch_update = Of<typeof kvm_sev_snp_launch_update>;

export const kvm_sev_snp_launch_finish = struct('kvm_sev_snp_launch_finish', {
  id_block_uaddr: u64, id_auth_uaddr: u64, id_block_en: u8, auth_key_en: u8, vcek_disabled: u8, host_data: array(u8, 32),
  pad0: array(u8, 3), flags: u16, pad1: array(u64, 4),
});
export type kvm_sev_snp_launch_finish = Of<typeof kvm_sev_snp_launch_finish>;
