import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCli, startCli, type CliResult } from '../support/cli.js';
import { CountingProxy } from '../support/counting-proxy.js';
import { connectOnce, freePort } from '../support/ports.js';
import { killFamily, startOwn, type Running } from '../support/processes.js';
import { ServedScratch } from '../support/served-scratch.js';
import { startServer } from '../support/session-server.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
/** More than sockets hold, so that answers have to wait for their reader. */
const SIZE = 24 * MIB;

let scratch: ServedScratch;
beforeEach(() => {
  scratch = new ServedScratch();
});
afterEach(() => scratch.close());

/** Data, then a hole. */
function makeImage(name: string, dataBytes = SIZE / 2): string {
  const path = scratch.path(name);
  writeFileSync(path, randomBytes(dataBytes));
  truncateSync(path, SIZE);
  return path;
}

function makeEmpty(name: string, sizeBytes = SIZE): string {
  const path = scratch.path(name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

const serve = (path: string, allow: readonly string[] = []): Promise<string> => scratch.serve(path, allow);

const state = (): Record<string, string> => ({ XDG_STATE_HOME: scratch.path('state') });
const cli = (...words: string[]): Promise<CliResult> => runCli(words, state());

const isSame = (a: string, b: string): boolean => readFileSync(a).equals(readFileSync(b));

describe('ggmirror copy', () => {
  test('copies an image to a server, verifies it by checksum and leaves no state behind', async () => {
    const from = makeImage('from.img');
    const uri = await serve(makeEmpty('to.img'));
    const result = await cli('copy', '--verify', '--json', from, uri);
    expect(result).toMatchObject({ code: 0 });
    expect(isSame(from, scratch.path('to.img'))).toBe(true);
    expect(JSON.parse(result.stdout)).toMatchObject({
      from,
      to: uri,
      mediaSizeBytes: SIZE,
      startBytes: 0,
      writtenBytes: SIZE / 2,
      reconnects: 0,
      isDurable: true,
      verified: { how: 'checksums', differentRegions: 0 },
    });
    expect(existsSync(scratch.path('state/ggmirror'))).toBe(true);
    expect(spawnSync('ls', [scratch.path('state/ggmirror')], { encoding: 'utf8' }).stdout).toBe('');
  });

  test('copies from a server into a new sparse file, in one connection', async () => {
    const from = makeImage('from.img');
    const uri = await serve(from);
    const to = scratch.path('to.img');
    const result = await cli('copy', '--verify', '--json', uri, to);
    expect(result).toMatchObject({ code: 0 });
    expect(JSON.parse(result.stdout)).toMatchObject({ reconnects: 0, skippedBytes: SIZE / 2 });
    expect(isSame(from, to)).toBe(true);
    expect(statSync(to).blocks * 512).toBeLessThan(SIZE);
    expect(existsSync(`${to}.ggmirror-copy`)).toBe(false);
  });

  test('copies from server to server', async () => {
    const from = makeImage('from.img');
    const other = await startServer([makeEmpty('to.img')]);
    try {
      const fromUri = await serve(from);
      const toUri = `ggate://127.0.0.1:${other.port}${scratch.path('to.img')}`;
      expect(await cli('copy', '-q', '--verify', fromUri, toUri)).toMatchObject({ code: 0, stderr: '' });
      expect(isSame(from, scratch.path('to.img'))).toBe(true);
    } finally {
      await other.close();
    }
  });

  test('refuses a target that holds data, says which, and obeys --force', async () => {
    const from = makeImage('from.img');
    const to = makeImage('to.img');
    const before = readFileSync(to);
    const refused = await cli('copy', from, to);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toBe(
      `ggmirror: ${to} holds data. Copying would overwrite ${to} with ${from}; ` +
        'if that is what you want, add --force\n',
    );
    expect(readFileSync(to).equals(before)).toBe(true);
    expect(await cli('copy', '--force', '--verify', from, to)).toMatchObject({ code: 0 });
    expect(isSame(from, to)).toBe(true);
  });

  test.each([
    { what: 'a smaller target', sizeBytes: SIZE - 512, error: /is too small: it has .* has 24 MiB/ },
    { what: 'a source that is no whole number of sectors', sizeBytes: 0, error: /no whole sector/ },
  ])('refuses $what', async ({ sizeBytes, error }) => {
    const from = makeImage('from.img');
    if (sizeBytes === 0) truncateSync(from, SIZE + 100);
    const to = makeEmpty('to.img', sizeBytes === 0 ? SIZE : sizeBytes);
    const result = await cli('copy', from, to);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(error);
  });

  test('refuses to copy a thing onto itself, also by another name', async () => {
    const from = makeImage('from.img');
    spawnSync('ln', [from, scratch.path('link.img')]);
    const result = await cli('copy', '--force', from, scratch.path('link.img'));
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/are the same$/m);
  });

  test('leaves the rest of a larger target alone and says so', async () => {
    const from = makeImage('from.img');
    const to = makeImage('to.img');
    truncateSync(to, SIZE + MIB);
    const result = await cli('copy', '--force', from, to);
    expect(result.code).toBe(0);
    expect(result.stderr).toMatch(/larger; its last 1 MiB are left as they are/);
    expect(readFileSync(to).subarray(0, SIZE).equals(readFileSync(from))).toBe(true);
  });

  test('goes on after the server is killed and started again', async () => {
    const from = makeImage('from.img', SIZE);
    const path = makeEmpty('to.img');
    const port = await freePort();
    const proxy = await CountingProxy.listen(port);
    const serveAgain = async (): Promise<Running> => {
      const server = startOwn('ggmirror', ['serve', '-a', '127.0.0.1', '-p', String(port), path]);
      await until('the server', () => connectOnce(port));
      return server;
    };
    let server = await serveAgain();
    try {
      proxy.holdAfter(SIZE / 2);
      const copy = startCli(
        ['copy', '--json', '--verify', from, `ggate://127.0.0.1:${proxy.port}${path}`],
        state(),
      );
      await proxy.untilHeld();
      await killFamily(server.pid);
      proxy.letGo();
      server = await serveAgain();
      const result = await copy.ended;
      expect(result).toMatchObject({ code: 0 });
      expect(JSON.parse(result.stdout)).toMatchObject({ reconnects: 1, verified: { differentRegions: 0 } });
      expect(isSame(from, path)).toBe(true);
    } finally {
      await server.stop();
      await proxy.close();
    }
  });

  test('that is interrupted says how to go on, and does when run again', async () => {
    const from = makeImage('from.img', SIZE);
    const to = scratch.path('to.img');
    await serve(from);
    const proxy = await CountingProxy.listen(scratch.server?.port ?? 0);
    const words = ['copy', '--depth', '1', `ggate://127.0.0.1:${proxy.port}${from}`, to];
    try {
      proxy.holdAfter(SIZE / 2);
      const first = startCli(words, state());
      await proxy.untilHeld();
      first.signal('SIGINT');
      proxy.letGo();
      const { code, stderr } = await first.ended;
      expect(code, stderr).toBe(130);
      expect(stderr).toMatch(/^ggmirror: interrupted; .* safe\. Run the same command again/m);
      const again = await cli(...words, '--verify', '--json');
      expect(again).toMatchObject({ code: 0 });
      const { startBytes } = JSON.parse(again.stdout) as { startBytes: number };
      expect(startBytes).toBeGreaterThan(0);
    } finally {
      await proxy.close();
    }
    expect(isSame(from, to)).toBe(true);
  });
});

describe('ggmirror info', () => {
  test('tells all about an export and takes nobody’s place', async () => {
    const path = makeImage('disk.img');
    const uri = await serve(path, ['127.0.0.1,ro']);
    const { code, stdout } = await cli('info', '--json', uri);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      uri,
      kind: 'remote',
      mediaSizeBytes: SIZE,
      sectorSizeBytes: 512,
      modes: { ro: 'granted', rw: 'EPERM', wo: 'EPERM' },
      use: 'holds data',
      server: { isGgmirror: true, address: '127.0.0.1' },
    });
    const { server: remote } = JSON.parse(stdout) as {
      server: { extensions: string[]; instanceId: string; roundTripMs: number };
    };
    expect(remote.extensions).toContain('checksum');
    expect(remote.instanceId).toMatch(/^[0-9a-f]{32}$/);
    expect(remote.roundTripMs).toBeGreaterThan(0);
    const attached = scratch.server?.log.filter(({ message }) => message === 'attached') ?? [];
    expect(attached.map(({ fields }) => fields['mode'])).toEqual(['ro']);
  });

  test('works on a file, for people', async () => {
    const { code, stdout } = await cli('info', makeEmpty('disk.img'));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^size: +24 MiB \(25,165,824 bytes\)$/m);
    expect(stdout).toMatch(/^use: +looks empty$/m);
  });

  test('says in one line what is wrong', async () => {
    const uri = await serve(makeEmpty('disk.img'));
    const results = await Promise.all([
      cli('info', `${uri}x`),
      cli('info', 'ggate://127.0.0.1:1/x'),
      cli('info', 'ggate://127.0.0.1'),
      cli('info', scratch.path('nothing')),
    ]);
    const [unknown, nobody, format, missing] = results.map(({ stderr }) => stderr);
    expect(results.map(({ code }) => code)).toEqual([1, 1, 1, 1]);
    for (const { stderr } of results) expect(stderr).toMatch(/^ggmirror: [^\n]+\n$/);
    expect(unknown).toMatch(/EPERM; check the server's exports/);
    expect(nobody).toMatch(/ECONNREFUSED/);
    expect(format).toMatch(/ggate:\/\/host/);
    expect(missing).toMatch(/ENOENT/);
  });
});

