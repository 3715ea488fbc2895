import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.js';
import { lockFileExclusive } from '../../src/device/platform/files.js';
import { decodeLabel, encodeLabel } from '../../src/protocol/gmirror-label.js';
import { kernelSector, aLabel } from '../support/labels.js';
import { canUseLoop, withLoopDevice, withMount } from '../support/loop-device.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;

let world: MirrorWorld;
let a: string;
let b: string;

beforeEach(async () => {
  world = await MirrorWorld.make({ name: 'm', imageBytes: 8 * MIB });
  [a, b] = [image('a.img'), image('b.img')];
});
afterEach(() => world.close());

function image(name: string, sizeBytes = 8 * MIB): string {
  const path = world.scratch.path(name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

function poke(path: string, offsetBytes: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offsetBytes);
  closeSync(fd);
}

const checksum = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const providerOf = (component: string): string => component.replace(/,area=.*/, '');

/** Starts in the background; the world ends it. */
async function start(...words: readonly string[]): Promise<string> {
  const said = await world.run('start', world.name, ...words);
  if (said.code !== 0) throw new Error(said.stderr);
  await world.status();
  return said.stderr;
}

/** In this process, which is quicker than a program that nobody looks at. */
async function labelHere(...components: readonly string[]): Promise<void> {
  await (await createProgram('label')).parseAsync(['node', 'ggmirror', 'label', 'm', ...components]);
}

/** One clear line, and not a byte of any image is changed. */
async function refused(...words: readonly string[]): Promise<string> {
  const images = words.map(providerOf).filter((word) => existsSync(word) && statSync(word).isFile());
  const before = images.map(checksum);
  const { code, stderr } = await world.run('start', world.name, ...words);
  expect(code).toBe(1);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(images.map(checksum)).toEqual(before);
  return stderr.replaceAll(`${world.scratch.folder}/`, '').replace(/^ggmirror: |\n$/g, '');
}

const MISSING =
  '1 of 2 components is missing, and may have newer data; ' +
  "make it reachable, or start without it with '--degraded': ";

const USED =
  '1 of 2 components is missing, and may have newer data; ' +
  'first end what uses it, which may be the mirror on another machine: ';

async function stop(): Promise<void> {
  await world.stopAndRead();
}

/** The way out where a component can't be believed. */
const WITHOUT_IT =
  "start the mirror without it, with '--degraded', " +
  "then take it in anew with 'ggmirror forget m' and 'ggmirror insert --force m b.img'";

describe('a start is refused in one line, and leaves all data alone:', () => {
  beforeEach(async () => {
    await labelHere(a, b);
  });

  test('an image of another size than it had', async () => {
    appendFileSync(b, Buffer.alloc(MIB));
    expect(await refused(a, b)).toBe(
      'b.img has no gmirror label in its last sector; check its name and its size; ' +
        "for one that was made larger, 'ggmirror resize' comes first; if its label is lost, start with '--degraded' and " +
        "without naming it, then take it in anew with 'ggmirror forget m' and 'ggmirror insert --force m b.img'",
    );
  });

  test('an image whose label names another size', async () => {
    const label = readFileSync(b).subarray(-512);
    truncateSync(b, 6 * MIB);
    poke(b, 6 * MIB - 512, label);
    expect(await refused(a, b)).toBe(`b.img has its label inside the data of its mirror; ${WITHOUT_IT}`);
  });

  test('a label that is damaged', async () => {
    poke(b, 8 * MIB - 400, Buffer.from('damage'));
    expect(await refused(a, b)).toBe(
      "b.img has a label that can't be believed: the MD5 of the gmirror label does not match; it is damaged; " +
        WITHOUT_IT,
    );
  });

  test('a label of another mirror', async () => {
    const c = image('c.img');
    await world.succeed('label', 'other', c);
    expect(await refused(a, c)).toBe("c.img is a component of mirror 'other', not of 'm'");
  });

  test('components of two mirrors of the same name', async () => {
    const [c, d] = [image('c.img'), image('d.img')];
    await world.succeed('label', 'm', c, d);
    expect(await refused(a, d)).toBe(
      'd.img and a.img are components of different mirrors; nothing was changed',
    );
  });

  test('a component that is not there', async () => {
    rmSync(b);
    expect(await refused(a, b)).toBe(`${MISSING}b.img can't be looked at: ENOENT; check the path`);
  });

  test('a name that does not resolve', async () => {
    const uri = 'ggate://no-such-host.invalid/b.img';
    // Which of the two it is depends on whether there is a name server.
    expect((await refused(a, uri)).replace('EAI_AGAIN', 'ENOTFOUND')).toBe(
      `${MISSING}${uri}: cannot connect: the name no-such-host.invalid can't be resolved (ENOTFOUND); ` +
        'check it, or give an address',
    );
  });

  test('one image under two names', async () => {
    const link = world.scratch.path('link.img');
    symlinkSync(a, link);
    // Whichever was opened first has it.
    expect((await refused(a, link)).replace('link.img', 'a.img')).toBe(
      `${USED}a.img is in use: this very process writes to it; end that first`,
    );
  });

  test('a kernel’s label without an area, and the way to give it one', async () => {
    const c = image('c.img', 4 * MIB);
    poke(c, 4 * MIB - 512, kernelSector('01-label-one.a'));
    const { stderr } = await world.run('start', 'remotemirror', c);
    expect(stderr).toMatch(
      /c\.img has a gmirror label, but no private area of ggmirror; name a file for it: .*c\.img,area=FILE/,
    );
  });
});

describe('an image has one writer:', () => {
  test('neither another mirror, nor label, clear and copy, get one that a mirror uses; all say who has it', async () => {
    await labelHere(a, b);
    await start(a, b);
    const { pid } = await world.status();
    const before = checksum(b);
    const c = image('c.img');
    const isUsed = new RegExp(`process ${pid} \\(ggmirror m\\)`);
    for (const words of [
      ['start', 'other', a, b],
      ['label', '--force', 'other', b],
      ['clear', b],
      ['copy', '--force', c, b],
    ]) {
      const { code, stderr } = await world.run(...words);
      expect([words[0], code]).toEqual([words[0], 1]);
      expect(stderr).toMatch(isUsed);
    }
    expect(checksum(b)).toBe(before);
  });

  test('a backup that somebody writes to on its own host is busy, until that ends', async ({ skip }) => {
    await world.label();
    const fd = openSync(world.backup, 'r+');
    try {
      const isLocked = lockFileExclusive(fd) === 'locked';
      if (!isLocked && process.env['CI'] !== 'true') skip('files can’t be locked here');
      expect(isLocked).toBe(true);
      const uri = world.uri.replace(`${world.scratch.folder}/`, '');
      expect(await refused(world.local, world.uri)).toBe(
        `${USED}${uri}: the server refuses with EBUSY; another client is writing to it`,
      );
    } finally {
      closeSync(fd);
    }
    await start(world.local, world.uri);
    await world.untilState('COMPLETE');
  });

  test.skipIf(!canUseLoop())('an image under a loop device is left alone', async () => {
    await labelHere(a, b);
    await withLoopDevice(b, [], async (device) => {
      expect(await refused(a, b)).toBe(`${USED}b.img is in use: it backs ${device}; end that first`);
    });
    await start(a, b);
  });
});

describe('an image that was changed while the mirror was stopped', () => {
  beforeEach(async () => {
    await labelHere(a, b);
    await start(a, b);
    const client = await world.attach();
    await client.write(0, Buffer.alloc(4096, 1));
    await client.disconnect();
    await stop();
  });

  test('is told from one that was not, which starts as it is', async () => {
    await start(a, b);
    expect(await world.status()).toMatchObject({ state: 'COMPLETE' });
  });

  test('refused starts before do not count as a change', async () => {
    await refused(a);
    await start(a, b);
    expect(await world.status()).toMatchObject({ state: 'COMPLETE' });
  });

  test.each([
    ['written', () => poke(b, MIB, Buffer.alloc(4096, 9))],
    ['put back from an older copy', () => utimesSync(b, 1_000_000, 1_000_000)],
  ])('when it was %s, is named with both ways out', async (_what, change) => {
    change();
    const says = await refused(a, b);
    expect(says).toMatch(/b\.img \(its file was written or put back since the last stop\)/);
    expect(says).toContain("'ggmirror resolve m --discard b.img' keeps a.img");
    expect(says).toContain("'ggmirror resolve m --discard a.img' keeps b.img");
  });

  test.each([
    ['a.img', 0],
    ['b.img', 9],
  ])('is settled by --source %s, which says what it overwrites', async (name, value) => {
    poke(b, MIB, Buffer.alloc(4096, 9));
    const source = name === 'a.img' ? a : b;
    const other = name === 'a.img' ? b : a;
    const said = await start(a, b, '--source', source);
    expect(said).toBe(`mirror/m: ${source} is the source: what ${other} has is overwritten in full\n`);
    await world.untilState('COMPLETE');
    const { mediaSizeBytes } = await world.status();
    await stop();
    const [ofA, ofB] = [a, b].map((path) => readFileSync(path).subarray(0, mediaSizeBytes));
    expect(ofA?.equals(ofB ?? Buffer.alloc(0))).toBe(true);
    expect(ofA?.[MIB]).toBe(value);
    await start(a, b);
    expect(await world.status()).toMatchObject({ state: 'COMPLETE' });
  });

  test('a source that is no component is a mistake', async () => {
    const { code, stderr } = await world.run('start', 'm', a, b, '--source', '/nowhere.img');
    expect(code).toBe(2);
    expect(stderr).toContain("--source /nowhere.img is none of the mirror's components");
  });
});

describe('area files', () => {
  const beside = (path: string): string => `${path},area=${path}.area`;

  test('carry a mirror over whole images; clear takes them away', async () => {
    await labelHere(beside(a), beside(b));
    await start(beside(a), beside(b));
    expect(await world.status()).toMatchObject({ state: 'COMPLETE', mediaSizeBytes: 8 * MIB - 4096 });
    await stop();
    await world.succeed('clear', beside(b));
    expect([existsSync(`${a}.area`), existsSync(`${b}.area`)]).toEqual([true, false]);
  });

  test('that were mixed up are noticed', async () => {
    await labelHere(beside(a), beside(b));
    expect(await refused(`${a},area=${b}.area`, `${b},area=${a}.area`)).toContain(
      'a.img has an area file of another component',
    );
  });

  test.each([
    ['lost', () => rmSync(`${b}.area`), /b\.img has no private area: .*b\.img\.area is not there/],
    [
      'damaged',
      () => poke(`${b}.area`, 0, randomBytes(8192)),
      /b\.img has a private area that can't be believed/,
    ],
  ])(
    'one that is %s stops the start until a source is chosen, and then everything is copied',
    async (_what, harm, says) => {
      await labelHere(beside(a), beside(b));
      await start(beside(a), beside(b));
      const client = await world.attach();
      await client.write(0, Buffer.alloc(4096, 1));
      await client.disconnect();
      await stop();
      harm();
      poke(b, 2 * MIB, Buffer.alloc(4096, 7));
      const said = await refused(beside(a), beside(b));
      expect(said).toMatch(says);
      expect(said).toContain("'--source a.img'");
      await start(beside(a), beside(b), '--source', a);
      await world.untilState('COMPLETE');
      await stop();
      expect(readFileSync(a).subarray(0, -4096).equals(readFileSync(b).subarray(0, -4096))).toBe(true);
    },
  );

  test('take over the images of a kernel’s mirror with data and ids as they are', async () => {
    const data = randomBytes(3 * MIB);
    const images = ['a', 'b'].map((letter) => {
      const path = image(`k${letter}.img`, 4 * MIB);
      poke(path, 0, data);
      poke(path, 4 * MIB - 512, kernelSector(`04-after-write-closed.${letter}`));
      return path;
    });
    const before = await Promise.all(images.map((path) => world.succeed('dump', path)));
    await world.succeed('start', 'remotemirror', ...images.map(beside));
    expect(await world.succeed('status', '-s', 'remotemirror')).toContain('COMPLETE');
    await world.succeed('stop', 'remotemirror');
    const after = await Promise.all(images.map((path) => world.succeed('dump', path)));
    // Dates and sums aside: the kernel's own bytes behind the names are ours now.
    const fields = (text: string): string => text.replace(/MD5 hash.*/, '');
    expect(after.map(fields)).toEqual(before.map(fields));
    for (const path of images) expect(readFileSync(path).subarray(0, data.length).equals(data)).toBe(true);
  });
});

describe('a running mirror', () => {
  test.skipIf(!canUseLoop())('goes on when the file system under one component is full', async () => {
    const folder = world.scratch.path('small');
    await withMount(['-t', 'tmpfs', '-o', 'size=1m', 'none'], folder, async () => {
      const c = `${folder}/c.img`;
      writeFileSync(c, '');
      truncateSync(c, 8 * MIB);
      await world.succeed('label', 'm', a, c);
      await start(a, c);
      const client = await world.attach();
      const data = randomBytes(2 * MIB);
      for (let at = 0; at < data.length; at += 65_536) {
        const { errno } = await client.write(at, data.subarray(at, at + 65_536));
        expect(errno).toBe(0);
      }
      const degraded = await world.untilState('DEGRADED');
      expect(degraded.components.find(({ name }) => name === c)?.why).toContain('ENOSPC; make room');
      expect((await client.read(0, 65_536)).data.equals(data.subarray(0, 65_536))).toBe(true);
      await client.disconnect();
      await world.untilUnused();
      await world.succeed('stop', 'm');
    });
  });

  test('answers reads from the other component where one fails', async () => {
    await world.succeed('label', '-b', 'round-robin', 'm', a, b);
    await start(a, b);
    const client = await world.attach();
    const data = randomBytes(MIB);
    await client.write(4 * MIB, data);
    truncateSync(a, MIB);
    for (let round = 0; round < 4; round++) {
      const { errno, data: got } = await client.read(4 * MIB, 65_536);
      expect([errno, got.equals(data.subarray(0, 65_536))]).toEqual([0, true]);
    }
    const bad = await until('an error to be counted', async () => {
      const { components } = await world.status();
      return components.find(({ errors }) => errors > 0);
    });
    expect(bad.name).toBe(a);
    await client.disconnect();
    await world.run('stop', 'm');
  });

  test('finds out that a kernel ran one side alone, and takes what that has', async () => {
    await labelHere(a, b);
    await start(a, b);
    await stop();
    // What the kernel leaves that ran b without a: one write, and a syncid raised for it.
    const label = decodeLabel(readFileSync(b).subarray(-512));
    poke(b, MIB, Buffer.alloc(4096, 9));
    poke(b, 8 * MIB - 512, encodeLabel(aLabel({ ...label, syncid: label.syncid + 1 })));
    await start(a, b);
    await world.untilState('COMPLETE');
    await stop();
    expect(readFileSync(a)[MIB]).toBe(9);
  });
});
