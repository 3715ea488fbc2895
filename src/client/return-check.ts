import { DeviceError } from '../device/block-device.js';
import type { ContentCheck } from '../device/content-check.js';
import type { ConnectParameters } from './connection.js';
import { askOnSideSession } from './side-session.js';

/**
 * Resolves if the export still holds what it may hold. Asked while we have a session that may write, so that nobody else
 * does. Rejects with DEVICE_CHANGED if it holds something else, and with another DeviceError if nothing was learned.
 */
export async function requireContent(
  parameters: ConnectParameters,
  { offsetBytes, lengthBytes, holds }: ContentCheck,
): Promise<void> {
  const buffer = Buffer.alloc(lengthBytes);
  await askOnSideSession<null>(
    { ...parameters, access: 'ro' },
    {
      bytesMax: lengthBytes,
      ask: (pipeline, _mediaSizeBytes, { resolve, reject }) =>
        pipeline.start({
          ...{ op: 'read', offsetBytes, lengthBytes, buffer, bufferAt: 0 },
          done: (error) => (error === null ? resolve(null) : reject(error)),
        }),
      ended: (reason, { reject }) => reject(reason),
    },
  );
  if (holds(buffer)) return;
  const { name } = parameters;
  const message = `${name}: somebody else has written it since the connection was lost; open it anew`;
  throw new DeviceError('DEVICE_CHANGED', 'ESTALE', message);
}
