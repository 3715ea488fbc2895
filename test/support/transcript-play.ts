import { connect } from 'node:net';
import { expect } from 'vitest';
import { CLIENT_INITIAL, SERVER_INITIAL, VERSION_PACKET } from '../../src/protocol/handshake.js';
import { HEADER } from '../../src/protocol/request.js';
import { Inbox } from './raw-client.js';
import type { Reply } from './requests.js';
import { readTranscript, streamOf, transcriptImage } from './transcripts.js';

const HANDSHAKE_BYTES = VERSION_PACKET.sizeBytes + CLIENT_INITIAL.sizeBytes;
const WELCOME_BYTES = VERSION_PACKET.sizeBytes + SERVER_INITIAL.sizeBytes;

/** The recorded handshake of one half with our export's path in place of the recorded one. */
function handshakeOf(stream: Buffer, path: string): Buffer {
  const bytes = Buffer.from(stream.subarray(0, HANDSHAKE_BYTES));
  bytes.write(`${path}\0`, VERSION_PACKET.sizeBytes);
  return bytes;
}

/** For comparing: which of two answers came first is the server's affair. */
export const bySeq = (all: readonly Reply[]): Reply[] => [...all].sort((one, other) => one.seq - other.seq);

/** Recorded sessions that any server can be asked to repeat, and what they begin with. */
export const REPEATABLE = [
  { name: 'write-read-qd1', mode: 'rw', image: transcriptImage() },
  { name: 'read-only-qd4', mode: 'ro', image: transcriptImage() },
  { name: 'write-only', mode: 'wo', image: transcriptImage() },
  { name: 'freebsd-newfs-mount', mode: 'rw', image: Buffer.alloc(1_048_576) },
] as const;

/** What the recorded server answered after the handshakes. */
export const recordedAnswers = (name: string): Buffer =>
  streamOf(readTranscript(name), 0, 'server').subarray(WELCOME_BYTES);

/** Plays a recorded client against the server; resolves with what the server said after the handshakes. */
export async function play(name: string, port: number, path: string, answerBytes: number): Promise<Buffer> {
  const chunks = readTranscript(name);
  const open = async (conn: number): Promise<Inbox> => {
    const socket = connect({ host: '127.0.0.1', port });
    const inbox = new Inbox(socket);
    const stream = streamOf(chunks, conn, 'client');
    socket.write(handshakeOf(stream, path));
    const welcome = await inbox.take(WELCOME_BYTES);
    const recorded = streamOf(chunks, conn, 'server').subarray(0, WELCOME_BYTES);
    // The recorded flags byte is memory that the real server happened to have there.
    recorded.writeUInt8(0, VERSION_PACKET.sizeBytes);
    expect(welcome?.toString('hex')).toBe(recorded.toString('hex'));
    return inbox;
  };
  const send = await open(0);
  const receive = await open(1);
  receive.socket.write(streamOf(chunks, 1, 'client').subarray(HANDSHAKE_BYTES));
  const answers = await send.take(answerBytes);
  receive.socket.end();
  await send.closed();
  return answers ?? Buffer.alloc(0);
}

/** What the recorded writes make of an image. */
export function afterTranscript(name: string, image: Buffer): Buffer {
  const stream = streamOf(readTranscript(name), 1, 'client');
  const result = Buffer.from(image);
  for (let at = HANDSHAKE_BYTES; at + HEADER.sizeBytes <= stream.length;) {
    const isWrite = stream.readUInt8(at) === 1;
    const lengthBytes = stream.readUInt32BE(at + HEADER.lengthAt);
    const offsetBytes = Number(stream.readBigUInt64BE(at + HEADER.offsetAt));
    at += HEADER.sizeBytes;
    if (!isWrite) continue;
    stream.copy(result, offsetBytes, at, at + lengthBytes);
    at += lengthBytes;
  }
  return result;
}
