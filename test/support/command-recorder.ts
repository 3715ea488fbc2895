import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { CLIENT_INITIAL, VERSION_PACKET } from '../../src/protocol/handshake.js';
import { COMMAND, HEADER } from '../../src/protocol/request.js';

/** A relay in front of a server that knows which commands went through it. */
export interface CommandRecorder {
  readonly port: number;
  /** How often each command was sent, a map for each connection. */
  readonly connections: readonly ReadonlyMap<number, number>[];
  close(): Promise<void>;
}

/** Relays to `targetPort` of 127.0.0.1. A side that closes or breaks takes the other one with it. */
export async function recordCommands(targetPort: number): Promise<CommandRecorder> {
  const connections: Map<number, number>[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const target = connect({ host: '127.0.0.1', port: targetPort });
    const counts = new Map<number, number>();
    connections.push(counts);
    const reader = new CommandReader((command) => counts.set(command, (counts.get(command) ?? 0) + 1));
    client.on('data', (chunk: Buffer) => reader.push(chunk));
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  return {
    port: address.port,
    connections,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Reads what a client sends on either half: the handshake, then headers, each with data behind it if it is a WRITE. */
class CommandReader {
  #header = Buffer.alloc(HEADER.sizeBytes);
  #haveBytes = 0;
  #skipBytes = VERSION_PACKET.sizeBytes + CLIENT_INITIAL.sizeBytes;

  constructor(private readonly saw: (command: number) => void) {}

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const skipped = Math.min(this.#skipBytes, chunk.length - at);
      this.#skipBytes -= skipped;
      at += skipped;
      const copied = chunk.copy(this.#header, this.#haveBytes, at);
      if (this.#skipBytes > 0) continue;
      this.#haveBytes += copied;
      at += copied;
      if (this.#haveBytes < HEADER.sizeBytes) continue;
      this.#haveBytes = 0;
      const command = this.#header.readUInt8(HEADER.cmdAt);
      if (command === COMMAND.write) this.#skipBytes = this.#header.readUInt32BE(HEADER.lengthAt);
      this.saw(command);
    }
  }
}
