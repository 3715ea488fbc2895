import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { areaSizeBytes } from '../../src/protocol/area-layout.js';
import {
  AREA_MEDIA_BYTES,
  AreaModel,
  bitmapSaying,
  habitsOf,
  MANY_PAGES_MEDIA_BYTES,
  newSuperblock,
  pageSays,
  uuidOf,
} from '../support/area-model.js';
import { FREE_SLOT } from '../../src/protocol/superblock.js';
import { SeededRandom } from '../support/seeded-random.js';
import { VolatileDevice, type VolatileDeviceOptions } from '../support/volatile-device.js';

const STEPS = 30;
/** Ways in which the same loss of power is looked at. */
const CRASHES = 4;

async function newArea(mediaSizeBytes = AREA_MEDIA_BYTES): Promise<Buffer> {
  const device = new VolatileDevice({ medium: Buffer.alloc(areaSizeBytes(mediaSizeBytes), 0xa5) });
  await AreaStore.create(device, 0, newSuperblock({ mediaSizeBytes }));
  return device.crash(new SeededRandom(1));
}

async function openArea(device: VolatileDevice): Promise<AreaStore> {
  const opened = await AreaStore.open(device, 0);
  if (opened.state !== 'ok') throw new Error(`the area is ${opened.state}`);
  return opened.store;
}

interface Run {
  readonly seed: number;
  readonly diesAfter: number;
  /** How often a write or flush fails without the device being gone. */
  readonly failures?: number;
  readonly mediaSizeBytes?: number;
  readonly options?: Omit<VolatileDeviceOptions, 'medium'>;
}

/** Performs random operations until the power goes, and again from what that leaves. Returns what is wrong then. */
async function runOnce(fresh: Buffer, run: Run): Promise<{ wrong: string | null; requestCount: number }> {
  const random = new SeededRandom(run.seed);
  const device = new VolatileDevice({ medium: Buffer.from(fresh), ...run.options });
  const model = AreaModel.fresh(run.mediaSizeBytes);
  const habits = habitsOf(run.seed);
  device.requestsLeft = run.diesAfter;
  const failures = run.failures ?? 0;
  if (failures > 0) device.failing = () => random.chance(failures);
  try {
    let store = await openArea(device);
    for (let step = 0; step < STEPS; step++) {
      // A process that ends and starts again finds what it wrote, but does not know how much of it is durable.
      if (random.chance(habits.reopen)) {
        store = await openArea(device);
        model.reopened();
      }
      await model.step(store, random, habits).catch((error: unknown) => {
        if (device.isDead() || failures === 0 || !(error instanceof DeviceError)) throw error;
      });
    }
  } catch (error) {
    // A store that can't be opened because its repair failed ends the run.
    if (!(error instanceof DeviceError) || (!device.isDead() && failures === 0)) throw error;
  }
  const { requestCount } = device;
  let wrong: string | null = null;
  for (let crash = 0; crash < CRASHES && wrong === null; crash++) {
    wrong = await model.verify(new VolatileDevice({ medium: device.crash(random) }));
  }
  return { wrong, requestCount };
}

