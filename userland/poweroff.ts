/** poweroff, halt, reboot: stop the machine at once, by the name it was called by. */
import type { Sys } from '../abi/process.ts';
import { LINUX_REBOOT_CMD_HALT, LINUX_REBOOT_CMD_POWER_OFF, LINUX_REBOOT_CMD_RESTART } from '../abi/prctl.ts';
import { Errno, eputs, reboot, sync } from './libc.ts';

export function* main(argv: string[]): Sys<number> {
  const name = argv[0]?.split('/').at(-1) ?? 'poweroff';
  yield* sync();
  try {
    yield* reboot(name === 'halt' ? LINUX_REBOOT_CMD_HALT : name === 'reboot' ? LINUX_REBOOT_CMD_RESTART : LINUX_REBOOT_CMD_POWER_OFF);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`${name}: ${e.text}`);
    return 1;
  }
  return 0;
}
