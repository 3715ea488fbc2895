import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { killFamily, startOwn, type Running } from '../support/processes.js';
import { RawClient } from '../support/raw-client.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

let scratch: Scratch;
let image: string;
let running: Running[];

beforeEach(() => {
  scratch = makeScratch();
  image = scratch.path('image');
  writeFileSync(image, Buffer.alloc(65_536));
  running = [];
});

afterEach(async () => {
  for (const program of running) if (isRunning(program)) await killFamily(program.pid);
  scratch.remove();
});

const isRunning = ({ child }: Running): boolean => child.exitCode === null && child.signalCode === null;

function serve(...words: readonly string[]): Running {
  const program = startOwn('ggmirror', ['serve', ...words]);
  running.push(program);
  return program;
}

type LogLine = Readonly<Record<string, unknown>>;
const logOf = (program: Running): LogLine[] =>
  program
    .output()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine);

interface Serving {
  readonly program: Running;
  /** Of the start. */
  readonly log: readonly LogLine[];
  readonly port: number;
}

/** Waits until clients can connect. */
async function serving(...words: readonly string[]): Promise<Serving> {
  const program = serve('-p', '0', ...words);
  await until('the last line of the start', () => {
    if (!isRunning(program)) throw new Error(`serve ended: ${program.output()}`);
    // Without a rule one more line tells that nobody else may come in.
    const last = words.includes('--allow') ? '"exported"' : 'reachable from this machine only';
    return program.output().includes(last) && program.output().endsWith('\n');
  });
  const log = logOf(program);
  return { program, log, port: Number(log.find(({ msg }) => msg === 'listening')?.['port']) };
}

describe('what ggmirror serve refuses', () => {
  test.each([
    { what: 'nothing to serve', words: [], says: 'name an image to serve, or an exports file' },
    { what: 'an image and an exports file', words: ['--exports', 'f', 'i'], says: 'exclude each other' },
    { what: '--allow with an exports file', words: ['--exports', 'f', '--allow', '::1'], says: '--exports' },
    { what: 'an unknown option', words: ['--frobnicate', 'i'], says: '--frobnicate' },
    { what: 'a port that is none', words: ['-p', '65536', 'i'], says: 'from 0 to 65535' },
    {
      what: 'a mode that is none',
      words: ['--allow', '10.0.0.1,rx', 'i'],
      says: "--allow 10.0.0.1,rx: 'rx'",
    },
    { what: 'an address that is none', words: ['--allow', '10.0.0.256', 'i'], says: '--allow 10.0.0.256' },
    { what: 'a key without a certificate', words: ['--tls-key', 'k', 'i'], says: 'need a certificate' },
    { what: 'a certificate without a key', words: ['--tls-cert', 'c', 'i'], says: 'needs its private key' },
    {
      what: 'one port for two listeners',
      words: ['--tls-cert', 'c', '--tls-key', 'k', '--tls-port', '3080', 'i'],
      says: '--port and --tls-port are the same',
    },
  ])('$what is a mistake in the command line: one line, status 2', async ({ words, says }) => {
    const program = serve(...words);
    expect(await program.ended).toBe(2);
    expect(program.output()).toContain(says);
    expect(program.output()).toMatch(/^ggmirror: [^\n]+\n$/);
  });

  test.each([
    { what: 'a missing image', words: () => [scratch.path('none')], says: () => scratch.path('none') },
    { what: 'a folder', words: () => [scratch.folder], says: () => scratch.folder },
    {
      what: 'a missing exports file',
      words: () => ['--exports', scratch.path('none')],
      says: () => scratch.path('none'),
    },
    {
      what: 'a bad line in an exports file',
      words: () => ['--exports', withExports('# all is well\n10.0.0.1 RW\n')],
      says: () => `${scratch.path('exports')}:2: too few words`,
    },
    {
      what: 'a certificate that is not there',
      words: () => ['--tls-cert', scratch.path('c'), '--tls-key', scratch.path('k'), image],
      says: () => scratch.path('c'),
    },
    {
      what: 'an address of another machine',
      words: () => ['-a', '192.0.2.1', image],
      says: () => "can't listen on 192.0.2.1 port 0",
    },
  ])('$what is named in one line, with status 1', async ({ words, says }) => {
    const program = serve('-p', '0', '--log-level', 'silent', ...words());
    expect(await program.ended).toBe(1);
    expect(program.output()).toContain(says());
    expect(program.output()).toMatch(/^ggmirror: [^\n]+\n$/);
  });

  function withExports(text: string): string {
    writeFileSync(scratch.path('exports'), text);
    return scratch.path('exports');
  }
});

