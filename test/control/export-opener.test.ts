import { Socket, type SocketConstructorOpts } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ExportOptions, openExport } from '../../src/control/export-opener.js';
import { OwnClients } from '../../src/control/own-client.js';
import type { BlockDevice } from '../../src/device/block-device.js';
import { systemRandom } from '../../src/device/random.js';
import { readBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { FakeServer } from '../support/fake-server.js';
import { until } from '../support/until.js';

let server: FakeServer;
let clock: FakeClock;
let device: BlockDevice | null;
/** Connections that are not made before letIn(); from then on all are made. */
let waiting: (() => void)[];
let isOpenToAll: boolean;
function letIn(): void {
  isOpenToAll = true;
  waiting.forEach((connect) => connect());
}

beforeEach(async () => {
  server = await FakeServer.listen({});
  [clock, device, waiting, isOpenToAll] = [new FakeClock(), null, [], false];
});
afterEach(async () => {
  server.behaviour.answers = true;
  const closed = device?.close();
  await server.close();
  await closed;
});

async function open(timeoutMs: number): Promise<void> {
  const uri = { host: '127.0.0.1', port: server.port, path: '/disk.img', isTls: false };
  const connectTcp: ExportOptions['connectTcp'] = (options) => {
    // Where what it reads goes is told to the constructor, which the types do not know.
    const socket = new Socket(options as SocketConstructorOpts);
    if (isOpenToAll) socket.connect(options);
    else waiting.push(() => socket.connect(options));
    return socket;
  };
  const clients = new OwnClients(systemRandom);
  ({ device } = await openExport('backup', uri, {
    timeoutMs,
    tls: {},
    clock,
    connectTcp,
    clients,
    access: 'rw',
  }));
}

const isWaiting = (): Promise<unknown> => until('a connection', () => waiting.length > 0);

describe('a component of an export', () => {
  test('with a time-out of a second has ten to connect, and is silent after one', async () => {
    const opening = open(1000);
    await isWaiting();
    clock.advance(9000);
    letIn();
    await opening;
    server.behaviour.answers = false;
    if (device === null) throw new Error('it is open');
    const reading = readBytes(device, { offsetBytes: 0, lengthBytes: 512 });
    await until('the request', () => server.sessions.some(({ requests }) => requests.length > 0));
    clock.advance(1000);
    await expect(reading).rejects.toMatchObject({ code: 'DEVICE_TIMEOUT' });
  });

  test.each([
    [1000, 10_000],
    [30_000, 30_000],
  ])('with a time-out of %i ms is given up when it has not connected in %i', async (timeoutMs, connectMs) => {
    let end: unknown = null;
    const opening = open(timeoutMs).catch((error: unknown) => (end = error));
    await isWaiting();
    clock.advance(connectMs - 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(end).toBeNull();
    clock.advance(1);
    await opening;
    expect(end).toMatchObject({ code: 'DEVICE_TIMEOUT' });
  });
});
