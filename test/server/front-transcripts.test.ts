import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SERVER_INITIAL, VERSION_PACKET } from '../../src/protocol/handshake.js';
import { startFront, type Front } from '../support/front-server.js';
import { readTranscript, streamOf } from '../support/transcripts.js';
import { WireClient } from '../support/wire-client.js';

/** The exports of the recorded ggated, in the order of the recordings' README. */
const EXPORTS = `
127.0.0.1 RW /root/images/sitesbackup.img
127.0.0.0/8 ro /root/images/sitesro.img
127.0.0.1 wo /root/images/siteswo.img
`;

let front: Front;
beforeEach(async () => {
  front = await startFront({ exports: EXPORTS });
});
afterEach(() => front.close());

/** Plays the client's side of the only connection; what the server sent until it closed. */
async function replay(name: string): Promise<Buffer> {
  const chunks = readTranscript(name);
  const client = await WireClient.connect({ port: front.port });
  const received: Buffer[] = [];
  for (const { from, bytes } of chunks) {
    if (from === 'client') client.send(bytes);
    // In step with the recording: a server that says less than ggated fails here.
    else if (bytes.length > 0) received.push(await client.read(bytes.length));
  }
  if (chunks.some(({ from, eof }) => from === 'server' && eof)) received.push(await client.untilEnd());
  else expect(client.isQuiet).toBe(true);
  client.close();
  return Buffer.concat(received);
}

describe('the recorded ggated', () => {
  test.each(['denied-rw-on-ro', 'denied-ro-on-wo', 'denied-unknown-path'])(
    'and this server answer the same in %s, but for the memory that ggated leaks',
    async (name) => {
      const recorded = streamOf(readTranscript(name), 0, 'server');
      expect(recorded).toHaveLength(VERSION_PACKET.sizeBytes + SERVER_INITIAL.sizeBytes);
      const leakAt = VERSION_PACKET.sizeBytes;
      recorded.fill(0, leakAt, leakAt + SERVER_INITIAL.errorAt);
      expect(await replay(name)).toEqual(recorded);
    },
  );

  test.each(['bad-magic', 'bad-version'])('and this server close without an answer in %s', async (name) => {
    expect(await replay(name)).toEqual(Buffer.alloc(0));
  });

  test('answers a hello with 0 and this server with the hello, and nothing else differs', async () => {
    const recorded = streamOf(readTranscript('hello-error-field'), 0, 'server');
    expect(recorded.subarray(18).toString('hex')).toBe('0000');
    recorded.writeUInt16BE(0x4747, 18);
    expect(await replay('hello-error-field')).toEqual(recorded);
  });

  test.each(['write-read-qd1', 'read-only-qd4', 'write-only'])(
    'and this server let both halves of %s in with the same bytes',
    async (name) => {
      const chunks = readTranscript(name);
      const handshakeBytes = VERSION_PACKET.sizeBytes + SERVER_INITIAL.sizeBytes;
      for (const conn of [0, 1]) {
        const client = await WireClient.connect({ port: front.port });
        // Version packet and initial packet; requests would follow on the second connection.
        client.send(streamOf(chunks, conn, 'client').subarray(0, 20 + 1039));
        if (conn === 1) await front.sessions.session(0);
        const halves = front.sessions.started[0];
        halves?.[halves.last].write(halves.welcome);
        const recorded = streamOf(chunks, conn, 'server').subarray(0, handshakeBytes);
        recorded.fill(0, VERSION_PACKET.sizeBytes, VERSION_PACKET.sizeBytes + 1); // ggated's flags byte is left-over memory.
        expect(await client.read(handshakeBytes)).toEqual(recorded);
        if (conn === 1) client.close();
      }
    },
  );
});
