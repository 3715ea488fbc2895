import type { DeviceError } from '../device/block-device.js';
import { systemClock } from '../device/clock.js';
import type { AccessMode } from '../protocol/handshake.js';
import { parseGgateUri } from '../protocol/uri.js';
import type { ClientTls, RemoteOptions } from '../client/options.js';
import { openRemote, type RemoteDevice } from '../client/remote-device.js';

/** A remote export, and what happened to its connection since it was opened. */
export interface WatchedRemote {
  readonly device: RemoteDevice;
  readonly watch: ConnectionWatch;
}

/** Counts losses and puts into words why a device stands still. */
export class ConnectionWatch {
  reconnectCount = 0;
  /** How often answered writes that were not flushed may have been lost. */
  lossCount = 0;
  onStatus: ((text: string | null) => void) | null = null;
  #isLost = false;

  readonly events: NonNullable<RemoteOptions['events']> = {
    connected: () => {
      if (!this.#isLost) return;
      this.#isLost = false;
      this.reconnectCount += 1;
      this.onStatus?.(null);
    },
    lost: (reason: DeviceError) => {
      this.#isLost = true;
      this.onStatus?.(`reconnecting (${reason.errno})`);
    },
    attemptFailed: (_attempt, reason: DeviceError) => {
      const why = reason.code === 'DEVICE_REFUSED' ? `refused: ${reason.errno}` : reason.errno;
      this.onStatus?.(`reconnecting (${why})`);
    },
    restarted: ({ unflushed }) => {
      if (unflushed) this.lossCount += 1;
    },
  };
}

export interface OpenRemoteOptions {
  readonly access: AccessMode;
  readonly tls: ClientTls;
  /** How long a lost connection may last before requests fail; null for ever. */
  readonly giveUpMs: number | null;
  readonly flushProbe: 'never' | 'once';
}

/** Connects, and reconnects by itself from then on. Throws ProtocolError for a bad URI, DeviceError. */
export async function openWatched(uriText: string, options: OpenRemoteOptions): Promise<WatchedRemote> {
  const watch = new ConnectionWatch();
  const uri = parseGgateUri(uriText);
  const device = await openRemote({ uri, ...options, clock: systemClock, events: watch.events });
  return { device, watch };
}
