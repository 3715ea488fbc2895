import { afterEach, describe, expect, test } from 'vitest';
import { openRemote } from '../../src/client/remote-device.js';
import type { BlockDevice, DeviceError } from '../../src/device/block-device.js';
import { CLIENT_INITIAL, VERSION_PACKET, type AccessMode } from '../../src/protocol/handshake.js';
import { viewOf } from '../../src/protocol/integers.js';
import { COMMAND, HEADER, decodeHeader } from '../../src/protocol/request.js';
import { TranscriptPlayer } from '../support/transcript-player.js';
import { readTranscript, streamOf, type TranscriptChunk } from '../support/transcripts.js';

const HANDSHAKE_BYTES = VERSION_PACKET.sizeBytes + CLIENT_INITIAL.sizeBytes;
const players: TranscriptPlayer[] = [];

async function play(chunks: readonly TranscriptChunk[]): Promise<TranscriptPlayer> {
  const player = await TranscriptPlayer.listen(chunks);
  players.push(player);
  return player;
}

afterEach(async () => {
  for (const player of players.splice(0)) await player.close();
});

interface Recorded {
  readonly isWrite: boolean;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly data: Buffer;
}

/** The requests of a stream of them; a READ's data is what the recorded server answered. */
function requestsOf(chunks: readonly TranscriptChunk[]): Recorded[] {
  const sent = streamOf(chunks, 1, 'client').subarray(HANDSHAKE_BYTES);
  const answers = streamOf(chunks, 0, 'server').subarray(VERSION_PACKET.sizeBytes + 15);
  const requests: Recorded[] = [];
  let answerAt = 0;
  for (let at = 0; at < sent.length;) {
    const header = { command: 0, offsetBytes: 0, lengthBytes: 0 };
    decodeHeader(viewOf(sent), at, header);
    const { offsetBytes, lengthBytes } = header;
    const isWrite = header.command === COMMAND.write;
    at += HEADER.sizeBytes;
    answerAt += HEADER.sizeBytes;
    const data = isWrite
      ? sent.subarray(at, at + lengthBytes)
      : answers.subarray(answerAt, answerAt + lengthBytes);
    if (isWrite) at += lengthBytes;
    else answerAt += lengthBytes;
    requests.push({ isWrite, offsetBytes, lengthBytes, data });
  }
  return requests;
}

/** What may differ: the bytes after the path's NUL, and the token. */
function comparable(handshake: Buffer): Buffer {
  const copy = Buffer.from(handshake);
  const pathAt = VERSION_PACKET.sizeBytes;
  copy.fill(0, copy.indexOf(0, pathAt), pathAt + CLIENT_INITIAL.pathSizeBytes);
  copy.fill(0, pathAt + CLIENT_INITIAL.tokenAt, pathAt + CLIENT_INITIAL.sizeBytes);
  return copy;
}

async function run(device: BlockDevice, requests: readonly Recorded[]): Promise<Buffer[]> {
  return await Promise.all(
    requests.map(
      ({ isWrite, offsetBytes, lengthBytes, data }) =>
        new Promise<Buffer>((resolve, reject) => {
          const buffer = isWrite ? data : Buffer.alloc(lengthBytes);
          const done = (error: DeviceError | null): void =>
            error === null ? resolve(buffer) : reject(error);
          device.start({
            op: isWrite ? 'write' : 'read',
            offsetBytes,
            lengthBytes,
            buffer,
            bufferAt: 0,
            done,
          });
        }),
    ),
  );
}

const SESSIONS: readonly { name: string; access: AccessMode; path: string; sizeBytes: number }[] = [
  { name: 'write-read-qd1', access: 'rw', path: '/root/images/sitesbackup.img', sizeBytes: 65_536 },
  { name: 'read-only-qd4', access: 'ro', path: '/root/images/sitesro.img', sizeBytes: 65_536 },
  { name: 'write-only', access: 'wo', path: '/root/images/siteswo.img', sizeBytes: 65_536 },
  { name: 'freebsd-newfs-mount', access: 'rw', path: '/root/images/sitesbackup.img', sizeBytes: 1_048_576 },
];

