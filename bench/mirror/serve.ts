/**
 * A mirror of local images over NBD until it is told to end, with its activity log or, for comparison, without: then
 * every extent counts as hot and no write is marked anywhere.
 */
import { systemClock } from '../../src/device/clock.js';
import { openDiskThread } from '../../src/device/disk-thread/disk-thread.js';
import { systemRandom } from '../../src/device/random.js';
import { ActivityLog } from '../../src/mirror/activity-log.js';
import { assemble } from '../../src/mirror/start/assemble.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import { serveNbd } from '../serve-nbd.js';

const [kind, socketPath, ...images] = process.argv.slice(2);
if (socketPath === undefined || (kind !== 'with' && kind !== 'without')) {
  throw new Error('usage: serve with|without SOCKET IMAGE…');
}
const devices = await Promise.all(images.map((image) => openDiskThread(image, { access: 'rw' })));
await createMirror({
  ...{ name: 'bench', devices, balance: 'prefer', sliceBytes: 4096 },
  ...{ noAutoSync: false, noFailSync: false, random: systemRandom },
});
await Promise.all(devices.map((device) => device.close()));
if (kind === 'without') {
  ActivityLog.prototype.enter = () => true;
  ActivityLog.prototype.leave = () => undefined;
  RegionBitmap.prototype.mark = () => undefined;
}
const assembled = await assemble({
  name: 'bench',
  providers: images.map((name) => ({
    name,
    isLocal: true,
    open: async () => ({ device: await openDiskThread(name, { access: 'rw' }), area: null }),
  })),
  ...{ degraded: false, clock: systemClock, random: systemRandom, events: { changed: () => undefined } },
  ...{ timeoutMs: 10_000, idleMs: 5_000, extentsMax: 256, isAutosync: true, resyncBytesPerSecond: 0 },
});
await serveNbd(assembled.mirror, socketPath, () => assembled.close());
