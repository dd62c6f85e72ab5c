/** What the initial ramfs holds beside /bin and the modules, by absolute path. */
import { bootImages } from './boot-images.ts';

export function initialFiles(): Map<string, Uint8Array | string> {
  return new Map<string, Uint8Array | string>([
    ['/etc/hostname', 'vitrine\n'],
    ['/etc/os-release', 'NAME="Vitrine"\nID=vitrine\nPRETTY_NAME="Vitrine"\n'],
    ['/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'],
    ['/etc/group', 'root:x:0:\n'],
    ['/etc/profile', 'export PATH HOME TERM\n'],
    ...bootImages(),
  ]);
}
