import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/device/platform/native.js';
import { COMMAND, HEADER } from '../../src/protocol/request.js';
import type { FileSessionsOptions } from '../../src/server/file-sessions.js';
import { helloOf, RawClients } from '../support/raw-clients.js';
import { openHalf } from '../support/raw-client.js';
import { replies, request } from '../support/requests.js';
import { type Scratch, makeScratch } from '../support/scratch.js';
import { type TestServer, startServer } from '../support/session-server.js';
import { until } from '../support/until.js';

const IMAGE_BYTES = 1_048_576;
const EBUSY = 16;

describe('sessions', () => {
  let scratch: Scratch;
  let image: string;
  let server: TestServer;
  const clients = new RawClients(() => ({ port: server.port, path: image }));

  beforeEach(() => {
    scratch = makeScratch();
    image = scratch.path('a.img');
    writeFileSync(image, Buffer.alloc(IMAGE_BYTES, 1));
  });

  afterEach(async () => {
    clients.close();
    await server.close();
    scratch.remove();
  });

  async function serve(images: string[], options: Partial<FileSessionsOptions> = {}): Promise<void> {
    server = await startServer(images, { ...options, allow: ['127.0.0.0/8'] });
  }

  const detached = (): Promise<unknown> =>
    until('the detach line', () => server.log.find((line) => line.message.startsWith('detached')));

  test('serve a client, and tell of its attach and detach in one line each', async () => {
    await serve([image]);
    const client = await clients.attach();
    const data = Buffer.alloc(4096, 7);
    client.write(request(COMMAND.write, 8192, 4096, 1, data));
    client.write(request(COMMAND.write, IMAGE_BYTES, 0, 2));
    client.write(request(COMMAND.read, 8192, 4096, 3));
    const answers = [await client.reply(), await client.reply(), await client.reply()];
    expect(answers.map((answer) => answer?.errorNumber)).toEqual([0, 0, 0]);
    expect(answers.find((answer) => answer?.seq === 3)?.body.equals(data)).toBe(true);
    expect(readFileSync(image).subarray(8192, 12_288).equals(data)).toBe(true);
    client.close();
    await detached();
    const lines = server.log.filter(({ level }) => level !== 'debug');
    expect(lines.map((line) => line.message)).toEqual(['attached', 'detached: detached']);
    expect(lines[1]?.fields).toMatchObject({
      peer: '127.0.0.1',
      export: image,
      mode: 'rw',
      requests: 3,
      bytesRead: 4096,
      bytesWritten: 4096,
      errors: 0,
    });
  });

  test('serve requests that a hasty client sends before it is welcome, and welcome it first', async () => {
    await serve([image]);
    const target = { port: server.port, path: image, token: 77 };
    const [receive] = await openHalf(target, 'receive');
    const batch = Array.from({ length: 50 }, (_, seq) => request(COMMAND.read, seq * 512, 512, seq));
    receive.socket.write(Buffer.concat(batch));
    const [send, errno] = await openHalf(target, 'send');
    expect(errno).toBe(0);
    const answers = replies((await send.take(batch.length * (HEADER.sizeBytes + 512))) ?? Buffer.alloc(0));
    expect(answers.map((answer) => answer.seq)).toEqual(batch.map((_, seq) => seq));
    for (const half of [receive, send]) half.socket.destroy();
  });

  test('refuse a second writer of the same file, however its path is spelled, and let readers in', async () => {
    const link = scratch.path('link.img');
    symlinkSync(image, link);
    await serve([image, link]);
    await clients.attach();
    expect(await clients.attempt({ from: '127.0.0.2' })).toBe(EBUSY);
    expect(await clients.attempt({ path: link })).toBe(EBUSY);
    expect(await clients.attempt({ path: link, access: 'wo' })).toBe(EBUSY);
    expect(await clients.attempt({ path: link, access: 'ro' })).toBe(0);
  });

  test('let a second writer in once the first is gone', async () => {
    await serve([image]);
    (await clients.attach()).close();
    await detached();
    expect(await clients.attempt()).toBe(0);
  });

  test('let a client in again that attaches as soon as it has detached', async () => {
    await serve([image]);
    expect(await clients.comeAndGo(10)).toEqual(Array.from({ length: 10 }, () => 0));
  });

  test('let several writers in when the export is shared', async () => {
    await serve([image], { isShared: true });
    await clients.attach();
    expect(await clients.attempt({ from: '127.0.0.2' })).toBe(0);
  });

  test('give the place of a silent writer to the same host, never to another', async () => {
    await serve([image], { takeoverSilentMs: 300 });
    const old = await clients.attach();
    await until('the takeover', async () => (await clients.attempt({ from: '127.0.0.1' })) === 0);
    expect(await clients.attempt({ from: '127.0.0.2' })).toBe(EBUSY);
    await old.send.closed();
    expect(await old.reply()).toBeNull();
    expect(await server.sessions.list()).toHaveLength(1);
  });

  test('give the place of a writer at once to the same client with a hello', async () => {
    await serve([image]);
    const old = await clients.attach({ hello: helloOf(1) });
    expect(await clients.attempt({ hello: helloOf(2) })).toBe(EBUSY);
    const next = await clients.attach({ hello: helloOf(1) });
    await old.send.closed();
    next.write(request(COMMAND.read, 0, 512, 1));
    expect((await next.reply())?.errorNumber).toBe(0);
  });

  describe('that are released', () => {
    const HOLDER = { holder: 'mirror/data', isForced: false };
    const FORCED = { ...HOLDER, isForced: true };

    test('are refused to who may write, however their path is spelled, until they are taken back', async () => {
      const link = scratch.path('link.img');
      symlinkSync(image, link);
      await serve([image, link]);
      expect(await server.sessions.release(link, HOLDER)).toBe(true);
      expect(await clients.attempt()).toBe(EBUSY);
      expect(await clients.attempt({ access: 'wo' })).toBe(EBUSY);
      expect(await clients.attempt({ path: link, access: 'ro' })).toBe(0);
      expect(server.sessions.released).toEqual([{ path: link, holder: 'mirror/data' }]);
      expect(await server.sessions.takeBack('mirror/data', null)).toHaveLength(1);
      expect(await clients.attempt()).toBe(0);
    });

    test('lose their readers, but a writer only by force, and its writes in flight are done then', async () => {
      await serve([image]);
      const writer = await clients.attach();
      const reader = await clients.attach({ access: 'ro' });
      await expect(server.sessions.release(image, HOLDER)).rejects.toThrow('in use by 127.0.0.1');
      reader.write(request(COMMAND.read, 0, 512, 1));
      expect((await reader.reply())?.errorNumber).toBe(0);
      const writes = Array.from({ length: 64 }, (_, seq) =>
        request(COMMAND.write, seq * 512, 512, seq, Buffer.alloc(512, 0xa5)),
      );
      writer.write(Buffer.concat(writes));
      expect((await writer.reply())?.seq).toBe(0);
      await server.sessions.release(image, FORCED);
      let answered = 1;
      while ((await writer.reply()) !== null) answered += 1;
      await Promise.all([writer.send.closed(), reader.send.closed()]);
      expect(await server.sessions.list()).toEqual([]);
      const written = readFileSync(image).subarray(0, answered * 512);
      expect(written.equals(Buffer.alloc(answered * 512, 0xa5))).toBe(true);
      const ends = server.log.filter(({ message }) => message.startsWith('detached'));
      expect(ends.map(({ level }) => level)).toEqual(['info', 'info']);
    });

    test('stay with the first who has them; taking back is for the same one', async () => {
      await serve([image]);
      expect(await server.sessions.release(image, HOLDER)).toBe(true);
      expect(await server.sessions.release(image, HOLDER)).toBe(false);
      const other = { holder: 'mirror/other', isForced: true };
      await expect(server.sessions.release(image, other)).rejects.toThrow('released to mirror/data already');
      expect(await server.sessions.takeBack('mirror/other', null)).toEqual([]);
      expect(await clients.attempt()).toBe(EBUSY);
    });

    test('are those of one image: clients of another one notice nothing', async () => {
      const other = scratch.path('other.img');
      copyFileSync(image, other);
      await serve([image, other]);
      const client = await clients.attach({ path: other });
      await server.sessions.release(image, FORCED);
      client.write(request(COMMAND.read, 0, 512, 7));
      expect((await client.reply())?.seq).toBe(7);
    });
  });

  test('serve the commands of a client with a hello', async () => {
    await serve([image]);
    const client = await clients.attach({ hello: helloOf(1) });
    expect(client.capabilities?.features.names()).toContain('checksum');
    client.write(request(COMMAND.writeZeroes, 0, 4096, 1));
    expect(await client.reply()).toMatchObject({ seq: 1, errorNumber: 0 });
    client.write(request(COMMAND.checksum, 0, 131_072, 2));
    const answer = await client.reply((command, lengthBytes) =>
      command === COMMAND.checksum ? (lengthBytes / 65_536) * 8 : 0,
    );
    expect(answer?.body.length).toBe(16);
    client.write(request(COMMAND.ping, 0, 0, 3));
    expect(await client.reply()).toMatchObject({ seq: 3, errorNumber: 0 });
    expect(readFileSync(image).subarray(0, 4096).equals(Buffer.alloc(4096))).toBe(true);
  });

  // Holes are punched through the C library; a machine where it can't be reached offers no trim.
  test.skipIf(process.platform !== 'linux' || native() === null)(
    'offer trim where it can be done, and not where nothing may be changed',
    async () => {
      const shared = mkdtempSync('/dev/shm/ggmirror-test-');
      const holes = join(shared, 'holes.img');
      writeFileSync(holes, Buffer.alloc(65_536, 1));
      try {
        await serve([holes, image]);
        const writer = await clients.attach({ path: holes, hello: helloOf(1) });
        const reader = await clients.attach({ path: image, access: 'ro', hello: helloOf(2) });
        expect(writer.capabilities?.features.names()).toContain('trim');
        expect(reader.capabilities?.features.names()).not.toContain('trim');
      } finally {
        rmSync(shared, { recursive: true });
      }
    },
  );

  test('answer EIO when the file has shrunk under them', async () => {
    await serve([image]);
    const client = await clients.attach();
    truncateSync(image, 4096);
    client.write(request(COMMAND.read, 8192, 512, 1));
    expect((await client.reply())?.errorNumber).toBe(5);
    client.write(request(COMMAND.read, 0, 512, 2));
    expect((await client.reply())?.errorNumber).toBe(0);
  });

  test('write nothing of a write whose client goes away in the middle', async () => {
    await serve([image]);
    const before = scratch.path('before.img');
    copyFileSync(image, before);
    const client = await clients.attach();
    client.write(request(COMMAND.write, 0, 65_536, 1, Buffer.alloc(65_536, 9)).subarray(0, 40_000));
    client.receive.socket.end();
    await detached();
    expect(readFileSync(image).equals(readFileSync(before))).toBe(true);
  });

  test('report what they do', async () => {
    await serve([image]);
    const client = await clients.attach();
    client.write(request(COMMAND.read, 0, 512, 1));
    await client.reply();
    const [status] = await server.sessions.list();
    expect(status).toMatchObject({
      peer: '127.0.0.1',
      path: image,
      access: 'rw',
      facts: { requests: 1, bytesRead: 512 },
    });
  });

  test('end with their process, whatever ends it, and free the file', async () => {
    await serve([image]);
    const client = await clients.attach();
    const [status] = await server.sessions.list();
    if (status === undefined || status.pid < 2) throw new Error('no session to kill');
    process.kill(status.pid, 'SIGKILL');
    await client.send.closed();
    await detached();
    expect(server.log.some((line) => line.level === 'error' && /process died/.test(line.message))).toBe(true);
    expect(await clients.attempt()).toBe(0);
  });

  test('finish and answer what is in flight when the server ends', async () => {
    await serve([image]);
    const client = await clients.attach();
    const count = 200;
    for (let seq = 0; seq < count; seq++)
      client.write(request(COMMAND.write, seq * 512, 512, seq, Buffer.alloc(512, 5)));
    expect((await client.reply())?.seq).toBe(0);
    await server.sessions.drain(60_000);
    let answered = 1;
    while ((await client.reply()) !== null) answered += 1;
    const written = readFileSync(image).subarray(0, answered * 512);
    expect(written.equals(Buffer.alloc(answered * 512, 5))).toBe(true);
    expect(server.log.at(-1)?.message).toBe('detached: stopped');
    expect(await clients.attempt()).toBe(EBUSY);
  });
});
