export class kvm_pit {}
