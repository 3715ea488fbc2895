import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decodeLabel, type DecodedLabel } from '../../src/protocol/gmirror-label.js';
import { runCli } from '../support/cli.js';
import { ServedScratch } from '../support/served-scratch.js';

const SIZE = 4 * 1_048_576;

let scratch: ServedScratch;
beforeEach(() => {
  scratch = new ServedScratch();
});
afterEach(() => scratch.close());

function image(name: string, data = '', sizeBytes = SIZE): string {
  const path = scratch.path(name);
  writeFileSync(path, data);
  truncateSync(path, sizeBytes);
  return path;
}

function spoil(path: string, offsetBytes: number): void {
  const bytes = readFileSync(path);
  bytes.fill(7, offsetBytes, offsetBytes + 512);
  writeFileSync(path, bytes);
}

/** What `dump --area --json` says of a private area. */
interface DumpedArea {
  readonly mirrorUuid: string;
  readonly componentUuid: string;
  readonly current: string;
  readonly slot: number;
  readonly slots: readonly object[];
}

const labelIn = (path: string): DecodedLabel => decodeLabel(readFileSync(path).subarray(-512));

describe('ggmirror label', () => {
  test('writes the labels that gmirror would write, to an image and an export, and dump reads them', async () => {
    const local = image('local.img');
    const remote = image('remote.img', '', 2 * SIZE);
    const uri = await scratch.serve(remote, ['127.0.0.1,rw']);
    expect(await runCli(['label', '-v', '-b', 'prefer', 'remotemirror', local, uri])).toEqual({
      code: 0,
      stdout: `Metadata value stored on ${local}.\nMetadata value stored on ${uri}.\nDone.\n`,
      stderr: '',
    });
    const [one, two] = [labelIn(local), labelIn(remote)];
    expect(one).toMatchObject({ name: 'remotemirror', all: 2, genid: 0, syncid: 1, priority: 0, balance: 4 });
    const { did, priority, providerSizeBytes, md5, ...shared } = two;
    expect(one).toMatchObject(shared);
    expect([one.did === did, one.md5 === md5, priority, providerSizeBytes]).toEqual([
      false,
      false,
      1,
      2 * SIZE,
    ]);
    const dumped = await runCli(['dump', local, uri]);
    expect(dumped).toMatchObject({ code: 0, stderr: '' });
    expect(dumped.stdout.match(/name: remotemirror/g)).toHaveLength(2);
  });

  test('dump --area shows what the private areas say of generations and of each other, from one sound copy', async () => {
    const [one, two] = [image('one.img'), image('two.img')];
    expect(await runCli(['label', 'm', one, `${two},area=${two}.area`])).toMatchObject({ code: 0 });
    const dumped = await runCli(['dump', '--area', '--json', one, `${two},area=${two}.area`]);
    expect(dumped).toMatchObject({ code: 0, stderr: '' });
    const [first, second] = (JSON.parse(dumped.stdout) as { area: DumpedArea }[]).map(({ area }) => area);
    expect(first).toMatchObject({ name: 'm', slot: 0, isRunning: false, isInconsistent: false, history: [] });
    expect(first?.slots).toMatchObject([
      { slot: 0, componentUuid: first?.componentUuid },
      { slot: 1, componentUuid: second?.componentUuid, lostAt: null },
    ]);
    expect([second?.slot, second?.mirrorUuid, second?.current === '0'.repeat(32)]).toEqual([
      1,
      first?.mirrorUuid,
      false,
    ]);

    const at = labelIn(one).mediaSizeBytes;
    const before = readFileSync(one);
    spoil(one, at);
    const shown = await runCli(['dump', '--area', one]);
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toContain(`generation: ${String(first?.current)}\n`);
    expect(shown.stdout).toMatch(new RegExp(`^ +others: ${String(second?.componentUuid)} in step$`, 'm'));

    spoil(one, at + 4096);
    expect(await runCli(['dump', '--area', one])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(
        `a private area on ${one}: neither of its superblocks is sound`,
      ) as string,
    });
    writeFileSync(one, before.fill(0, at, at + 8192));
    expect(await runCli(['dump', '--area', one])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`a private area on ${one}: there is none of ggmirror.`) as string,
    });
  });

  test('refuses what looks used, says what it holds and writes nothing; --force makes the others older', async () => {
    const [blank, used] = [image('blank.img'), image('used.img', 'something')];
    const before = [readFileSync(blank), readFileSync(used)];
    expect(await runCli(['label', 'm', blank, used])).toEqual({
      code: 1,
      stdout: '',
      stderr: `ggmirror: ${used} holds data; nothing was written. To label it all the same, give --force\n`,
    });
    expect([readFileSync(blank), readFileSync(used)].map((now, i) => now.equals(before[i] ?? now))).toEqual([
      true,
      true,
    ]);
    expect(await runCli(['label', '--force', '-n', '-F', 'm', used, blank])).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect([labelIn(used).syncid, labelIn(blank).syncid]).toEqual([1, 0]);
    expect(labelIn(used).mirrorFlags).toMatchObject({ noAutoSync: true, noFailSync: true });
    expect(readFileSync(used).subarray(0, 9).toString()).toBe('something');
  });

  test('-h is for disks that a kernel has a name for, and a priority is that of the component', async () => {
    const path = image('a.img');
    const refused = await runCli(['label', '-h', 'm', path]);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('no name of at most 15 bytes that a kernel would know it by');
    expect(await runCli(['label', 'm', `${path},priority=9`])).toMatchObject({ code: 0, stderr: '' });
    expect(labelIn(path)).toMatchObject({ priority: 9, hardcodedProvider: '' });
  });

  test.each([
    ['a name that is too long', ['label', 'sixteencharacter', 'x.img'], 2, 'is longer than 15 bytes'],
    ['a name with a slash', ['label', 'a/b', 'x.img'], 2, 'has blanks, slashes or unprintable characters'],
    ['a name that could not be started', ['label', '.hidden', 'x.img'], 2, 'begins with a dot'],
    ['a name with umlauts', ['label', 'größe', 'x.img'], 2, "other letters than ASCII's"],
    ['a slice that is none', ['label', '-s', '100', 'm', 'x.img'], 2, 'a multiple of 512 below 4 GiB'],
    ['a balance that is none', ['label', '-b', 'fast', 'm', 'x.img'], 2, "'fast' is no balance algorithm"],
    ['a provider that is not there', ['label', 'm', '/nowhere.img'], 1, '/nowhere.img'],
  ])('refuses %s', async (_what, words, code, message) => {
    const result = await runCli(words);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(message);
  });

  test('refuses one image under two names, and one that is too small', async () => {
    const path = image('a.img');
    const small = image('small.img', '', 65_536);
    expect((await runCli(['label', 'm', path, `${scratch.folder}/./a.img`])).stderr).toContain(
      'are the same provider',
    );
    expect((await runCli(['label', 'm', path, small])).stderr).toMatch(
      /small\.img can't be a component: its 65536/,
    );
    expect(readFileSync(path).equals(Buffer.alloc(SIZE))).toBe(true);
  });
});
