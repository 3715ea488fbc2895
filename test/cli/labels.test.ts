import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockFileExclusive } from '../../src/device/platform/files.js';
import { encodeLabel } from '../../src/protocol/gmirror-label.js';
import { runCli } from '../support/cli.js';
import { aLabel, encodeOldLabel, kernelSector, kernelTranscript } from '../support/labels.js';
import { ServedScratch } from '../support/served-scratch.js';

const SIZE = 65_536;

let scratch: ServedScratch;
beforeEach(() => {
  scratch = new ServedScratch();
});
afterEach(() => scratch.close());

/** An image with data in it and this in its last sector. */
function imageWith(name: string, sector: Buffer): string {
  const path = scratch.path(name);
  writeFileSync(path, Buffer.concat([randomBytes(SIZE - sector.length), sector]));
  return path;
}

const serve = (path: string, access: 'rw' | 'ro'): Promise<string> =>
  scratch.serve(path, [`127.0.0.1,${access}`]);

function damaged(sector: Buffer): Buffer {
  sector.writeUInt8(sector.readUInt8(53) + 1, 53);
  return sector;
}

function newer(): Buffer {
  const sector = encodeLabel(aLabel());
  sector.writeUInt32LE(5, 16);
  return sector;
}

/** What gmirror printed of a provider first. */
function printedOf(provider: string): string {
  const transcript = kernelTranscript();
  const from = transcript.indexOf(`Metadata on ${provider}:`);
  return transcript.slice(from, transcript.indexOf('\n\n', from) + 2);
}

