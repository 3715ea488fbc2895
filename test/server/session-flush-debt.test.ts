import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMAND } from '../../src/protocol/request.js';
import { FakeClock } from '../support/fake-clock.js';
import type { RawClient } from '../support/raw-client.js';
import { helloOf, RawClients } from '../support/raw-clients.js';
import { request } from '../support/requests.js';
import { type Scratch, makeScratch } from '../support/scratch.js';
import { type TestServer, startServer } from '../support/session-server.js';
import { until } from '../support/until.js';

const IMAGE_BYTES = 65_536;
const EIO = 5;
const REAL_PROGRAM = join(import.meta.dirname, '../../dist/server/session/session-process.js');

/**
 * The real program on a disk whose next flush fails, never ends, or lasts until `trouble` is empty again, when that file
 * says so; it is told of once, as the kernel tells of it.
 */
const programWith = (trouble: string): string => `
  import fs from 'node:fs';
  import { syncBuiltinESMExports } from 'node:module';
  const real = fs.fdatasync;
  const until = (isSo, then) => (isSo() ? then() : setTimeout(until, 5, isSo, then));
  fs.fdatasync = (fd, done) => {
    const what = fs.readFileSync(${JSON.stringify(trouble)}, 'utf8');
    fs.writeFileSync(${JSON.stringify(trouble)}, what === '' ? '' : 'met');
    if (what === 'fails') done(Object.assign(new Error('EIO'), { code: 'EIO' }));
    else if (what === 'lasts') until(() => fs.readFileSync(${JSON.stringify(trouble)}, 'utf8') === '', () => real(fd, done));
    else if (what !== 'hangs') real(fd, done);
  };
  syncBuiltinESMExports();
  await import(${JSON.stringify(pathToFileURL(REAL_PROGRAM).href)});
`;

