import { expect, test } from 'vitest';
import type { ContentCheck } from '../../src/device/content-check.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { openComponent } from '../../src/mirror/start/open-component.js';
import { superblockCheck } from '../../src/mirror/area/superblock-check.js';
import { areaSizeBytes } from '../../src/protocol/area-layout.js';
import { AREA_MEDIA_BYTES, newSuperblock } from '../support/area-model.js';
import { FaultDevice } from '../support/fault-device.js';
import { MemberWorld } from '../support/member-world.js';
import { MemoryDevice } from '../support/memory-device.js';
import { request } from '../../src/device/request.js';

const AT_BYTES = 0;

async function makeArea(): Promise<{ readonly device: MemoryDevice; readonly store: AreaStore }> {
  const device = new MemoryDevice({ mediaSizeBytes: AT_BYTES + areaSizeBytes(AREA_MEDIA_BYTES) });
  return { device, store: await AreaStore.create(device, AT_BYTES, newSuperblock()) };
}

async function holds(device: MemoryDevice, store: AreaStore): Promise<boolean> {
  const check = superblockCheck(store, AT_BYTES);
  const bytes = Buffer.alloc(check.lengthBytes);
  await request(device, 'read', check, bytes);
  return check.holds(bytes);
}

test('a provider that nobody else has used since is the one that it was', async () => {
  const { device, store } = await makeArea();
  expect(await holds(device, store)).toBe(true);
  await store.writeSuperblock({ syncid: 9 });
  expect(await holds(device, store)).toBe(true);
});

/** Writes a superblock whose answer is lost: it is there, or it never went out. */
async function writeUnanswered(
  { device, store }: { readonly device: FaultDevice; readonly store: AreaStore },
  syncid: number,
  isDone: boolean,
): Promise<void> {
  device.plan = ({ op, lengthBytes }) => {
    if (op !== 'write') return null;
    return isDone ? { kind: 'tear', keptBytes: lengthBytes } : { kind: 'fail', errno: 'ENOTCONN' };
  };
  await expect(store.writeSuperblock({ syncid })).rejects.toThrow();
  device.plan = () => null;
}

/** An area with one superblock written, on a disk that can be made to fail. */
async function openFaulty(): Promise<{ disk: MemoryDevice; device: FaultDevice; store: AreaStore }> {
  const { device: disk } = await makeArea();
  const device = new FaultDevice(disk);
  const opened = await AreaStore.open(device, AT_BYTES);
  if (opened.state !== 'ok') throw new Error('no area');
  const { store } = opened;
  await store.writeSuperblock({ syncid: 1 });
  return { disk, device, store };
}

test('a provider is the one that it was when its newest superblock is our own, whose answer was lost', async () => {
  const { disk, device, store } = await openFaulty();
  await writeUnanswered({ device, store }, 2, true);
  expect(await holds(disk, store)).toBe(true);
  // However often that is tried again while there is no connection.
  for (let tries = 0; tries < 100; tries++) await writeUnanswered({ device, store }, 3, false);
  expect(await holds(disk, store)).toBe(true);
  await store.writeSuperblock({ syncid: 3 });
  expect(await holds(disk, store)).toBe(true);
});

test('it is not when another mirror went on from there, or from before that', async () => {
  for (const isDone of [true, false]) {
    const { disk, device, store } = await openFaulty();
    await writeUnanswered({ device, store }, 2, isDone);
    const other = await AreaStore.open(disk, AT_BYTES);
    if (other.state !== 'ok') throw new Error('no area');
    // The same version as ours, if that is not there.
    await other.store.writeSuperblock({ syncid: 2, isRunning: true });
    expect(await holds(disk, store)).toBe(false);
  }
});

test('a provider that another mirror has used is not: the smallest change of its superblock tells', async () => {
  const { device, store } = await makeArea();
  const other = await AreaStore.open(device, AT_BYTES);
  if (other.state !== 'ok') throw new Error('no area');
  await other.store.writeSuperblock({ isRunning: true });
  expect(await holds(device, store)).toBe(false);
});

test('a provider whose superblocks are gone, or of another mirror, is not', async () => {
  const { device, store } = await makeArea();
  await AreaStore.create(device, AT_BYTES, { ...newSuperblock(), areaId: Buffer.alloc(8, 0x77) });
  expect(await holds(device, store)).toBe(false);
  await request(device, 'write', { offsetBytes: AT_BYTES, lengthBytes: 8192 }, Buffer.alloc(8192));
  expect(await holds(device, store)).toBe(false);
});

test('a component that may come back by itself does so only while its superblock is the one that its mirror wrote', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const checks: ContentCheck[] = [];
  const guardReturn = (check: ContentCheck): void => void checks.push(check);
  const opened = await openComponent({ device: world.device('b'), area: null, guardReturn });
  if (opened.state !== 'ok') throw new Error(opened.why);
  const [check] = checks;
  if (check === undefined) throw new Error('nothing is guarded');
  const now = async (): Promise<boolean> => {
    const bytes = Buffer.alloc(check.lengthBytes);
    await request(world.device('b'), 'read', check, bytes);
    return check.holds(bytes);
  };
  await opened.store.writeSuperblock({ isRunning: true });
  expect(await now()).toBe(true);
  const stranger = await openComponent({ device: world.device('b'), area: null });
  if (stranger.state !== 'ok') throw new Error(stranger.why);
  await stranger.store.writeSuperblock({ isRunning: true });
  expect(await now()).toBe(false);
});
