import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NbdServer } from '../../../src/server/nbd/nbd-server.js';
import { ListenError } from '../../../src/server/listener.js';
import { FakeClock } from '../../support/fake-clock.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { MemoryLog } from '../../support/memory-log.js';
import { NbdClient } from '../../support/nbd-client.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';

let scratch: Scratch;
let path: string;
const servers: NbdServer[] = [];

beforeEach(() => {
  scratch = makeScratch();
  path = scratch.path('nbd.sock');
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  scratch.remove();
});

function server(mode?: number): NbdServer {
  const made = new NbdServer({
    exports: new Map([['disk', new MemoryDevice()]]),
    listen: [mode === undefined ? { unixPath: path } : { unixPath: path, mode }],
    clock: new FakeClock(),
    log: new MemoryLog(),
  });
  servers.push(made);
  return made;
}

const works = async (): Promise<void> => {
  const client = await NbdClient.connect({ unixPath: path });
  expect(await client.go('disk')).toBeDefined();
  client.destroy();
};

test.each([
  { mode: undefined, permissions: 0o600 },
  { mode: 0o660, permissions: 0o660 },
])('the socket has exactly the permissions asked for: $permissions', async ({ mode, permissions }) => {
  writeFileSync(scratch.path('before'), '');
  await server(mode).start();
  expect(statSync(path).mode % 0o1000).toBe(permissions);
  // What is created afterwards has the permissions that it had before.
  writeFileSync(scratch.path('after'), '');
  expect(statSync(scratch.path('after')).mode).toBe(statSync(scratch.path('before')).mode);
});

test('the socket is gone when the server has ended', async () => {
  const one = server();
  await one.start();
  await one.close();
  expect(existsSync(path)).toBe(false);
});

test('a socket that a killed server left behind is replaced', async () => {
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
  const killed = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(killed.stdout, 'data');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  expect(statSync(path).isSocket()).toBe(true);
  await server().start();
  await works();
});

test('a socket on which another server answers is left to it', async () => {
  await server().start();
  await expect(server().start()).rejects.toThrow(
    /nbd\.sock: another server does; stop it or choose another path/,
  );
  await works();
});

test('something that is no socket is left alone', async () => {
  writeFileSync(path, 'precious');
  await expect(server().start()).rejects.toThrow(/nbd\.sock: there is something else; move it/);
  expect(statSync(path).size).toBe(8);
});

test('a folder that is not there is a ListenError', async () => {
  path = scratch.path('missing/nbd.sock');
  await expect(server().start()).rejects.toBeInstanceOf(ListenError);
});

test('a port that is taken is a ListenError, and no other endpoint stays open', async () => {
  const other = createServer();
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const both = new NbdServer({
    exports: new Map(),
    listen: [{ unixPath: path }, { host: '127.0.0.1', port }],
    clock: new FakeClock(),
    log: new MemoryLog(),
  });
  await expect(both.start()).rejects.toThrow(
    new RegExp(`can't listen on 127.0.0.1 port ${port}: .*EADDRINUSE`),
  );
  expect(existsSync(path)).toBe(false);
  other.close();
});
