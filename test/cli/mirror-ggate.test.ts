import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRemote } from '../../src/client/remote-device.js';
import { createImage } from '../../src/device/file-device.js';
import { pattern, readBytes, writeBytes } from '../support/device-requests.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { killFamily } from '../support/processes.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/until.js';

const EBUSY = 16;
const EPERM = 1;
const PATH = '/dev/mirror/data';

let world: MirrorWorld;

beforeEach(async () => (world = await MirrorWorld.make()));
afterEach(async () => await world.close());

/** Where ggate clients come in. */
async function ggatePort(): Promise<number> {
  const port = (await world.status()).ggate?.addresses[0]?.port;
  if (port === undefined) throw new Error('the mirror is not served over ggate');
  return port;
}

async function attempt(port: number, access: 'ro' | 'wo' | 'rw' = 'rw'): Promise<RawClient | number> {
  return await RawClient.attach({ port, path: PATH, access });
}

describe('a running mirror over ggate', () => {
  test('is off unless it is asked for, and what makes no sense without it is refused', async () => {
    await world.startMirror();
    expect((await world.status()).ggate).toBeNull();
    const { code, stderr } = await world.run('start', '--allow', '10.0.0.0/8', 'other', world.local);
    expect({ code, stderr }).toMatchObject({ code: 2 });
    expect(stderr).toContain('--ggate-port');
  });

  test('is a disk like any other to info, copy and bench, and both components hold what was copied', async () => {
    await world.startMirror('--ggate-port', '0');
    const port = await ggatePort();
    const uri = `ggate://127.0.0.1:${port}${PATH}`;
    const { mediaSizeBytes } = await world.status();
    const info = JSON.parse(await world.succeed('info', '--json', uri)) as Record<string, unknown>;
    expect(info).toMatchObject({ mediaSizeBytes });
    expect(await world.succeed('list', 'data')).toContain(`Ggate: ${uri}`);
    const source = world.scratch.path('source.img');
    writeFileSync(source, randomBytes(8 * 1_048_576));
    await world.succeed('copy', '--force', '--verify', source, uri);
    await world.succeed('bench', '-V', '--mode', 'mix', '--force', '--time', '1', uri);
    const { ofLocal, ofBackup } = await world.stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);
  });

  test('has one writer: a second one, and NBD beside it, are refused, readers are not', async () => {
    await world.startMirror('--ggate-port', '0');
    const port = await ggatePort();
    const nbd = await world.attach();
    expect(await attempt(port)).toBe(EBUSY);
    const reader = await attempt(port, 'ro');
    expect(typeof reader).not.toBe('number');
    nbd.socket.destroy();
    const writer = await until('the place of the NBD client', async () => {
      const outcome = await attempt(port);
      return typeof outcome === 'number' ? null : outcome;
    });
    await expect(world.attach()).rejects.toThrow();
    const refused = await world.run('stop', 'data');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('in use by 2 clients');
    writer.close();
    if (typeof reader !== 'number') reader.close();
    await until('an unused mirror', async () => (await world.status()).clients === 0);
    (await world.attach()).socket.destroy();
  });

  test('lets in whom --allow names, and as it says', async () => {
    await world.startMirror('--ggate-port', '0', '--ggate-address', '127.0.0.1', '--allow', '127.0.0.1,ro');
    const port = await ggatePort();
    expect(await attempt(port)).toBe(EPERM);
    expect(await RawClient.attach({ port, path: PATH, access: 'ro', from: '127.0.0.2' })).toBe(EPERM);
    const reader = await attempt(port, 'ro');
    expect(typeof reader).not.toBe('number');
    if (typeof reader !== 'number') reader.close();
  });

  test('loses no acknowledged write when its daemon is killed and started again under a client', async () => {
    await world.startMirror('--ggate-port', '0');
    const port = await ggatePort();
    const uri = { host: '127.0.0.1', port, path: PATH, isTls: false };
    const device = await openRemote({ uri, access: 'rw', backoff: { firstMs: 20, maxMs: 200 } });
    try {
      for (let index = 0; index < 32; index++) await writeBytes(device, index * 65_536, pattern(4096, index));
      await killFamily((await world.status()).pid);
      const late = writeBytes(device, 4 * 1_048_576, pattern(4096, 99));
      await world.succeed('start', '--ggate-port', String(port), 'data', world.local, world.uri);
      await late;
      for (let index = 0; index < 32; index++) {
        const found = await readBytes(device, { offsetBytes: index * 65_536, lengthBytes: 4096 });
        expect(found.equals(pattern(4096, index))).toBe(true);
      }
    } finally {
      await device.close();
    }
    await world.untilState('COMPLETE');
    const { ofLocal, ofBackup } = await world.stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);
  });

  test('is a component of another mirror', async () => {
    await world.startMirror('--ggate-port', '0');
    const port = await ggatePort();
    const outerImage = world.scratch.path('outer.img');
    await createImage(outerImage, 16 * 1_048_576);
    const inner = `ggate://127.0.0.1:${port}${PATH}`;
    await world.succeed('label', '-b', 'prefer', 'outer', outerImage, inner);
    await world.succeed('start', '--ggate-port', '0', 'outer', outerImage, inner);
    const outer = JSON.parse(await world.succeed('status', '--json', 'outer')) as [
      { pid: number; ggate: { addresses: [{ port: number }] } },
    ];
    try {
      const source = world.scratch.path('source.img');
      writeFileSync(source, randomBytes(4 * 1_048_576));
      const uri = `ggate://127.0.0.1:${outer[0].ggate.addresses[0].port}/dev/mirror/outer`;
      await world.succeed('copy', '--force', '--verify', source, uri);
      await until('an unused mirror', async () => {
        const [now] = JSON.parse(await world.succeed('status', '--json', 'outer')) as [{ clients: number }];
        return now.clients === 0;
      });
      await world.succeed('stop', 'outer');
    } finally {
      await killFamily(outer[0].pid).catch(() => undefined /* it has ended in order */);
    }
    const { ofLocal, ofBackup } = await world.stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);
  });
});
