import { describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/device/random.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { readLabelSector } from '../../src/mirror/area/component-store.js';
import { createMirror, geometryOf } from '../../src/mirror/start/create.js';
import { areaOffsetBytes } from '../../src/protocol/area-layout.js';
import { decodeLabel } from '../../src/protocol/gmirror-label.js';
import { MemoryDevice } from '../support/memory-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { VolatileDevice } from '../support/volatile-device.js';
import type { BlockDevice } from '../../src/device/block-device.js';

const SIZE = 2 * 1_048_576;

async function create(name: string, devices: readonly BlockDevice[]): Promise<void> {
  const settings = { balance: 'load', sliceBytes: 4096, noAutoSync: false, noFailSync: false } as const;
  await createMirror({ name, devices, ...settings, random: systemRandom });
}

/** The mirrors that label and private area of a disk name; null for none, or one that can't be believed. */
async function namesOn(medium: Buffer, mediaSizeBytes: number): Promise<[string | null, string | null]> {
  const device = new MemoryDevice({ mediaSizeBytes: medium.length });
  medium.copy(device.data);
  const area = await AreaStore.open(device, areaOffsetBytes(mediaSizeBytes));
  let label: string | null = null;
  try {
    label = decodeLabel(await readLabelSector(device)).name;
  } catch {
    // None.
  }
  return [label, area.state === 'ok' ? area.store.superblock.name : null];
}

describe('a mirror that is made over another one', () => {
  test('leaves at every loss of power the old label over the old area, the new one over the new area, or no label', async () => {
    const [one, two] = [Buffer.alloc(SIZE, 7), Buffer.alloc(SIZE, 8)];
    const old = [one, two].map((medium) => new VolatileDevice({ medium }));
    await create('old', old);
    const { mediaSizeBytes } = geometryOf(old);
    const media = old.map((device) => device.crash(new SeededRandom(1)));
    const seen = new Set<string>();
    for (let requests = 1, isOver = false; !isOver; requests++) {
      const devices = media.map((medium) => new VolatileDevice({ medium: Buffer.from(medium) }));
      for (const device of devices) device.requestsLeft = requests;
      isOver = await create('new', devices).then(
        () => true,
        () => false,
      );
      const random = new SeededRandom(requests);
      for (const device of devices) {
        const [label, area] = await namesOn(device.crash(random), mediaSizeBytes);
        seen.add(String(label));
        if (label !== null) expect([requests, area]).toEqual([requests, label]);
      }
    }
    expect([...seen].sort()).toEqual(['new', 'null', 'old']);
  });

  test('touches nothing if one of its components could not be one', async () => {
    const devices = [new MemoryDevice({ mediaSizeBytes: SIZE }), new MemoryDevice({ mediaSizeBytes: 4096 })];
    for (const device of devices) device.data.fill(3);
    await expect(create('m', devices)).rejects.toThrow('too few');
    for (const device of devices) expect(device.data.every((byte) => byte === 3)).toBe(true);
  });
});

describe('the geometry of a mirror', () => {
  const disk = (mediaSizeBytes: number, sectorSizeBytes: number): MemoryDevice =>
    new MemoryDevice({ mediaSizeBytes, sectorSizeBytes });

  test.each([
    { sectors: [512, 512], combined: 512 },
    { sectors: [512, 4096], combined: 4096 },
    { sectors: [2048, 512, 1024], combined: 2048 },
  ])(
    'has the lowest common multiple of the sectors $sectors, as gmirror has',
    async ({ sectors, combined }) => {
      const devices = sectors.map((sectorBytes, index) => disk(SIZE + index * 4096, sectorBytes));
      const { mediaSizeBytes, sectorSizeBytes } = geometryOf(devices);
      expect(sectorSizeBytes).toBe(combined);
      expect(mediaSizeBytes % combined).toBe(0);
      expect(mediaSizeBytes).toBe(Math.min(...devices.map((one) => geometryOf([one]).mediaSizeBytes)));
      await create('m', devices);
      for (const device of devices) {
        const label = decodeLabel(await readLabelSector(device));
        expect(label).toMatchObject({
          sectorSizeBytes,
          mediaSizeBytes,
          providerSizeBytes: device.mediaSizeBytes,
        });
      }
    },
  );

  test('is none with sectors that no private area fits', () => {
    expect(() => geometryOf([disk(SIZE, 512), disk(SIZE, 8192)])).toThrow('4096 at most');
  });
});
