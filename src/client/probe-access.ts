import { connect as systemConnect } from 'node:net';
import { DeviceError } from '../device/block-device.js';
import { systemClock, type Timer } from '../device/clock.js';
import { systemRandom } from '../device/random.js';
import { Features, ID_SIZE_BYTES } from '../protocol/capabilities.js';
import type { AccessMode } from '../protocol/handshake.js';
import { REQUEST_BYTES_MAX } from '../protocol/request.js';
import { formatGgateUri } from '../protocol/uri.js';
import { asConnectError } from './errors.js';
import { HalfSocket } from './half-socket.js';
import { shakeHands, type ServerTerms } from './handshake.js';
import { HANDSHAKE_BUFFER_BYTES, WINDOW_REQUESTS_MAX } from './limits.js';
import type { RemoteOptions } from './options.js';

export type ProbeOptions = Pick<RemoteOptions, 'uri' | 'tls' | 'connectTimeoutMs' | 'clock' | 'random'>;

/**
 * What the server would say to a client that asks for this mode. Only the first half of a session is opened, and given
 * up: no session begins, so asking for a writing mode takes nobody's place. A ggated forgets such a half when the next
 * client comes. Throws DeviceError (DEVICE_REFUSED with the server's errno, DEVICE_TIMEOUT, DEVICE_OPEN).
 */
export async function probeAccess(options: ProbeOptions, access: AccessMode): Promise<ServerTerms> {
  const { uri, tls, connectTimeoutMs = 10_000, clock = systemClock, random = systemRandom } = options;
  const name = formatGgateUri(uri);
  const identity = tls?.servername ?? uri.host;
  const socket = new HalfSocket(
    { connect: systemConnect, host: uri.host, port: uri.port, tls: uri.isTls ? { ...tls, identity } : null },
    HANDSHAKE_BUFFER_BYTES,
  );
  const hello = {
    features: Features.all,
    instanceId: random.nextBytes(ID_SIZE_BYTES),
    bootId: Buffer.alloc(ID_SIZE_BYTES),
    requestBytesMax: REQUEST_BYTES_MAX,
    keepAliveMs: 0,
    requestsMax: WINDOW_REQUESTS_MAX,
  };
  const initial = { path: uri.path, access, half: 'send', token: random.nextU32() } as const;
  const silence = `${name}: no answer within ${connectTimeoutMs} ms; check the link`;
  let timer: Timer | null = null;
  const limit = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', silence));
    timer = clock.after(connectTimeoutMs, fail);
  });
  try {
    return (await Promise.race([shakeHands(socket, { name, initial, hello }), limit])).terms;
  } catch (error) {
    throw asConnectError(name, error);
  } finally {
    (timer as Timer | null)?.cancel();
    socket.reset();
  }
}