describe('ggmirror bench', () => {
  test('measures an export and prints what it found', async () => {
    const uri = await serve(makeImage('disk.img'));
    const { code, stdout } = await cli('bench', '--json', '-t', '0.3', uri);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as { ops: number; latencyMs: { p50: number; max: number } };
    expect(result).toMatchObject({ mode: 'read', blockBytes: 4096, depth: 32, errors: 0, mismatches: 0 });
    // As many as are in flight at once, however little it got done.
    expect(result.ops).toBeGreaterThanOrEqual(32);
    expect(result.latencyMs.p50).toBeLessThanOrEqual(result.latencyMs.max);
  });

  test('writes, flushes and verifies what it wrote', async () => {
    const uri = await serve(makeEmpty('disk.img'));
    const { code, stdout } = await cli('bench', '--json', '-m', 'mix', '-V', '-F', '50', '-t', '0.3', uri);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as { flushes: number; checkedBlocks: number };
    expect(result).toMatchObject({ errors: 0, mismatches: 0 });
    expect(result.flushes).toBeGreaterThan(0);
    expect(result.checkedBlocks).toBeGreaterThan(0);
  });

  test('writes to what holds data only with --force', async () => {
    const path = makeImage('disk.img');
    const before = readFileSync(path);
    const { code, stderr } = await cli('bench', '-m', 'write', path);
    expect(code).toBe(1);
    expect(stderr).toMatch(/holds data\. Writing would destroy it; .*--force\n$/);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect((await cli('bench', '-m', 'write', '-t', '0.1', '--force', path)).code).toBe(0);
  });

  test.each([
    [['-m', 'read', '-V']],
    [['-F', '5']],
    [['-m', 'all']],
    [['-b', '1000']],
    [['-q', '0']],
    [['-t', 'x']],
  ])('calls %j a usage error', async (words) => {
    const { code, stderr } = await cli('bench', ...words, makeEmpty('disk.img'));
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^ggmirror: .+\n/)]);
  });
});

describe('ggmirror', () => {
  test('knows its version and its commands', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
      version: string;
    };
    expect(await cli('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    const { code, stdout } = await cli('--help');
    expect(code).toBe(0);
    for (const command of ['serve', 'info', 'copy', 'bench', 'demo'])
      expect(stdout).toContain(`  ${command} `);
  });

  test.each([[['nonsense']], [['copy', 'one']], [['info']], [['copy', '--nonsense', 'a', 'b']], [[]]])(
    'calls %j a usage error',
    async (words) => {
      const { code, stdout, stderr } = await cli(...words);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).not.toBe('');
    },
  );

  test('is silent when whoever reads its output has gone', () => {
    const program = join(import.meta.dirname, '../../dist/cli/ggmirror.js');
    const line = `"${process.execPath}" "${program}" --help | true; "${process.execPath}" "${program}" --help | head -1`;
    const { stdout, stderr } = spawnSync('sh', ['-c', line], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^Usage: ggmirror/);
  });
});
