/**
 * The address monitor behind MONITOR and MWAIT. SDM Vol. 3 ch. 9.10.
 *
 * Nothing watches stores as they happen: whoever lets processors take turns asks between two turns whether the line still
 * holds what it held. So a store of the very value that was there ends no wait; software waits for changes.
 */
const LINE = 64;

export class Monitor {
  /** Index in mem.u32 of the armed line, -1 when none is. */
  private line = -1;
  private readonly seen = new Uint32Array(LINE / 4);
  /** MWAIT ends at an interrupt too that RFLAGS.IF keeps out: bit 0 of its ECX. */
  breaksOnMasked = false;

  /** Watches the line around a host offset, which lies in RAM. */
  arm(words: Uint32Array, offset: number): void {
    this.line = (offset - offset % LINE) / 4;
    for (let i = 0; i < this.seen.length; i++) this.seen[i] = words[this.line + i]!;
  }

  disarm(): void {
    this.line = -1;
  }

  /** Is the line armed and as it was? */
  holds(words: Uint32Array): boolean {
    if (this.line < 0) return false;
    for (let i = 0; i < this.seen.length; i++) if (this.seen[i] !== words[this.line + i]) return false;
    return true;
  }
}
