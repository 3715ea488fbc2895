import type { BlockDevice } from '../../src/device/block-device.js';
import { systemClock } from '../../src/device/clock.js';
import { systemRandom } from '../../src/device/random.js';
import {
  deviceProbe,
  DeviceSessions,
  type DeviceSessionsOptions,
} from '../../src/server/device-session/device-sessions.js';
import { exportImages, systemResolveName } from '../../src/server/exports-file.js';
import { GgateServer } from '../../src/server/ggate-server.js';
import { createServerIdentity } from '../../src/server/server-identity.js';
import { MemoryLog } from './memory-log.js';

/** Devices of this process behind a real ggate server on 127.0.0.1. */
export interface DeviceServer {
  readonly port: number;
  readonly sessions: DeviceSessions;
  readonly log: MemoryLog;
  close(): Promise<void>;
}

export async function serveDevices(
  devices: ReadonlyMap<string, BlockDevice>,
  options: Partial<DeviceSessionsOptions> & { readonly allow?: readonly string[] } = {},
): Promise<DeviceServer> {
  const log = new MemoryLog();
  const clock = systemClock;
  const sessions = new DeviceSessions({
    ...{ devices, clock, log, deviceTimeoutMs: 20_000, pid: process.pid },
    ...options,
  });
  const server = new GgateServer({
    endpoints: [{ address: { host: '127.0.0.1' }, port: 0, isTls: false }],
    exports: await exportImages([...devices.keys()], options.allow ?? ['127.0.0.0/8'], {
      clock,
      resolveName: systemResolveName,
    }),
    ...{ sessions, clock, log },
    probeMedia: deviceProbe(devices),
    identity: createServerIdentity(systemRandom),
  });
  const [address] = await server.start();
  if (address === undefined) throw new Error('the server listens nowhere');
  return {
    port: address.port,
    sessions,
    log,
    close: async () => {
      server.close();
      await sessions.drain(2000);
    },
  };
}
