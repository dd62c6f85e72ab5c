/** Small guests in /boot, so that a VM can run before there is any disk. Their sources: boot-images/. */
import { bootImageText } from './boot-images-data.ts';

const bytesOfHex = (text: string): Uint8Array => Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16));

export const bootImages = (): Map<string, Uint8Array> =>
  new Map(Object.entries(bootImageText).map(([name, text]) => [`/boot/${name}`, bytesOfHex(text)]));
