/**
 * What this program asks of V8. Without it everything works, only slower. Imported before anything is compiled.
 *
 * Branch hints: it reads those in our WebAssembly modules (the branch hinting proposal, custom section
 * metadata.code.branch_hint). Regions say which ways are seldom gone, and V8 then keeps registers where they are on the others.
 *
 * Inlining: functions of twice as much bytecode in all may be put into one that is optimized. The way of an exit through
 * machine, kernel and KVM is many small functions, one after the other.
 */
import { setFlagsFromString } from 'node:v8';

/** Versions of Node whose V8 knows the flags; one that does not would complain on stderr. */
const FIRST = 20, LAST = 24;
const major = Number(process.versions.node.split('.')[0]);
if (major >= FIRST && major <= LAST) {
  setFlagsFromString('--experimental-wasm-branch-hinting');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=2000');
}
