/**
 * Ctrl-a commands in what is typed at a serial port on the terminal. QEMU: chardev/char-mux.c
 */
const ESCAPE = 0x01;

export type MuxCommand = 'quit' | 'help' | 'monitor' | 'timestamps' | 'break';

const commands: Readonly<Record<string, MuxCommand>> = { x: 'quit', h: 'help', '?': 'help', c: 'monitor', t: 'timestamps', b: 'break' };

export const MUX_HELP = [
  'C-a h    print this help',
  'C-a x    exit emulator',
  'C-a c    switch between console and monitor',
  'C-a C-a  sends C-a',
].map((line) => `${line}\n`).join('');

/** Sorts typed bytes into those for the guest and commands. Remembers an escape at the end for the next call. */
export class Mux {
  private escaped = false;

  filter(bytes: Uint8Array): { readonly data: number[]; readonly commands: MuxCommand[] } {
    const data: number[] = [];
    const found: MuxCommand[] = [];
    for (const byte of bytes) {
      if (!this.escaped && byte === ESCAPE) {
        this.escaped = true;
      } else if (this.escaped) {
        this.escaped = false;
        const command = commands[String.fromCharCode(byte)];
        if (byte === ESCAPE) data.push(byte);
        else if (command !== undefined) found.push(command);
      } else {
        data.push(byte);
      }
    }
    return { data, commands: found };
  }
}