describe('recordings of the real programs', () => {
  test.each(SESSIONS)(
    'the client says what ggatec said, and understands ggated, in $name',
    async (session) => {
      const chunks = readTranscript(session.name);
      const player = await play(chunks);
      const uri = { host: '127.0.0.1', port: player.port, path: session.path, isTls: false };
      const device = await openRemote({ uri, access: session.access, extensions: false });
      expect(device.mediaSizeBytes).toBe(session.sizeBytes);
      expect(device.sectorSizeBytes).toBe(512);
      const requests = requestsOf(chunks);
      const found = await run(device, requests);
      expect(found.every((data, index) => data.equals(requests[index]?.data ?? Buffer.alloc(0)))).toBe(true);
      for (const conn of [0, 1]) {
        const expected = streamOf(chunks, conn, 'client');
        const ours = player.received(conn);
        expect(comparable(ours.subarray(0, HANDSHAKE_BYTES))).toEqual(
          comparable(expected.subarray(0, HANDSHAKE_BYTES)),
        );
        expect(ours.subarray(HANDSHAKE_BYTES).equals(expected.subarray(HANDSHAKE_BYTES))).toBe(true);
        // Where ggatec leaves its stack, we send zeroes.
        const pathEnd = ours.indexOf(0, VERSION_PACKET.sizeBytes);
        const rest = ours.subarray(pathEnd, VERSION_PACKET.sizeBytes + CLIENT_INITIAL.pathSizeBytes);
        expect(rest.every((byte) => byte === 0)).toBe(true);
      }
      await device.close();
    },
  );

  test('a hello to a ggated is answered with 0, and the session goes on without extensions', async () => {
    const hello = readTranscript('hello-error-field');
    const chunks = readTranscript('read-only-qd4').map((chunk) =>
      chunk.from === 'client' && chunk.bytes.length >= VERSION_PACKET.sizeBytes ? { ...chunk } : chunk,
    );
    const player = await play(chunks);
    const uri = { host: '127.0.0.1', port: player.port, path: '/root/images/sitesro.img', isTls: false };
    const device = await openRemote({ uri, access: 'ro' });
    expect(player.received(0).subarray(0, VERSION_PACKET.sizeBytes)).toEqual(streamOf(hello, 0, 'client'));
    expect(streamOf(chunks, 0, 'server').subarray(0, VERSION_PACKET.sizeBytes)).toEqual(
      streamOf(hello, 0, 'server'),
    );
    expect(device.session).toMatchObject({
      isGgmirror: false,
      extensions: [],
      bootId: null,
      instanceId: null,
    });
    expect(device.can).toMatchObject({
      read: true,
      write: false,
      flush: false,
      trim: false,
      checksum: false,
    });
    await device.close();
  });

  test.each([
    { name: 'denied-rw-on-ro', access: 'rw', path: '/root/images/sitesro.img' },
    { name: 'denied-ro-on-wo', access: 'ro', path: '/root/images/siteswo.img' },
    { name: 'denied-unknown-path', access: 'rw', path: '/root/images/nothing.img' },
  ] as const)(
    'a refusal is told with its errno, whatever left-over memory comes with it: $name',
    async (denied) => {
      const player = await play(readTranscript(denied.name));
      const uri = { host: '127.0.0.1', port: player.port, path: denied.path, isTls: false };
      const opening = openRemote({ uri, access: denied.access, extensions: false });
      await expect(opening).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno: 'EPERM' });
    },
  );

  test.each(['bad-magic', 'bad-version'])(
    'a server that closes instead of answering is an error: %s',
    async (name) => {
      const player = await play(readTranscript(name));
      const uri = { host: '127.0.0.1', port: player.port, path: '/x', isTls: false };
      const opening = openRemote({ uri, access: 'ro' });
      await expect(opening).rejects.toMatchObject({ code: 'DEVICE_OPEN', errno: 'EPROTO' });
    },
  );
});
