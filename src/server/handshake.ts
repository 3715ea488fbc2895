import type { Duplex } from 'node:stream';
import {
  CAPABILITY_PACKET,
  capabilitiesSize,
  decodeCapabilities,
  type CapabilityPacket,
} from '../protocol/capabilities.js';
import { ProtocolError } from '../protocol/errors.js';
import {
  CLIENT_INITIAL,
  HELLO,
  VERSION_PACKET,
  decodeClientInitial,
  decodeVersion,
  encodeVersion,
  type ClientInitial,
} from '../protocol/handshake.js';

/** What a client says of itself before it gets an answer. */
export interface ClientHandshake {
  readonly initial: ClientInitial;
  /** Null without a hello. */
  readonly hello: CapabilityPacket | null;
}

/**
 * The client's side of a handshake, in order: version packet in, version packet out, initial packet in and, after a
 * hello, its capability packet. Takes exactly these bytes off the socket; what comes behind them stays in its buffer.
 * The answer to the initial packet is the caller's, and so is the time limit: destroy the socket, and this rejects.
 *
 * Rejects with ProtocolError. After PROTOCOL_FORMAT (an initial packet with a path that can name nothing) the client
 * may be told; after all others, as in ggated, the connection is closed without an answer.
 */
export async function receiveHandshake(socket: Duplex): Promise<ClientHandshake> {
  const error = decodeVersion(await take(socket, VERSION_PACKET.sizeBytes, 'version packet'));
  // An error field that is not our hello is ignored, as ggated ignores it (transcript hello-error-field).
  const isHello = error === HELLO;
  socket.write(encodeVersion(isHello ? HELLO : 0));
  const packet = await take(socket, CLIENT_INITIAL.sizeBytes, 'initial packet');
  const initial = decodeClientInitial(packet);
  return { initial, hello: isHello ? await receiveCapabilities(socket) : null };
}

async function receiveCapabilities(socket: Duplex): Promise<CapabilityPacket> {
  const prefix = await take(socket, CAPABILITY_PACKET.prefixBytes, 'capability packet');
  const restBytes = capabilitiesSize(prefix) - prefix.length;
  return decodeCapabilities(Buffer.concat([prefix, await take(socket, restBytes, 'capability packet')]));
}

/** The next `sizeBytes` bytes. Rejects with PROTOCOL_UNEXPECTED if the connection ends before them. */
export function take(socket: Duplex, sizeBytes: number, what: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (bytes: Buffer | null): void => {
      socket.off('readable', attempt).off('end', ended).off('close', ended);
      if (bytes?.length === sizeBytes) resolve(bytes);
      else reject(new ProtocolError('PROTOCOL_UNEXPECTED', `the connection ended in the ${what}`));
    };
    const ended = (): void => settle(null);
    const attempt = (): void => {
      // At the end of the stream this gives what is left, even if it is less.
      const bytes = socket.read(sizeBytes) as Buffer | null;
      if (bytes !== null) settle(bytes);
    };
    socket.on('readable', attempt).on('end', ended).on('close', ended);
    // Listeners are of no use when both events have passed.
    if (socket.destroyed || socket.readableEnded) ended();
    else attempt();
  });
}
