/** Serves one image over NBD on a Unix socket until it is told to end: what bench/nbd.ts measures. */
import { pino } from 'pino';
import { systemClock } from '../src/device/clock.js';
import { openFile } from '../src/device/file-device.js';
import { openSyncFile } from '../src/device/sync-device.js';
import { NbdServer } from '../src/server/nbd/nbd-server.js';

const [kind, image, socketPath] = process.argv.slice(2);
if (image === undefined || socketPath === undefined || (kind !== 'pool' && kind !== 'sync')) {
  throw new Error('usage: nbd-serve pool|sync IMAGE SOCKET');
}
const device =
  kind === 'sync' ? await openSyncFile(image, { access: 'rw' }) : await openFile(image, { access: 'rw' });
const log = pino({ level: 'warn' });
const server = new NbdServer({
  exports: new Map([['', device]]),
  listen: [{ unixPath: socketPath }],
  clock: systemClock,
  log,
});
await server.start();
process.once('SIGTERM', () => {
  server
    .close()
    .then(() => device.close())
    .then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'it did not end in order');
        process.exit(1);
      },
    );
});