describe('what ggmirror serve does', () => {
  test('images are for this machine only, and the log tells how to open them', async () => {
    const { log, port } = await serving(image);
    const addresses = log.filter(({ msg }) => msg === 'listening').map(({ address }) => address);
    expect(['127.0.0.1', '::1']).toEqual(expect.arrayContaining(addresses));
    expect(addresses).toContain('127.0.0.1');
    expect(log).toContainEqual(
      expect.objectContaining({ msg: 'serving', path: image, bytes: 65_536, sector: 512 }),
    );
    const hints = log.map(({ msg }) => msg).filter((msg) => String(msg).includes('this machine only'));
    expect(hints).toEqual([
      'reachable from this machine only; add --allow 192.168.1.100 to let another host in',
    ]);
    const client = await RawClient.mustAttach({ port, path: image, from: '127.0.0.2' });
    client.close();
  });

  test('an image is served under its absolute path however it was named', async () => {
    const { port } = await serving(`${scratch.folder}/./x/../image`);
    (await RawClient.mustAttach({ port, path: image })).close();
  });

  test('--allow lets in whom it names, the last one that fits decides, and nobody else', async () => {
    const { log, port } = await serving('--allow', '127.0.0.0/24,ro', '--allow', '127.0.0.3', image);
    expect(log.some(({ msg }) => String(msg).includes('this machine only'))).toBe(false);
    expect(await RawClient.attach({ port, path: image, from: '127.0.0.2' })).toBe(1);
    expect(await RawClient.attach({ port, path: image, from: '127.0.1.1' })).toBe(1);
    (await RawClient.mustAttach({ port, path: image, from: '127.0.0.2', access: 'ro' })).close();
    (await RawClient.mustAttach({ port, path: image, from: '127.0.0.3' })).close();
  });

  test('without -F there is no pid file; with it there is one instance', async () => {
    const pidFile = scratch.path('pid');
    const { program } = await serving('-F', pidFile, image);
    await until('the pid', () => readFileSync(pidFile, 'utf8') === `${program.pid}\n`);
    const second = serve('-p', '0', '-F', pidFile, image);
    expect(await second.ended).toBe(1);
    expect(second.output()).toBe(`ggmirror: Daemon already running, pid: ${program.pid}.\n`);
    await serving(image);
    process.kill(program.pid, 'SIGINT');
    expect(await program.ended).toBe(0);
    expect(existsSync(pidFile)).toBe(false);
  });

  test('a session that is alive at SIGTERM is ended in order, and the exit status is 0', async () => {
    const { program, port } = await serving(image);
    const client = await RawClient.mustAttach({ port, path: image });
    process.kill(program.pid, 'SIGTERM');
    expect(await program.ended).toBe(0);
    await client.send.closed();
    expect(logOf(program).at(-1)?.['msg']).toBe('stopped');
    const session = logOf(program).find(({ msg }) => String(msg).startsWith('attached'));
    expect(session).toMatchObject({ pid: program.pid, sessionPid: expect.any(Number) as number });
    for (const line of program.output().split('\n')) expect(line.split('"pid":').length).toBeLessThan(3);
  });

  test('it lives on when nobody reads its log any more', async () => {
    const { program, port } = await serving(image);
    program.child.stdout?.destroy();
    program.child.stderr?.destroy();
    for (let count = 0; count < 2; count++) {
      (await RawClient.mustAttach({ port, path: image, access: 'ro' })).close();
    }
    expect(isRunning(program)).toBe(true);
  });
});
