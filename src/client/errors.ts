import { DeviceError, type BlockOp } from '../device/block-device.js';
import { errnoName } from '../protocol/errno.js';
import { ProtocolError } from '../protocol/errors.js';

/** What Node's sockets, our codecs and we ourselves throw, as a DeviceError about the export `name`. */
export function asConnectError(name: string, error: unknown): DeviceError {
  if (error instanceof DeviceError) return error;
  if (error instanceof ProtocolError) {
    return new DeviceError(
      'DEVICE_OPEN',
      'EPROTO',
      `${name}: ${error.message}; check host and port, and that a ggated or ggmirror listens there`,
      { cause: error },
    );
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  const text = nameTrouble(error, code) ?? textOf(error, code);
  return new DeviceError('DEVICE_OPEN', errnoName(code), `${name}: cannot connect: ${text}`, {
    cause: error,
  });
}

/** Every system has words of its own for that; null if it is something else. */
function nameTrouble(error: unknown, code: string | undefined): string | null {
  if (code !== 'ENOTFOUND' && code !== 'EAI_AGAIN') return null;
  const host = error instanceof Error && 'hostname' in error ? String(error.hostname) : 'of its host';
  return `the name ${host} can't be resolved (${code}); check it, or give an address`;
}

const textOf = (error: unknown, code: string | undefined): string =>
  error instanceof Error && error.message !== '' ? error.message : (code ?? String(error));

/** Why a standing connection ended, as a DeviceError about the export `name`. */
export function asLossError(name: string, error: unknown): DeviceError {
  if (error instanceof DeviceError) return error;
  if (error instanceof ProtocolError) {
    return new DeviceError('DEVICE_LOST', 'EPROTO', `${name}: ${error.message}; the connection was cut`, {
      cause: error,
    });
  }
  const text = error instanceof Error ? error.message : 'the server closed it';
  return new DeviceError('DEVICE_LOST', 'ECONNRESET', `${name}: the connection is lost: ${text}`, {
    cause: error,
  });
}

/** Of a request that the server of this session can't take, though an earlier one could. */
export const unsupported = (name: string, op: BlockOp): DeviceError =>
  new DeviceError('DEVICE_IO', 'EOPNOTSUPP', `${name}: the server no longer offers ${op}; open it anew`);

/** Of a request while there is no connection and nobody wants to wait. `lastLoss` is why. */
export const notConnected = (name: string, lastLoss: DeviceError | null): DeviceError =>
  new DeviceError('DEVICE_LOST', 'ENOTCONN', `${name}: not connected; it goes on trying`, {
    cause: lastLoss,
  });

/** Of a flush that can't cover what it should. */
export function flushLoss(name: string, lastLoss: DeviceError | null): DeviceError {
  const message =
    `${name}: the server's host has restarted, or may have, and writes since the last flush may be lost; ` +
    'write them again';
  return new DeviceError('DEVICE_LOST', 'EIO', message, { cause: lastLoss });
}
