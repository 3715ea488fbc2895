import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { COMMAND } from '../../src/protocol/request.js';
import { makeHangingDisk, noHangingDisk } from '../support/hanging-disk.js';
import { RawClient } from '../support/raw-client.js';
import { request } from '../support/requests.js';
import { makeScratch } from '../support/scratch.js';
import { startServer } from '../support/session-server.js';

const ETIMEDOUT = 60;
const isSkipped = noHangingDisk() !== null && process.env['CI'] !== 'true';

describe.skipIf(isSkipped)('a disk that hangs', () => {
  test('fails its requests with ETIMEDOUT, harms no other session, and serves again when it is back', async () => {
    expect(noHangingDisk()).toBeNull();
    const scratch = makeScratch();
    const disk = await makeHangingDisk(scratch.folder);
    const good = scratch.path('good.img');
    writeFileSync(good, Buffer.alloc(65_536, 1));
    const server = await startServer([disk.path, good], { diskTimeoutMs: 4000 });
    try {
      const client = await RawClient.mustAttach({ port: server.port, path: disk.path });
      const other = await RawClient.mustAttach({ port: server.port, path: good });
      client.write(request(COMMAND.write, 0, 4096, 1, Buffer.alloc(4096, 1)));
      expect(await client.reply()).toMatchObject({ seq: 1, errorNumber: 0 });

      await disk.hang();
      const batch = [2, 3, 4].map((seq) =>
        request(COMMAND.write, seq * 1_048_576, 512, seq, Buffer.alloc(512, seq)),
      );
      client.write(Buffer.concat([...batch, request(COMMAND.read, 8_388_608, 512, 5)]));
      // The other session answers while the first one hangs.
      other.write(request(COMMAND.read, 0, 512, 1));
      expect(await other.reply()).toMatchObject({ seq: 1, errorNumber: 0 });
      for (const seq of [2, 3, 4, 5]) {
        expect(await client.reply()).toMatchObject({ seq, errorNumber: ETIMEDOUT });
      }
      client.write(request(COMMAND.read, 9_437_184, 512, 6));
      expect(await client.reply()).toMatchObject({ seq: 6, errorNumber: ETIMEDOUT });
      const told = server.log.filter((line) => line.level === 'error');
      expect(told.map((line) => line.message)).toEqual([expect.stringContaining('does not answer')]);

      disk.recover();
      // The session lives on: sooner or later a request meets a disk that answers.
      let seq = 7;
      for (let errorNumber = ETIMEDOUT; errorNumber === ETIMEDOUT; seq++) {
        expect(seq).toBeLessThan(100_000);
        client.write(request(COMMAND.write, 65_536, 512, seq, Buffer.alloc(512, 9)));
        const answer = await client.reply();
        expect(answer?.seq).toBe(seq);
        errorNumber = answer?.errorNumber ?? -1;
      }
      client.write(request(COMMAND.read, 65_536, 512, seq));
      const answer = await client.reply();
      expect(answer?.body.equals(Buffer.alloc(512, 9))).toBe(true);
      client.close();
      other.close();
    } finally {
      disk.recover();
      await server.close();
      await disk.remove();
      scratch.remove();
    }
  });

  test('does not hold up the end of the server', async () => {
    expect(noHangingDisk()).toBeNull();
    const scratch = makeScratch();
    const disk = await makeHangingDisk(scratch.folder);
    const server = await startServer([disk.path]);
    try {
      const client = await RawClient.mustAttach({ port: server.port, path: disk.path });
      await disk.hang();
      client.write(request(COMMAND.write, 1_048_576, 512, 1, Buffer.alloc(512, 1)));
      await server.sessions.drain(500);
      disk.recover();
      expect(await client.reply()).toBeNull();
    } finally {
      disk.recover();
      await server.close();
      await disk.remove();
      scratch.remove();
    }
  });
});
