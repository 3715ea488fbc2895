import type { Socket } from 'node:net';
import tls, { type TLSSocket, type TlsOptions } from 'node:tls';
import { endingAtErrors } from '../listener.js';

/** Makes TLS of connections on which something else was spoken before, as NBD's STARTTLS does. */
export class TlsUpgrade {
  /** It listens nowhere: connections are given to it, as Node allows. It does all checks of client certificates. */
  readonly #server: tls.Server;
  readonly #waiting = new Map<string, (secured: TLSSocket) => void>();

  constructor(options: TlsOptions) {
    this.#server = tls.createServer(options);
    this.#server.on('secureConnection', (socket) => {
      const secured = this.#waiting.get(connectionKey(socket));
      if (secured === undefined) socket.destroy();
      else secured(endingAtErrors(socket));
    });
    // Node has destroyed the socket; its end is what the one who waits is told of.
    this.#server.on('tlsClientError', () => undefined);
  }

  /** Nothing may be unread on `raw`. Rejects when it closes before the handshake is done. */
  secure(raw: Socket): Promise<TLSSocket> {
    const key = connectionKey(raw);
    return new Promise((resolve, reject) => {
      this.#waiting.set(key, resolve);
      raw.once('close', () => {
        this.#waiting.delete(key);
        reject(new Error('the connection ended in the TLS handshake'));
      });
      this.#server.emit('connection', raw);
    });
  }
}

/** Node tells which TLS socket is ready, but not on which connection. No two living ones have this in common. */
const connectionKey = (socket: Socket): string =>
  [socket.remoteAddress, socket.remotePort, socket.localAddress, socket.localPort].join(' ');
