import { pino } from 'pino';
import type { BlockDevice } from '../src/device/block-device.js';
import { systemClock } from '../src/device/clock.js';
import { NbdServer } from '../src/server/nbd/nbd-server.js';

/** Serves a device on a Unix socket until the process is told to end. `close` is what is to be closed then. */
export async function serveNbd(
  device: BlockDevice,
  socketPath: string,
  close: () => Promise<void>,
): Promise<void> {
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
      .then(close)
      .then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: error }, 'it did not end in order');
          process.exit(1);
        },
      );
  });
}
