import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import {
  ListenError,
  Listener,
  logAcceptErrors,
  type Arrival,
  type ListenEndpoint,
} from '../../src/server/listener.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryLog } from '../support/memory-log.js';
import { until } from '../support/until.js';

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const run of cleanUp.splice(0)) run();
});

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((network) => network?.address === '::1');
const plain = (address: ListenEndpoint['address'], port = 0): ListenEndpoint => ({
  address,
  port,
  isTls: false,
});

function create(...endpoints: ListenEndpoint[]): { listener: Listener; arrivals: Arrival[] } {
  const arrivals: Arrival[] = [];
  const listener = new Listener({
    endpoints,
    tls: null,
    noDelay: true,
    clock: new FakeClock(),
    log: new MemoryLog(),
    arrived: (arrival) => arrivals.push(arrival),
  });
  cleanUp.push(() => {
    listener.close();
    for (const { raw } of arrivals) raw.destroy();
  });
  return { listener, arrivals };
}

async function connectTo(host: string, port: number | undefined): Promise<Socket> {
  const socket = connect({ host, port: port ?? 0 });
  cleanUp.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

describe('listening', () => {
  test('on loopback is on 127.0.0.1 and, where there is one, on the same port of ::1', async () => {
    const { listener, arrivals } = create(plain('loopback'));
    const addresses = await listener.start();
    const port = addresses[0]?.port;
    expect(addresses).toEqual(
      ['127.0.0.1', ...(hasIpv6 ? ['::1'] : [])].map((address) => ({ address, port, isTls: false })),
    );
    for (const { address } of addresses) await connectTo(address, port);
    await until('all to arrive', () => arrivals.length === addresses.length);
    const [arrival] = arrivals;
    expect(await arrival?.secured).toBe(arrival?.raw);
  });

  test('on any address takes IPv4 and, where there is IPv6, that too', async () => {
    const { listener, arrivals } = create(plain('any'));
    const [address] = await listener.start();
    const hosts = ['127.0.0.1', ...(hasIpv6 ? ['::1'] : [])];
    for (const host of hosts) await connectTo(host, address?.port);
    await until('all to arrive', () => arrivals.length === hosts.length);
  });

  test('on a taken port is an error that names it, and leaves nothing open', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    cleanUp.push(() => other.close());
    const taken = (other.address() as AddressInfo).port;
    const { port: free } = await freePort();
    const { listener } = create(plain({ host: '127.0.0.1' }, free), plain({ host: '127.0.0.1' }, taken));
    const failure: unknown = await listener.start().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ListenError);
    expect((failure as ListenError).message).toContain(`can't listen on 127.0.0.1 port ${taken}: `);
    await expect(connectTo('127.0.0.1', free)).rejects.toThrow('ECONNREFUSED');
  });

  test('on an address that this machine does not have is an error that names it', async () => {
    const { listener } = create(plain({ host: '192.0.2.1' }));
    await expect(listener.start()).rejects.toThrow(/^can't listen on 192\.0\.2\.1 port 0: .*EADDRNOTAVAIL/);
  });

  test('ends at once, while connections go on', async () => {
    const { listener, arrivals } = create(plain({ host: '127.0.0.1' }));
    const [address] = await listener.start();
    const client = await connectTo('127.0.0.1', address?.port);
    await until('it to arrive', () => arrivals.length === 1);
    listener.close();
    listener.close();
    await expect(connectTo('127.0.0.1', address?.port)).rejects.toThrow('ECONNREFUSED');
    arrivals[0]?.raw.write('still here');
    const [chunk] = (await once(client, 'data')) as [Buffer];
    expect(String(chunk)).toBe('still here');
  });
});

describe('accept()', () => {
  test('may fail as often as it likes: one line a minute, and the server goes on', async () => {
    const server: Server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanUp.push(() => server.close());
    const clock = new FakeClock();
    const log = new MemoryLog();
    logAcceptErrors(server, log, clock);
    // What Node does when accept() gives EMFILE.
    const fail = (): boolean =>
      server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    for (let count = 0; count < 1_000; count++) fail();
    clock.advance(60_000);
    fail();
    expect(log.lines).toMatchObject([
      { level: 'error', fields: { error: 'accept EMFILE' } },
      { level: 'error', fields: { error: 'accept EMFILE', suppressed: 999 } },
    ]);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    await connectTo('127.0.0.1', (server.address() as AddressInfo).port);
    (await accepted)[0].destroy();
  });
});

/** A port that was free a moment ago. */
async function freePort(): Promise<{ port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return { port };
}
