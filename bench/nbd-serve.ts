/** Serves one image over NBD on a Unix socket until it is told to end: what bench/nbd.ts measures. */
import { openFile } from '../src/device/file-device.js';
import { openSyncFile } from '../src/device/sync-device.js';
import { serveNbd } from './serve-nbd.js';

const [kind, image, socketPath] = process.argv.slice(2);
if (image === undefined || socketPath === undefined || (kind !== 'pool' && kind !== 'sync')) {
  throw new Error('usage: nbd-serve pool|sync IMAGE SOCKET');
}
const device =
  kind === 'sync' ? await openSyncFile(image, { access: 'rw' }) : await openFile(image, { access: 'rw' });
await serveNbd(device, socketPath, () => device.close());
