/**
 * The firmware configuration device: a selector port and a data port that gives the bytes of the selected item one by
 * one. Here it holds what a kernel without firmware asks for: sizes. QEMU: hw/nvram/fw_cfg.c, docs/specs/fw_cfg.rst
 */
import type { Configuration } from '../options.ts';
import type { PortDevice } from './ports.ts';

export const FW_CFG_PORT = 0x510;
const FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_RAM_SIZE = 0x03, FW_CFG_NB_CPUS = 0x05, FW_CFG_MAX_CPUS = 0x0f;
/** The traditional interface, without DMA. */
const FW_CFG_VERSION = 1;

const littleEndian = (value: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);

export function fwCfg({ memory, cpus }: Configuration): PortDevice {
  const items: ReadonlyMap<number, readonly number[]> = new Map([
    [FW_CFG_SIGNATURE, [...'QEMU'].map((c) => c.charCodeAt(0))],
    [FW_CFG_ID, littleEndian(FW_CFG_VERSION, 4)],
    [FW_CFG_RAM_SIZE, littleEndian(memory, 8)],
    [FW_CFG_NB_CPUS, littleEndian(cpus, 2)],
    [FW_CFG_MAX_CPUS, littleEndian(cpus, 2)],
  ]);
  let item: readonly number[] = [];
  let at = 0;
  return {
    width: 2,
    read: (offset, size) => (offset === 1 && size === 1 ? item[at++] ?? 0 : 0),
    write: (offset, size, value) => {
      if (offset !== 0 || size !== 2) return;
      item = items.get(value) ?? [];
      at = 0;
    },
  };
}
