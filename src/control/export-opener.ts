import { openRemote, type RemoteDevice } from '../client/remote-device.js';
import type { RemoteOptions, ClientTls } from '../client/options.js';
import { DeviceError } from '../device/block-device.js';
import type { ContentCheck } from '../device/content-check.js';
import type { Clock } from '../device/clock.js';
import type { OpenedProvider } from '../mirror/start/assemble.js';
import type { GgateUri } from '../protocol/uri.js';
import { CONNECT_MS_MIN } from './limits.js';
import type { OwnClients } from './own-client.js';

export interface ExportOptions extends Pick<RemoteOptions, 'random' | 'connectTcp'> {
  /** How long a provider may be silent once it is open. Opening it may take as long, and CONNECT_MS_MIN in any case. */
  readonly timeoutMs: number;
  readonly tls: ClientTls;
  readonly clock: Clock;
}

export interface OpenExportOptions extends ExportOptions {
  /** Of this provider alone. */
  readonly clients: OwnClients;
  /** 'ro' also while somebody else writes to it. */
  readonly access: 'rw' | 'ro';
}

/**
 * Opens a component of a mirror that a ggate server has. A lost connection fails what waits for it: the mirror goes on
 * without it, and opens it again itself. Rejects with DeviceError. `name` is for messages.
 */
export async function openExport(
  name: string,
  uri: GgateUri,
  options: OpenExportOptions,
): Promise<OpenedProvider> {
  const { timeoutMs, clients, access, ...rest } = options;
  const client = clients.take();
  const free = (): void => void (client.isFree = true);
  let check: ContentCheck | null = null;
  let isLost: (reason: DeviceError) => void = () => undefined;
  const lost = new Promise<DeviceError>((resolve) => (isLost = resolve));
  const opening = openRemote({
    uri,
    access,
    ...rest,
    instanceId: client.instanceId,
    requestTimeoutMs: timeoutMs,
    connectTimeoutMs: connectMsOf(options),
    onConnectionLost: 'fail',
    flushProbe: 'once',
    returnCheck: () => check,
    events: { lost: isLost, closed: free },
  });
  opening.catch(free);
  const device = await inTime(opening, name, options);
  const guardReturn = (next: ContentCheck): void => void (check = next);
  const abandon = (): void => device.abandon();
  return {
    device,
    area: null,
    abandon,
    lost,
    guardReturn,
    tellAgain: () => void (device.isToBeToldAgain = true),
  };
}

const connectMsOf = ({ timeoutMs }: ExportOptions): number => Math.max(timeoutMs, CONNECT_MS_MIN);

/** Looking up a name has no bound of its own, nor does what is asked after the handshake. */
function inTime(opening: Promise<RemoteDevice>, name: string, options: ExportOptions): Promise<RemoteDevice> {
  const { clock } = options;
  const connectMs = connectMsOf(options);
  return new Promise((resolveOpened, reject) => {
    let isLate = false;
    // The handshake's own time-out has the better message.
    const timer = clock.after(connectMs + 500, () => {
      isLate = true;
      const message = `${name} can't be opened within ${connectMs / 1000} s; check the server and the network`;
      reject(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message));
    });
    opening.then(
      (device) => {
        timer.cancel();
        if (isLate) device.abandon();
        else resolveOpened(device);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
