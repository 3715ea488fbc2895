import { afterEach, beforeEach, expect, test } from 'vitest';
import { providerOpener } from '../../src/control/provider-openers.js';
import { systemClock } from '../../src/device/clock.js';
import { request } from '../../src/device/request.js';
import type { OpenedProvider, ProviderOpener } from '../../src/mirror/area/provider.js';
import { CountingProxy } from '../support/counting-proxy.js';
import { type DeviceServer, serveDevices } from '../support/device-server.js';
import { FaultDevice } from '../support/fault-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { until } from '../support/until.js';

const PATH = '/dev/data';
const RANGE = { offsetBytes: 0, lengthBytes: 512 };
const REFUSED = { code: 'DEVICE_REFUSED', errno: 'EBUSY' };

let memory: MemoryDevice;
let disk: FaultDevice;
let server: DeviceServer;
let cable: CountingProxy;
let opened: OpenedProvider[];

beforeEach(async () => {
  memory = new MemoryDevice();
  disk = new FaultDevice(memory, () => null);
  // However long the test takes, to the server nobody is silent.
  const clock = { ...systemClock, nowMs: () => 0 };
  server = await serveDevices(new Map([[PATH, disk]]), { clock });
  cable = await CountingProxy.listen(server.port);
  opened = [];
});

afterEach(async () => {
  disk.release();
  for (const { abandon } of opened) abandon?.();
  await cable.close();
  await server.close();
});

/** One component, as a mirror names it. */
const component = (): ProviderOpener => {
  const provider = `ggate://127.0.0.1:${cable.port}${PATH}`;
  const spec = { provider, area: null, priority: null, timeoutMs: null };
  return providerOpener(spec, { timeoutMs: 60_000, tls: {}, clock: systemClock });
};

async function open(opener: ProviderOpener): Promise<OpenedProvider> {
  const one = await opener.open();
  opened.push(one);
  return one;
}

/** Nothing of it arrives any more, and its mirror has given it up; its server knows nothing of that. */
function lose({ abandon }: OpenedProvider): void {
  cable.lose();
  abandon?.();
}

test('a component takes the session over at once that it has left behind a silent cable', async () => {
  const opener = component();
  lose(await open(opener));
  const again = await open(opener);
  await request(again.device, 'write', RANGE, Buffer.alloc(512, 7));
  expect(server.sessions.sessions).toHaveLength(1);
  lose(again);
  await open({ ...opener, priority: 3 });
});

test('it is in when the last write that it had left there is done', async () => {
  const opener = component();
  const first = await open(opener);
  disk.plan = ({ op }) => (op === 'write' ? { kind: 'hold' } : null);
  request(first.device, 'write', RANGE, Buffer.alloc(512, 1)).catch(() => undefined);
  await until('the write at the disk', () => disk.heldCount === 1);
  lose(first);
  let isIn = false;
  const coming = open(opener).finally(() => (isIn = true));
  coming.catch(() => undefined);
  await until('the takeover', () =>
    server.log.lines.some(({ message }) => message.includes('its old session is ended')),
  );
  expect(isIn).toBe(false);
  disk.plan = () => null;
  disk.release();
  // A server whose process stood still meanwhile refuses, for it waits for two seconds; then it is free.
  const again = await coming.catch(() => until('the session', () => open(opener).catch(() => null)));
  await request(again.device, 'write', RANGE, Buffer.alloc(512, 2));
  expect(memory.data.subarray(0, 512)).toEqual(Buffer.alloc(512, 2));
});

test('two components of one process keep each other out, also behind a silent cable', async () => {
  const first = await open(component());
  await expect(open(component())).rejects.toMatchObject(REFUSED);
  await request(first.device, 'write', RANGE, Buffer.alloc(512, 1));
  lose(first);
  await expect(open(component())).rejects.toMatchObject(REFUSED);
});

test('what a component has open is not taken from it by opening it once more', async () => {
  const opener = component();
  const first = await open(opener);
  await expect(open(opener)).rejects.toMatchObject(REFUSED);
  await request(first.device, 'write', RANGE, Buffer.alloc(512, 1));
  await first.device.close();
  await open(opener);
});
