import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What somebody still has, in bytes: what nobody has any more is collected first, so it does not depend on when that happens. */
export function memoryHeld(): { readonly arrayBuffers: number; readonly heapUsed: number } {
  // The second time ends what the first one may have left to a thread of its own.
  collect();
  collect();
  return process.memoryUsage();
}
