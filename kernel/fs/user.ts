/**
 * Structs to and from user memory by way of the kernel's own memory.
 *
 * Linux: include/linux/uaccess.h. A kernel never works on a struct in place: user space could change it between two looks.
 */
import { type Located, windowOf } from '../../abi/struct.ts';
import { copy_from_user, copy_to_user } from '../mm/uaccess.ts';

/** Copies out a struct made in the kernel's own memory. 0 or -EFAULT. */
export const put_user_struct = (address: number, view: Located): number => copy_to_user(address, windowOf(view));

/** Fills a struct in the kernel's own memory from user space. 0 or -EFAULT. */
export const get_user_struct = (view: Located, address: number): number => copy_from_user(windowOf(view), address);
