export class kvm_pic { output = false; read_irq(): number { return 0; } }
