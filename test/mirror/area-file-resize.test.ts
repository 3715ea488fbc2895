import { existsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createImage, openFile } from '../../src/device/file-device.js';
import { systemRandom } from '../../src/device/random.js';
import { openAreaDevice, secondAreaOf } from '../../src/mirror/area/area-file.js';
import {
  assemble,
  type AssembledMirror,
  type OpenedProvider,
  type ProviderOpener,
} from '../../src/mirror/start/assemble.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { resizeMirror } from '../../src/mirror/start/resize.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { statesOf } from '../support/member-world.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const MIB = 1_048_576;
const NAMES = ['a', 'b'];

let scratch: Scratch;
beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

const areaPath = (name: string): string => scratch.path(`${name}.area`);

/** Images that have no room for a private area, as those of the kernel's mirrors. */
async function label(): Promise<void> {
  const devices = [];
  for (const name of NAMES) {
    await createImage(scratch.path(name), 2 * MIB);
    devices.push(await openFile(scratch.path(name), { access: 'rw' }));
  }
  await createMirror({
    ...{ name: 'm', devices, areaPaths: NAMES.map(areaPath), random: systemRandom },
    ...{ balance: 'load', sliceBytes: 4096, noAutoSync: false, noFailSync: false },
  });
  for (const device of devices) await device.close();
}

async function openLocal(name: string): Promise<OpenedProvider> {
  const device = await openFile(scratch.path(name), { access: 'rw', alone: true });
  const area = await openAreaDevice(areaPath(name));
  const nextAllocated = (offsetBytes: number): ReturnType<typeof device.nextAllocated> =>
    device.nextAllocated(offsetBytes);
  return { device, area, secondArea: secondAreaOf(areaPath(name)), nextAllocated };
}

const openers = (): ProviderOpener[] =>
  NAMES.map((name) => ({ name, isLocal: true, open: () => openLocal(name) }));

const start = (): Promise<AssembledMirror> =>
  assemble({
    ...{ name: 'm', providers: openers(), degraded: false, clock: new FakeClock(), random: systemRandom },
    events: { changed: () => undefined },
    ...{ timeoutMs: 10_000, idleMs: 5000, extentsMax: 64, isAutosync: true, resyncBytesPerSecond: 0 },
  });

test('images with area files beside them grow, and have one area file each afterwards', async () => {
  await label();
  const first = await start();
  await writeBytes(first.mirror, MIB, Buffer.alloc(4096, 7));
  await first.close();
  for (const name of NAMES) truncateSync(scratch.path(name), 1024 * MIB);
  const before = statSync(areaPath('a'));
  const random = systemRandom;
  const resized = await resizeMirror({ name: 'm', providers: openers(), size: null, random });
  expect(resized).toEqual({ beforeBytes: 2 * MIB - 4096, nowBytes: 1024 * MIB - 4096 });
  expect(statSync(areaPath('a')).ino).not.toBe(before.ino);
  for (const name of NAMES) expect(existsSync(`${areaPath(name)}.resized`)).toBe(false);
  const running = await start();
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  const found = await readBytes(running.mirror, { offsetBytes: MIB, lengthBytes: 4096 });
  expect(found.equals(Buffer.alloc(4096, 7))).toBe(true);
  await writeBytes(running.mirror, 48 * MIB, Buffer.alloc(4096, 7));
  await running.close();
});

test('a second area file that nobody finished is none', async () => {
  await label();
  writeFileSync(`${areaPath('a')}.resized`, '');
  writeFileSync(`${areaPath('b')}.resized`, Buffer.alloc(65_536));
  expect(await secondAreaOf(areaPath('a')).open()).toBeNull();
  const running = await start();
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  expect(existsSync(`${areaPath('b')}.resized`)).toBe(false);
  await running.close();
});