describe('a flush of a session on a file that nobody was told of', () => {
  let scratch: Scratch;
  let image: string;
  let trouble: string;
  let server: TestServer;
  let start: () => Promise<TestServer>;
  const clients = new RawClients(() => ({ port: server.port, path: image }));

  beforeEach(async () => {
    scratch = makeScratch();
    image = scratch.path('a.img');
    trouble = scratch.path('trouble');
    writeFileSync(image, Buffer.alloc(IMAGE_BYTES, 1));
    writeFileSync(trouble, '');
    const program = scratch.path('session.mjs');
    writeFileSync(program, programWith(trouble));
    expect(existsSync(REAL_PROGRAM)).toBe(true);
    start = () => startServer([image], { program, flushNotes: scratch.path('run') });
    server = await start();
  });

  afterEach(async () => {
    clients.close();
    await server.close();
    scratch.remove();
  });

  const met = (): Promise<unknown> =>
    until('the trouble', () => (readFileSync(trouble, 'utf8') === 'met' ? true : undefined));

  async function errnoOf(client: RawClient, bytes: Buffer): Promise<number | undefined> {
    client.write(bytes);
    return (await client.reply())?.errorNumber;
  }

  const write = request(COMMAND.write, 0, 512, 1, Buffer.alloc(512, 7));
  const flush = request(COMMAND.flush, 0, 0, 2);
  const attach = (): Promise<RawClient> => clients.attach({ hello: helloOf(1) });

  async function writer(): Promise<RawClient> {
    const client = await attach();
    expect(await errnoOf(client, write)).toBe(0);
    return client;
  }

  const allEnded = (): Promise<unknown> =>
    until('the end of the session', async () => (await server.sessions.list()).length === 0);

  async function detached(client: RawClient): Promise<void> {
    client.close();
    await allEnded();
  }

  /** Its session process is killed while its flush is under way. */
  async function killedInFlush(client: RawClient): Promise<void> {
    writeFileSync(trouble, 'hangs');
    client.write(flush);
    await met();
    const [status] = await server.sessions.list();
    if (status === undefined || status.pid < 2) throw new Error('no session to kill');
    process.kill(status.pid, 'SIGKILL');
    await detached(client);
  }

  /** Of two flushes of the next client. */
  async function nextErrnos(): Promise<(number | undefined)[]> {
    writeFileSync(trouble, '');
    const next = await attach();
    return [await errnoOf(next, flush), await errnoOf(next, flush)];
  }

  /** The server is another one from now on, which knows nothing but what is noted. */
  async function restart(): Promise<void> {
    await server.close();
    server = await start();
  }

  const notes = (): string[] => readdirSync(scratch.path('run'));

  test('because it failed at the end, fails the first flush of the next one', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    await detached(first);
    await met();
    expect(await nextErrnos()).toEqual([EIO, 0]);
  });

  test('because its client was lost with the answer, fails the first flush of the next one', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    expect(await errnoOf(first, flush)).toBe(EIO);
    first.receive.socket.resetAndDestroy();
    await detached(first);
    expect(await nextErrnos()).toEqual([EIO, 0]);
  });

  test('because its client was lost with that answer and the next, fails the first flush of the next one', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    expect(await errnoOf(first, flush)).toBe(EIO);
    expect(await errnoOf(first, flush)).toBe(0);
    first.receive.socket.resetAndDestroy();
    await detached(first);
    expect(await nextErrnos()).toEqual([EIO, 0]);
  });

  test('because its process was killed in the middle, fails the first flush of the next one', async () => {
    await killedInFlush(await writer());
    expect(await nextErrnos()).toEqual([EIO, 0]);
  });

  test('is not forgotten by sessions that do not flush, nor told to those that only read', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    await detached(first);
    await met();
    writeFileSync(trouble, '');
    await detached(await attach());
    const reader = await clients.attach({ hello: helloOf(2), access: 'ro' });
    expect(await errnoOf(reader, flush)).toBe(0);
    expect(await nextErrnos()).toEqual([EIO, 0]);
  });

  test('is known to a server that was started since, and paid once', async () => {
    await killedInFlush(await writer());
    await restart();
    expect(await nextErrnos()).toEqual([EIO, 0]);
    clients.close();
    // A session that its server stops before it has seen its client go does not know whether that one read the answer.
    await allEnded();
    await restart();
    expect(notes()).toEqual([]);
    expect(await nextErrnos()).toEqual([0, 0]);
  });

  test('is known so, too, when it failed and its client was lost with the answer; not when that was told', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    expect(await errnoOf(first, flush)).toBe(EIO);
    first.receive.socket.resetAndDestroy();
    await detached(first);
    await restart();
    writeFileSync(trouble, '');
    const next = await attach();
    expect(await errnoOf(next, flush)).toBe(EIO);
    await detached(next);
    await restart();
    expect(await nextErrnos()).toEqual([0, 0]);
  });

  test('is none when the same client comes back while that flush takes long: the old session is not cut off', async () => {
    const clock = new FakeClock();
    await server.close();
    server = await startServer([image], { program: scratch.path('session.mjs'), clock });
    const first = await writer();
    writeFileSync(trouble, 'lasts');
    first.write(flush);
    await met();
    const coming = attach();
    await until('the end of the old session to begin', () => server.sessions.sessions[0]?.isEnding);
    // In two steps, between which whoever has waited in vain decides what to do.
    clock.advance(2000);
    await new Promise(setImmediate);
    clock.advance(5000);
    writeFileSync(trouble, '');
    const next = await coming;
    expect([await errnoOf(next, flush), await errnoOf(next, flush)]).toEqual([0, 0]);
  });

  test('is none when its client was told and has ended its session', async () => {
    const first = await writer();
    writeFileSync(trouble, 'fails');
    expect(await errnoOf(first, flush)).toBe(EIO);
    await detached(first);
    expect(await nextErrnos()).toEqual([0, 0]);
  });
});
