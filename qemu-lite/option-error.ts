/** A command line or a kernel file that cannot be used. The message follows "qemu-lite: ". */
export class OptionError extends Error {}
