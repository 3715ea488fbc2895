import { basename, join } from 'node:path';
import { linuxUse } from '../../device/platform/linux-use.js';
import { CommandError } from '../errors.js';
import { type System, waitFor } from './system.js';
import { usersOf } from './users.js';

/** Programs that look at every new disk let go again within this. */
const PASSING_MS = 2_000;

/** Rejects with CommandError, which says by whom, if a device on Linux that isn't mounted is in use all the same. */
export async function requireUnused(system: System, device: string): Promise<void> {
  let use = '';
  const isFree = await waitFor(system, PASSING_MS, async () => {
    const sources = {
      mountinfoPath: join(system.procFolder, 'self/mountinfo'),
      swapsPath: join(system.procFolder, 'swaps'),
      sysFolder: system.sysFolder,
    };
    const users = await usersOf(system, join('/dev', basename(device)));
    const found = users === null ? await linuxUse(device, sources) : `is in use by ${users}`;
    if (found === null) return true;
    use = found;
    return null;
  });
  if (isFree === null) throw new CommandError(`${device} ${use}; end that first, or add -f`);
}
