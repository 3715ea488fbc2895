import { afterEach, beforeEach, expect, test } from 'vitest';
import { NBD_COMMAND } from '../../src/protocol/nbd.js';
import { FakeServer } from '../support/fake-server.js';
import { MirrorWorld } from '../support/mirror-world.js';

const EIO = 5;

let world: MirrorWorld;
let plain: FakeServer;

beforeEach(async () => {
  world = await MirrorWorld.make({ name: 'm', imageBytes: 1_048_576 });
  plain = await FakeServer.listen({ mediaSizeBytes: 8 * 1_048_576, hello: null, abortsOnFlush: true });
});
afterEach(async () => {
  await world.close();
  await plain.close();
});

async function flushed(): Promise<number> {
  const client = await world.attach();
  const { errno } = await client.request({ command: NBD_COMMAND.flush });
  await client.disconnect();
  return errno;
}

test('a mirror of nothing but a ggated before FreeBSD 14 fails flushes and says so, or answers them as the administrator has it', async () => {
  const uri = `ggate://127.0.0.1:${plain.port}/disk.img`;
  await world.succeed('label', 'm', uri);
  const refused = 'mirror/m: flushes fail: no component in step can flush';
  expect(await world.succeed('start', 'm', uri)).toContain(refused);
  const { pid } = await world.status();
  expect(await flushed()).toBe(EIO);
  expect(await world.succeed('status')).toContain(refused);
  expect(await world.run('status', '--check')).toMatchObject({ code: 4 });
  await world.succeed('stop', 'm');
  await world.untilEnded(pid);

  const answered =
    'mirror/m: flushes are answered and kept by nobody (unsafe-flush): no component in step can flush';
  expect(await world.succeed('start', '--unsafe-flush', 'm', uri)).toContain(answered);
  await world.status();
  expect(await flushed()).toBe(0);
  expect(await world.run('status', '--check')).toMatchObject({ code: 0 });
});
