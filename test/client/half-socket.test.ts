import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRemote } from '../../src/client/remote-device.js';
import { until } from '../support/until.js';

/** Open sockets of this process, on both sides. */
const socketCount = (): number =>
  process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length;

let server: Server;
let serve: (socket: Socket) => void;

beforeEach(async () => {
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise<void>((resolve) => server.close(() => resolve())));

test.each<[string, (socket: Socket) => void]>([
  ['at once', (socket) => socket.end()],
  ['when it is spoken to', (socket) => socket.once('data', () => socket.end())],
  ['in the middle of its answer', (socket) => socket.once('data', () => socket.end('GEOM'))],
  ['with a reset', (socket) => socket.once('data', () => socket.resetAndDestroy())],
])('a server that ends the connection %s leaves no socket open here', async (_when, ends) => {
  serve = ends;
  const before = socketCount();
  const { port } = server.address() as AddressInfo;
  const uri = { host: '127.0.0.1', port, path: '/x', isTls: false };
  await expect(openRemote({ uri, access: 'ro', giveUpMs: 0 })).rejects.toMatchObject({ code: 'DEVICE_OPEN' });
  await until('closed sockets', () => socketCount() === before);
});
