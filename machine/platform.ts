/**
 * What a real host must offer the machine; nothing else of the host is reachable from the core. Implemented for Node
 * in cli/, for the browser in web/, and by tests. All calls are synchronous, and virtual time stands still during them.
 */

export interface ConsolePort {
  readonly isTerminal: boolean;
  /** Fixed 80x24 when not a terminal. */
  size(): { cols: number; rows: number };
  write(bytes: Uint8Array): void;
  /** Up to max next input bytes. undefined: none yet (a terminal: try later). 'eof': input has ended for good. */
  read(max: number): Uint8Array | undefined | 'eof';
}

/** Everything hostfs shows of a file. Times in ns since the epoch. */
export interface HostStat {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  /** Permission bits only. */
  readonly mode: number;
  readonly size: number;
  readonly ino: number;
  readonly nlink: number;
  readonly mtime: bigint;
}

/**
 * File calls for hostfs. A path is absolute on the host and not followed through a final symlink. A failure is a
 * negative Linux errno, whatever the host's own numbers are. Positions are explicit: the kernel keeps file offsets.
 */
export interface HostFiles {
  stat(path: string): HostStat | number;
  /** Names without "." and "..", sorted by code unit, so that a listing is the same on every host. */
  readdir(path: string): string[] | number;
  readlink(path: string): string | number;
  /** A handle >= 0. `writable` opens for reading and writing. */
  open(path: string, writable: boolean): number;
  close(handle: number): number;
  read(handle: number, dst: Uint8Array, position: number): number;
  write(handle: number, src: Uint8Array, position: number): number;
  truncate(handle: number, size: number): number;
  /** Makes an empty regular file; -EEXIST if the name is taken. */
  create(path: string, mode: number): number;
  mkdir(path: string, mode: number): number;
  unlink(path: string): number;
  rmdir(path: string): number;
  rename(from: string, to: string): number;
}

export interface Platform {
  readonly console: ConsolePort;
  readonly hostFiles?: HostFiles;
  /** ns since the epoch at cycle 0; fixed when not at a terminal. */
  readonly startDate: bigint;
}
