import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createImage } from '../../src/device/file-device.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { killFamily } from '../support/processes.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 8 * MIB;

let world: MirrorWorld;
let other: string;
let mediaSizeBytes: number;
const data = randomBytes(65_536);

/** A mirror of two images that was written and stopped. */
beforeEach(async () => {
  world = await MirrorWorld.make({ name: 'm', imageBytes: IMAGE_BYTES });
  other = world.scratch.path('other.img');
  await createImage(other, IMAGE_BYTES);
  await world.succeed('label', 'm', world.local, other);
  await world.succeed('start', 'm', world.local, other);
  ({ mediaSizeBytes } = await world.untilState('COMPLETE'));
  const client = await world.attach();
  expect((await client.write(MIB, data)).errno).toBe(0);
  await client.disconnect();
  await world.stopAndRead();
});
afterEach(() => world.close());

function spoil(image: string, offsetBytes: number, lengthBytes: number): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, randomBytes(lengthBytes), 0, lengthBytes, offsetBytes);
  closeSync(fd);
}

/** Of an image whose size is a multiple of 4096. */
const spoilSuperblocks = (image: string, copies: number): void => {
  spoil(image, Math.ceil(mediaSizeBytes / 4096) * 4096, copies * 4096);
};

async function refusal(...words: readonly string[]): Promise<string> {
  const { code, stderr } = await world.run('start', 'm', ...words);
  expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
  return stderr;
}

/** Runs the ggmirror commands that a message names in quotes. */
async function follow(message: string): Promise<void> {
  for (const [, words = ''] of message.matchAll(/'ggmirror ([^']*)'/g))
    await world.succeed(...words.split(' '));
}

async function expectBothWhole(): Promise<void> {
  await world.untilState('COMPLETE');
  await world.stopAndRead();
  for (const image of [world.local, other])
    expect(
      readFileSync(image)
        .subarray(MIB, MIB + data.length)
        .equals(data),
    ).toBe(true);
}

test('one bad superblock is survived and written anew', async () => {
  await world.succeed('start', 'm', world.local, other);
  await killFamily((await world.status()).pid);
  spoilSuperblocks(other, 1);
  await world.succeed('start', 'm', world.local, other);
  await expectBothWhole();
  const area = readFileSync(other).subarray(mediaSizeBytes);
  expect(area.toString('latin1', 0, 8)).toBe('GGMSUPER');
});

test('with both superblocks bad the start says how everything is copied, and that works', async () => {
  spoilSuperblocks(other, 2);
  const said = await refusal(world.local, other);
  expect(said).toContain(`'--source ${world.local}'`);
  await world.succeed('start', 'm', world.local, other, '--source', world.local);
  await expectBothWhole();
});

test('with both superblocks of the only image bad the start asks for an area file, and that works', async () => {
  spoilSuperblocks(other, 2);
  expect(await refusal(other)).toContain(`'${other},area=FILE'`);
  const named = `${other},area=${world.scratch.path('new.area')}`;
  expect(await refusal(named)).toContain("'--degraded'");
  await world.succeed('start', 'm', named, '--degraded');
  const client = await world.attach();
  expect((await client.read(MIB, data.length)).data.equals(data)).toBe(true);
  await client.disconnect();
  await world.untilState('COMPLETE');
});

test('with a label that is gone the start says how the image is taken in anew, and that works', async () => {
  spoil(other, IMAGE_BYTES - 512, 512);
  const said = await refusal(world.local, other);
  expect(said).toContain("start with '--degraded' and without naming it");
  await world.succeed('start', 'm', world.local, '--degraded');
  await world.untilState('DEGRADED');
  // 'ggmirror resize' is for one that was made larger.
  await follow(said.slice(said.indexOf('if its label is lost')));
  await expectBothWhole();
});

test('with a bad label the start names the commands that make a component of it anew, and they work', async () => {
  spoil(other, IMAGE_BYTES - 400, 8);
  const said = await refusal(world.local, other);
  expect(said).toContain("'--degraded'");
  await world.succeed('start', 'm', world.local, other, '--degraded');
  await world.untilState('DEGRADED');
  await follow(said);
  await expectBothWhole();
});