describe('after a loss of power', () => {
  test('at every request of random sequences, each thing is as it was before or after, never older than a flush', async () => {
    const fresh = await newArea();
    for (let seed = 1; seed <= 10; seed++) {
      const { requestCount } = await runOnce(fresh, { seed, diesAfter: Infinity });
      for (let diesAfter = 1; diesAfter <= requestCount; diesAfter++) {
        const { wrong } = await runOnce(fresh, { seed, diesAfter });
        expect(wrong, `seed=${seed} diesAfter=${diesAfter}`).toBeNull();
      }
    }
  });

  test('the same holds when single writes and flushes fail before it', async () => {
    const fresh = await newArea();
    for (let seed = 1; seed <= 400; seed++) {
      const { wrong } = await runOnce(fresh, { seed, diesAfter: 20 + (seed % 80), failures: 0.1 });
      expect(wrong, `seed=${seed}`).toBeNull();
    }
  });

  test('the same holds of many bitmap blocks that are written together', async () => {
    const mediaSizeBytes = MANY_PAGES_MEDIA_BYTES;
    const fresh = await newArea(mediaSizeBytes);
    for (let seed = 1; seed <= 90; seed++) {
      const failures = seed % 3 === 0 ? 0.1 : 0;
      const { wrong } = await runOnce(fresh, {
        seed,
        diesAfter: 4 + ((seed * 7) % 90),
        failures,
        mediaSizeBytes,
      });
      expect(wrong, `seed=${seed}`).toBeNull();
    }
  });

  test('what a process left behind that ended after a failed flush is not taken for durable by the next one', async () => {
    const fresh = await newArea();
    const says = (version: number): string => pageSays(bitmapSaying(1, version), 1);
    const outcomes = new Set<string>();
    for (let seed = 1; seed <= 200; seed++) {
      const device = new VolatileDevice({ medium: Buffer.from(fresh) });
      const before = await openArea(device);
      for (const version of [4, 5]) await before.writeBitmap(0, bitmapSaying(1, version), [1]);
      device.failing = (io) => io.op === 'flush';
      await expect(before.writeBitmap(0, bitmapSaying(1, 6), [1])).rejects.toBeInstanceOf(DeviceError);
      device.failing = () => false;
      const after = await openArea(device);
      device.requestsLeft = 1 + (seed % 12);
      await after.writeBitmap(0, bitmapSaying(1, 7), [1]).catch((error: unknown) => {
        if (!device.isDead()) throw error;
      });
      const survivor = new VolatileDevice({ medium: device.crash(new SeededRandom(seed)) });
      outcomes.add(pageSays(await (await openArea(survivor)).readBitmap(0), 1));
    }
    expect([...outcomes].sort()).toEqual([says(5), says(6), says(7)]);
  });

  test('a log written around its ring without a flush still tells what the last flush covered', async () => {
    const fresh = await newArea();
    const never = { flush: 0, reopen: 0, kinds: ['log'] } as const;
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed);
      const device = new VolatileDevice({ medium: Buffer.from(fresh) });
      const model = AreaModel.fresh();
      const store = await openArea(device);
      await model.step(store, random, { ...never, flush: 1 });
      for (let step = 0; step < 10 + (seed % 40); step++) await model.step(store, random, never);
      for (let crash = 0; crash < 20; crash++) {
        const wrong = await model.verify(new VolatileDevice({ medium: device.crash(random) }));
        expect(wrong, `seed=${seed} crash=${crash}`).toBeNull();
      }
    }
  });

  test('a disk whose flush does nothing is caught by these tests', async () => {
    const fresh = await newArea();
    let caught = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const run = { seed, diesAfter: Infinity, options: { flushIsALie: true } };
      const { wrong } = await runOnce(fresh, run);
      if (wrong !== null) caught += 1;
    }
    expect(caught).toBeGreaterThan(10);
  });

  test('crash upon crash upon crash leaves an area that can be read and written', async () => {
    let medium = await newArea();
    const random = new SeededRandom(77);
    let syncid = 1;
    for (let round = 0; round < 200; round++) {
      const device = new VolatileDevice({ medium });
      device.requestsLeft = 1 + random.below(14);
      let attempted = syncid;
      try {
        const store = await openArea(device);
        for (;;) {
          attempted += 1;
          await store.writeSuperblock({ syncid: attempted });
          syncid = attempted;
        }
      } catch (error) {
        if (!device.isDead()) throw error;
      }
      medium = device.crash(random);
      const found = (await openArea(new VolatileDevice({ medium: Buffer.from(medium) }))).superblock.syncid;
      expect([syncid, attempted], `round=${round}`).toContain(found);
      syncid = found;
    }
  });
});

describe('making an area over another one', () => {
  test('leaves, at every loss of power, the old area whole, the new one, none, or a damaged one', async () => {
    const old = new VolatileDevice({ medium: await newArea() });
    const store = await openArea(old);
    // A superblock that fills two sectors, so that it can be torn.
    const slots = newSuperblock().slots.with(7, { ...FREE_SLOT, componentUuid: uuidOf(0xc7) });
    await store.writeSuperblock({ slots });
    await store.writeLog([3, 5]);
    await store.writeBitmap(1, bitmapSaying(2, 9), [2]);
    await store.writeSuperblock({ genid: 7 });
    const medium = old.crash(new SeededRandom(1));
    const next = newSuperblock({ areaId: Buffer.alloc(8, 9) });
    const seen = new Set<string>();
    for (const writeZeroes of [true, false]) {
      for (let diesAfter = 1; diesAfter <= 20; diesAfter++) {
        for (let seed = 1; seed <= 10; seed++) {
          const device = new VolatileDevice({ medium: Buffer.from(medium), can: { writeZeroes } });
          device.requestsLeft = diesAfter;
          await AreaStore.create(device, 0, next).catch((error: unknown) => {
            if (!device.isDead()) throw error;
          });
          const survivor = new VolatileDevice({ medium: device.crash(new SeededRandom(seed)) });
          seen.add(await describeArea(survivor));
        }
      }
    }
    expect([...seen].sort()).toEqual(['damaged', 'new', 'none', 'old 7, log 3 5, page 9 5009 11009 17009']);
  });
});

async function describeArea(device: VolatileDevice): Promise<string> {
  const opened = await AreaStore.open(device, 0);
  if (opened.state !== 'ok') return opened.state;
  const { store } = opened;
  const log = store.readLog();
  const said = log === 'damaged' ? log : log.join(' ');
  const page = pageSays(await store.readBitmap(1), 2);
  const { genid, areaId } = store.superblock;
  if (areaId[0] === 9) return genid === 0 && said === '' && page === '0' ? 'new' : 'new, but not empty';
  return `old ${genid}, log ${said}, page ${page}`;
}