describe('ggmirror dump', () => {
  test('prints the labels of several images as gmirror does, byte for byte', async () => {
    const images = ['a', 'b'].map((letter) =>
      imageWith(`${letter}.img`, kernelSector(`02-inserted-noautosync.${letter}`)),
    );
    const result = await runCli(['dump', ...images]);
    const expected = images
      .map((image, index) => printedOf(`ggate${index}`).replace(`ggate${index}`, image))
      .join('');
    expect(result).toEqual({ code: 0, stdout: expected, stderr: '' });
  });

  test('reads the label of an export that may only be read', async () => {
    const uri = await serve(imageWith('a.img', kernelSector('12-hardcoded-split.a')), 'ro');
    const result = await runCli(['dump', uri]);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toContain(`Metadata on ${uri}:\n     magic: GEOM::MIRROR\n`);
    expect(result.stdout).toContain('hcprovider: ggate0\n');
  });

  test('goes on after what it can’t show, and says in the end that it could not', async () => {
    const none = imageWith('none.img', Buffer.alloc(512));
    const bad = imageWith('bad.img', damaged(encodeLabel(aLabel())));
    const late = imageWith('newer.img', newer());
    const missing = scratch.path('missing.img');
    const good = imageWith('good.img', encodeOldLabel(aLabel(), { version: 1 }));
    const { code, stdout, stderr } = await runCli(['dump', none, bad, late, missing, good]);
    expect(code).toBe(1);
    expect(stderr.split('\n')).toEqual([
      `Can't read metadata from ${none}: Invalid argument (there is no gmirror label).`,
      `MD5 hash mismatch for ${bad}, skipping.`,
      `Can't read metadata from ${late}: a gmirror label of version 5, newer than 4; use a newer ggmirror.`,
      `Can't read metadata from ${missing}: No such file or directory.`,
      'ggmirror: Not fully done.',
      '',
    ]);
    expect(stdout).toContain(`Metadata on ${good}:\n     magic: GEOM::MIRROR\n   version: 1\n`);
  });

  test.each([
    ['ggate://127.0.0.1:1/x', 'Connection refused'],
    ['ggate://', "'ggate://' is not of the form ggate://host[:port]/path"],
  ])('says why %s can’t be read: %s', async (uri, reason) => {
    const { code, stdout, stderr } = await runCli(['dump', uri]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe(`Can't read metadata from ${uri}: ${reason}.\nggmirror: Not fully done.\n`);
  });

  test('prints JSON with everything, failures too', async () => {
    const label = imageWith('a.img', kernelSector('08-inserted-third-synchronizing.c'));
    const none = imageWith('none.img', Buffer.alloc(512));
    const { code, stdout } = await runCli(['dump', '--json', label, none]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual([
      {
        provider: label,
        label: {
          name: 'remotemirror',
          version: 4,
          mid: 1_333_529_406,
          did: 2_717_339_978,
          all: 3,
          genid: 0,
          syncid: 1,
          priority: 5,
          sliceBytes: 4096,
          balance: 'prefer',
          mediaSizeBytes: 4_193_792,
          sectorSizeBytes: 512,
          syncOffsetBytes: 0,
          mirrorFlags: [],
          diskFlags: ['DIRTY', 'SYNCHRONIZING'],
          hardcodedProvider: '',
          providerSizeBytes: 4_194_304,
          md5: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
        },
      },
      {
        provider: none,
        failure: `Can't read metadata from ${none}: Invalid argument (there is no gmirror label).`,
      },
    ]);
  });

  test('wants a provider', async () => {
    const { code, stderr } = await runCli(['dump']);
    expect({ code, stderr }).toEqual({ code: 2, stderr: "ggmirror: missing required argument 'provider'\n" });
  });
});

describe('ggmirror clear', () => {
  /** What is in front of the last sector, and the last sector. */
  const partsOf = (path: string): [Buffer, Buffer] => {
    const bytes = readFileSync(path);
    return [bytes.subarray(0, SIZE - 512), bytes.subarray(SIZE - 512)];
  };

  test('zeroes the last sector and nothing else', async () => {
    const image = imageWith('a.img', kernelSector('05-dirty-open.a'));
    const [data] = partsOf(image);
    expect(await runCli(['clear', image])).toEqual({ code: 0, stdout: '', stderr: '' });
    const [dataAfter, sector] = partsOf(image);
    expect(dataAfter.equals(data)).toBe(true);
    expect(sector.equals(Buffer.alloc(512))).toBe(true);
    expect((await runCli(['dump', image])).code).toBe(1);
  });

  test('says what it did with -v, and clears damaged and newer labels as well', async () => {
    const bad = imageWith('bad.img', damaged(encodeLabel(aLabel())));
    const late = imageWith('newer.img', newer());
    expect(await runCli(['clear', '-v', bad, late])).toEqual({
      code: 0,
      stdout: `Metadata cleared on ${bad}.\nMetadata cleared on ${late}.\nDone.\n`,
      stderr: '',
    });
    for (const path of [bad, late]) expect(partsOf(path)[1].equals(Buffer.alloc(512))).toBe(true);
  });

  test('leaves what has no label alone, and clears the rest', async () => {
    const none = imageWith('none.img', randomBytes(512));
    const good = imageWith('good.img', encodeLabel(aLabel()));
    const before = readFileSync(none);
    expect(await runCli(['clear', '-v', none, good])).toEqual({
      code: 1,
      stdout: `Metadata cleared on ${good}.\n`,
      stderr:
        `Can't clear metadata on ${none}: Invalid argument (there is no gmirror label).\n` +
        'ggmirror: Not fully done.\n',
    });
    expect(readFileSync(none).equals(before)).toBe(true);
  });

  test('clears an export, and not one that may only be read', async () => {
    const image = imageWith('a.img', encodeLabel(aLabel()));
    const readOnly = await serve(image, 'ro');
    const refused = await runCli(['clear', readOnly]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^Can't clear metadata on ggate:.*: Operation not permitted\.\n/);
    expect(partsOf(image)[1].equals(encodeLabel(aLabel()))).toBe(true);
    await scratch.stopServing();
    expect(await runCli(['clear', await serve(image, 'rw')])).toMatchObject({ code: 0, stderr: '' });
    expect(partsOf(image)[1].equals(Buffer.alloc(512))).toBe(true);
  });

  test('leaves an image alone that someone has locked to serve it', async ({ skip }) => {
    const image = imageWith('a.img', encodeLabel(aLabel()));
    const fd = openSync(image, 'r+');
    try {
      const isLocked = lockFileExclusive(fd) === 'locked';
      if (!isLocked && process.env['CI'] !== 'true') skip('files can’t be locked here');
      expect(isLocked).toBe(true);
      const { code, stdout, stderr } = await runCli(['clear', image]);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain(`Can't clear metadata on ${image}: Device busy (process ${process.pid} (`);
      expect(stderr).toMatch(/\) writes to it\)\.\nggmirror: Not fully done\.\n$/);
      expect(partsOf(image)[1].equals(encodeLabel(aLabel()))).toBe(true);
    } finally {
      closeSync(fd);
    }
  });
});
