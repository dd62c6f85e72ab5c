/** What uname and /proc/version say. The ABI is that of the Linux release it names. */
export const NAME = 'Linux';
export const RELEASE = '6.12.0-vitrine';
export const VERSION = '#1 SMP PREEMPT_DYNAMIC';
/** The first line of the boot log and of /proc/version. */
export const LINUX_BANNER = `Linux version ${RELEASE} (vitrine) (TypeScript) ${VERSION}`;
