import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { native } from '../../src/device/platform/native.js';
import { openRemote } from '../../src/client/remote-device.js';
import { FakeServer } from '../support/fake-server.js';
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

/** Whether what the kernel has not sent is dropped when it is closed. Source: Linux, asm-generic/socket.h, SO_LINGER. */
function isDroppedAtClose(socket: Socket): boolean {
  const memory = Buffer.alloc(8);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(memory.length);
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  native()?.call('getsockopt', fd, 1, 13, memory, size);
  return memory.equals(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
}

// A ggated lets anybody in at any time; a server of ours has to know that it was no end in order, on whichever half it looks.
test.skipIf(native()?.system !== 'linux').each([
  { server: 'a ggated', isGgmirror: false, expected: [false, true] },
  { server: 'a server of ours', isGgmirror: true, expected: [true, true] },
])('what a killed client has sent to $server is dropped: $expected', async ({ isGgmirror, expected }) => {
  const to = await FakeServer.listen();
  if (!isGgmirror) to.behaviour.hello = null;
  const sockets: Socket[] = [];
  const device = await openRemote({
    uri: { host: '127.0.0.1', port: to.port, path: '/x', isTls: false },
    access: 'rw',
    connectTcp: (options) => {
      const socket = connect(options);
      sockets.push(socket);
      return socket;
    },
  });
  try {
    expect(sockets.map(isDroppedAtClose)).toEqual(expected);
  } finally {
    await device.close();
    await to.close();
  }
});
