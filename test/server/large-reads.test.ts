import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMAND, HEADER } from '../../src/protocol/request.js';
import { RawClients } from '../support/raw-clients.js';
import { request } from '../support/requests.js';
import { type Scratch, makeScratch } from '../support/scratch.js';
import { type TestServer, startServer } from '../support/session-server.js';

const IMAGE_BYTES = 4_194_304;
const READ_BYTES = 131_072;

describe('large reads', () => {
  let scratch: Scratch;
  let image: string;
  let content: Buffer;
  let server: TestServer;
  const clients = new RawClients(() => ({ port: server.port, path: image }));

  beforeEach(async () => {
    scratch = makeScratch();
    image = scratch.path('a.img');
    content = randomBytes(IMAGE_BYTES);
    writeFileSync(image, content);
    server = await startServer([image]);
  });

  afterEach(async () => {
    clients.close();
    await server.close();
    scratch.remove();
  });

  const reads = (count: number): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, (_, seq) =>
        request(COMMAND.read, (seq * READ_BYTES) % IMAGE_BYTES, READ_BYTES, seq),
      ),
    );

  test('that are under way together arrive whole, in order, and with the writes before them only', async () => {
    const client = await clients.attach();
    // Enough of them that another thread has come to send their answers.
    for (let round = 0; round < 20; round++) {
      const expected: Buffer[] = [];
      for (let seq = 0; seq < 12; seq++) {
        const offsetBytes = ((round * 7 + seq) % 16) * READ_BYTES + 512 * round;
        client.write(request(COMMAND.read, offsetBytes, READ_BYTES, seq));
        expected.push(Buffer.from(content.subarray(offsetBytes, offsetBytes + READ_BYTES)));
        const data = Buffer.alloc(1024, 20 * round + seq);
        client.write(request(COMMAND.write, offsetBytes + 4096, data.length, 100 + seq, data));
        data.copy(content, offsetBytes + 4096);
      }
      for (const [seq, data] of expected.entries()) {
        const answer = await client.reply();
        expect(answer).toMatchObject({ seq, errorNumber: 0 });
        expect(answer?.body.equals(data)).toBe(true);
        expect(await client.reply()).toMatchObject({ seq: 100 + seq, errorNumber: 0 });
      }
    }
    expect(readFileSync(image).equals(content)).toBe(true);
  });

  test('do not keep a flush among them from its answer', async () => {
    const client = await clients.attach();
    const flush = request(COMMAND.flush, 0, 0, 1000);
    for (let round = 0; round < 10; round++) {
      client.write(Buffer.concat([reads(8), flush, reads(8)]));
      const seqs: number[] = [];
      for (let count = 0; count < 17; count++) seqs.push((await client.reply())?.seq ?? -1);
      expect(seqs.filter((seq) => seq !== 1000)).toEqual(Array.from({ length: 16 }, (_, index) => index % 8));
      expect(seqs).toContain(1000);
    }
  });

  test('that have been begun when the server stops are answered to the last byte', async () => {
    const client = await clients.attach();
    const readAnswers = async (count: number): Promise<void> => {
      for (let seq = 0; seq < count; seq++) expect(await client.reply()).toMatchObject({ errorNumber: 0 });
    };
    for (let round = 0; round < 10; round++) {
      client.write(reads(8));
      await readAnswers(8);
    }
    client.send.socket.pause();
    // More than the sockets' buffers hold, so that answers are on their way when the server is told to stop.
    client.write(reads(200));
    const closed = server.close();
    client.send.socket.resume();
    await closed;
    await client.send.closed();
    let count = 0;
    for (;;) {
      const header = await client.send.take(HEADER.sizeBytes);
      if (header === null) break;
      const body = await client.send.take(READ_BYTES);
      const at = (count * READ_BYTES) % IMAGE_BYTES;
      expect(body?.equals(content.subarray(at, at + READ_BYTES))).toBe(true);
      count += 1;
    }
    // No part of an answer is left.
    expect(await client.send.take(1)).toBeNull();
  });

  test('of a client that goes away amid its answers leave the session to end, and the next one to come', async () => {
    for (let round = 0; round < 3; round++) {
      const client = await clients.attach();
      client.write(reads(8));
      for (let seq = 0; seq < 8; seq++) expect(await client.reply()).toMatchObject({ seq, errorNumber: 0 });
      client.send.socket.pause();
      client.write(reads(200));
      client.close();
    }
    const client = await clients.attach();
    client.write(request(COMMAND.read, 0, 512, 1));
    expect((await client.reply())?.body.equals(content.subarray(0, 512))).toBe(true);
    expect(server.log.filter((line) => line.level === 'error')).toEqual([]);
  });
});
