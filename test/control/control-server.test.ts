import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { askMirror, NotRunningError } from '../../src/control/control-client.js';
import { type ControlRequest, parseRequest } from '../../src/control/commands/all.js';
import { ControlError } from '../../src/control/control-error.js';
import { ControlServer } from '../../src/control/control-server.js';
import { CONNECTIONS_MAX, IDLE_MS, REQUEST_BYTES_MAX } from '../../src/control/limits.js';
import { systemClock } from '../../src/device/clock.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryLog } from '../support/memory-log.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { PATIENCE_MS, until } from '../support/until.js';

const ASKING = { clock: systemClock, timeoutMs: PATIENCE_MS };

let scratch: Scratch;
let path: string;
let log: MemoryLog;
let clock: FakeClock;
let server: ControlServer<ControlRequest>;
let asked: ControlRequest[];
let answer: (request: ControlRequest) => Promise<unknown>;

beforeEach(async () => {
  scratch = makeScratch();
  path = scratch.path('data.ctl');
  log = new MemoryLog();
  clock = new FakeClock();
  asked = [];
  answer = () => Promise.resolve({ state: 'COMPLETE' });
  const handle = (request: ControlRequest): Promise<unknown> => {
    asked.push(request);
    return answer(request);
  };
  server = new ControlServer({ path, parse: parseRequest, handle, clock, log });
  await server.start();
});

afterEach(async () => {
  await server.close();
  scratch.remove();
});

/** Sends bytes and resolves with all that comes until the server closes. */
async function send(bytes: string | Buffer): Promise<string> {
  const socket = connect({ path });
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  socket.write(bytes);
  // once() would take an EPIPE for the end.
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

test('a request gets its answer, and the socket is for its owner and a group only', async () => {
  expect(await askMirror(path, { command: 'status' }, ASKING)).toEqual({ state: 'COMPLETE' });
  expect(statSync(path).mode % 0o1000).toBe(0o660);
  expect(statSync(path).gid).toBe(statSync(scratch.folder).gid);
});

test('a request that is refused is told to the person, and the daemon goes on', async () => {
  answer = () => Promise.reject(new ControlError('it has the only good copy'));
  const refused = askMirror(path, { command: 'rebuild', component: 'a' }, ASKING);
  await expect(refused).rejects.toThrow(new ControlError('it has the only good copy'));
  expect(asked).toEqual([{ command: 'rebuild', component: 'a' }]);
  expect(log.lines).toEqual([]);
});

test('a bug behind a request is an answer too', async () => {
  answer = () => Promise.reject(new Error('bug: that can not be'));
  await expect(askMirror(path, { command: 'status' }, ASKING)).rejects.toThrow('that can not be');
  expect(log.at('error')).toHaveLength(1);
});

test.each([
  { what: 'no JSON', bytes: 'GET / HTTP/1.1\r\n' },
  { what: 'an array', bytes: '[]\n' },
  { what: 'null', bytes: 'null\n' },
  { what: 'an unknown command', bytes: '{"command":"format"}\n' },
  { what: 'a rebuild of nothing', bytes: '{"command":"rebuild"}\n' },
  { what: 'a rebuild of a number', bytes: '{"command":"rebuild","component":7}\n' },
  { what: 'a line without end', bytes: 'x'.repeat(REQUEST_BYTES_MAX + 1) },
  { what: 'a line that is too long', bytes: `{"command":"status","x":"${'x'.repeat(REQUEST_BYTES_MAX)}"}\n` },
  { what: 'bytes', bytes: Buffer.from([0, 255, 10, 13, 10]) },
])('$what ends that connection and no other', async ({ bytes }) => {
  const other = connect({ path });
  await once(other, 'connect');
  expect(await send(bytes)).toBe('');
  expect(asked).toEqual([]);
  expect(log.at('warn')).toHaveLength(1);
  other.write('{"command":"status"}\n');
  const [chunk] = (await once(other, 'data')) as [Buffer];
  expect(chunk.toString()).toBe('{"ok":true,"result":{"state":"COMPLETE"}}\n');
  other.destroy();
});

test('several requests in pieces are answered in order', async () => {
  const socket = connect({ path });
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const both = '{"command":"status"}\n{"command":"stop"}\n';
  for (const byte of both) {
    socket.write(byte);
    await new Promise(setImmediate);
  }
  socket.end();
  await once(socket, 'close');
  expect(asked).toEqual([{ command: 'status' }, { command: 'stop', isForced: false }]);
  expect(text.split('\n')).toHaveLength(3);
});

test('who says nothing is let go', async () => {
  const socket = connect({ path });
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  await until('the connection', () => clock.timerCount === 1);
  clock.advance(IDLE_MS);
  await closed;
});

test('there is a limit to connections, and room again when they go', async () => {
  const sockets = Array.from({ length: CONNECTIONS_MAX }, () => connect({ path }));
  await until('all connections', () => clock.timerCount === CONNECTIONS_MAX);
  expect(await send('{"command":"status"}\n')).toBe('');
  for (const socket of sockets) socket.destroy();
  await until('their end', () => clock.timerCount === 0);
  expect(await askMirror(path, { command: 'status' }, ASKING)).toEqual({ state: 'COMPLETE' });
});

test('an end waits until what was asked is answered', async () => {
  let stopped: () => void = () => undefined;
  answer = () => new Promise<void>((resolve) => (stopped = resolve));
  const asking = askMirror(path, { command: 'stop', isForced: true }, ASKING);
  await until('the request', () => asked.length === 1);
  const closing = server.close();
  stopped();
  expect(await asking).toBeUndefined();
  await closing;
});

test('a mirror that does not run, and one that does not answer, are told apart', async () => {
  await expect(askMirror(scratch.path('none.ctl'), { command: 'status' }, ASKING)).rejects.toThrow(
    NotRunningError,
  );
  answer = () => new Promise(() => undefined);
  const asking = new FakeClock();
  const silent = askMirror(path, { command: 'status' }, { clock: asking, timeoutMs: 1_000 });
  await until('the request', () => asked.length === 1);
  asking.advance(1_000);
  await expect(silent).rejects.toThrow('no answer within 1 s');
  const closing = server.close();
  clock.advance(10_000);
  await closing;
});
