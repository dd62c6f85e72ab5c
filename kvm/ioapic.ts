export class kvm_ioapic {}
