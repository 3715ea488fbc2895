import { afterEach, describe, expect, test } from 'vitest';
import type { RandomSource } from '../../src/device/random.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { assemble, type AssembledMirror, type AssembleOptions } from '../../src/mirror/start/assemble.js';
import { writeLabelSector } from '../../src/mirror/area/component-store.js';
import { areaSizeBytes } from '../../src/protocol/area-layout.js';
import { NO_DISK_FLAGS } from '../../src/protocol/gmirror-flags.js';
import { decodeLabel, type GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { aLabel, encodeOldLabel, kernelSector } from '../support/labels.js';
import { MemoryDevice } from '../support/memory-device.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;

/** Each draw is a number of its own in all its bytes. */
function chance(first: number): RandomSource {
  let next = first;
  return { nextU32: () => next++, nextBytes: (lengthBytes) => Buffer.alloc(lengthBytes, next++) };
}

/** A disk of the kernel's mirror, full of one value, and its area file, once there is one. */
class KernelDisk {
  device: MemoryDevice;
  area: MemoryDevice | null = null;

  constructor(
    readonly name: string,
    sizeBytes: number,
    value: number,
  ) {
    this.device = new MemoryDevice({ mediaSizeBytes: sizeBytes, name });
    this.device.data.fill(value, 0, sizeBytes - 512);
  }

  /** The same bytes in new devices, as after a crash: what was under way reaches the old ones. */
  power(): void {
    const copy = (old: MemoryDevice): MemoryDevice => {
      const device = new MemoryDevice({ mediaSizeBytes: old.mediaSizeBytes, name: old.name });
      old.data.copy(device.data);
      return device;
    };
    this.device = copy(this.device);
    if (this.area !== null) this.area = copy(this.area);
  }

  readonly opener = {
    isLocal: true,
    open: () => {
      // A closed one does not open again.
      this.power();
      const { device, area } = this;
      return Promise.resolve(area === null ? { device, area, newArea: this.#newArea } : { device, area });
    },
  };

  readonly #newArea = {
    name: 'new.area',
    make: async (superblock: Parameters<typeof AreaStore.create>[2]): Promise<void> => {
      const area = new MemoryDevice({ mediaSizeBytes: areaSizeBytes(superblock.mediaSizeBytes) });
      await AreaStore.create(area, 0, superblock);
      this.area = area;
    },
  };

  label(): GmirrorLabel {
    return decodeLabel(this.device.data.subarray(-512));
  }
}

let running: AssembledMirror | null = null;
afterEach(async () => {
  await running?.close();
  running = null;
});

let starts = 0;
async function start(
  disks: readonly KernelDisk[],
  options: Partial<AssembleOptions> = {},
): Promise<AssembledMirror> {
  running = await assemble({
    name: 'data',
    providers: disks.map((disk) => ({ ...disk.opener, name: disk.name })),
    degraded: false,
    clock: new FakeClock(),
    random: chance(20 * ++starts),
    events: { changed: () => undefined },
    timeoutMs: 10_000,
    idleMs: 5_000,
    extentsMax: 64,
    isAutosync: true,
    resyncBytesPerSecond: 0,
    ...options,
  });
  return running;
}

const complete = (mirror: AssembledMirror): Promise<unknown> =>
  until('the mirror to be COMPLETE', () => mirror.mirror.state === 'COMPLETE');

/** Disks of a kernel's mirror with these labels, each full of its number from 1 on. */
async function disksWith(...fields: readonly Partial<GmirrorLabel>[]): Promise<KernelDisk[]> {
  return await Promise.all(
    fields.map(async (field, index) => {
      const disk = new KernelDisk(`disk${index + 1}`, MIB, index + 1);
      await writeLabelSector(disk.device, aLabel({ all: fields.length, did: index + 2, ...field }));
      return disk;
    }),
  );
}

const valuesOf = (disks: readonly KernelDisk[]): number[] =>
  disks.map(({ device }) => device.data[MIB - 1024] ?? -1);
const dirty = { ...NO_DISK_FLAGS, dirty: true };
const synchronizing = { ...NO_DISK_FLAGS, synchronizing: true };

describe('a mirror of the kernel’s that is started with area files', () => {
  test('has the size of the kernel’s: test 1 of FreeBSD', async () => {
    const disks = [1, 2, 3].map((number) => new KernelDisk(`disk${number}`, number * MIB, 0));
    for (const [index, { device }] of disks.entries()) {
      const providerSizeBytes = device.mediaSizeBytes;
      await writeLabelSector(device, aLabel({ all: 3, did: index + 2, providerSizeBytes }));
    }
    expect((await start(disks)).mirror.mediaSizeBytes).toBe(1_048_064);
  });

  test.each([
    ['all clean and equal: nothing is copied', [{}, {}], [1, 2]],
    ['a lower syncid: that one is copied to', [{ syncid: 4 }, { syncid: 5 }], [2, 2]],
    [
      'all DIRTY: the highest priority wins',
      [{ diskFlags: dirty }, { diskFlags: dirty, priority: 9 }],
      [2, 2],
    ],
    ['1 of 2 DIRTY: the clean one wins', [{ diskFlags: dirty }, {}], [2, 2]],
    [
      'an interrupted synchronization begins anew',
      [{}, { diskFlags: synchronizing, syncOffsetBytes: 1_048_064 }],
      [1, 1],
    ],
    ['a name of 15 bytes', [{ name: 'a'.repeat(15) }, { name: 'a'.repeat(15), syncid: 0 }], [1, 1]],
  ])('%s', async (_what, fields, values) => {
    const disks = await disksWith(...fields);
    const { name, mid } = disks[0]?.label() ?? aLabel();
    await complete(await start(disks, { name }));
    await running?.close();
    expect(valuesOf(disks)).toEqual(values);
    const labels = disks.map((disk) => disk.label());
    expect(labels.map((label) => [label.mid, label.did, label.diskFlags])).toEqual(
      disks.map((_, index) => [mid, index + 2, NO_DISK_FLAGS]),
    );
    expect(new Set(labels.map(({ genid, syncid }) => `${genid}.${syncid}`)).size).toBe(1);
  });

  test.each([
    ['genids 1 and 0: the lower one is broken', [{ genid: 1 }, {}], 'disk2 is broken'],
    ['INACTIVE', [{}, { diskFlags: { ...NO_DISK_FLAGS, inactive: true } }], 'disk2 is marked as inactive'],
    [
      'another provsize',
      [{}, { providerSizeBytes: MIB + 512 }],
      'disk2 has another size than its label says',
    ],
    ['unequal media sizes', [{}, { mediaSizeBytes: 524_288 }], 'disk2 says another size of its mirror'],
    [
      'another mirror of the same name',
      [{}, { mid: 77 }],
      'disk2 belongs to another mirror of the same name',
    ],
    ['two with one id', [{}, { did: 2 }], 'disk2 has the component id of one that is there already'],
    [
      '3 components, of which 2 are named',
      [{ all: 3 }, { all: 3 }],
      'has 3 components, of which 2 are there',
    ],
    [
      'all being synchronized',
      [{ diskFlags: synchronizing }, { diskFlags: synchronizing }],
      'every component was being synchronized',
    ],
  ])('is refused, and nothing is written, with %s', async (_what, fields, says) => {
    const disks = await disksWith(...fields);
    const before = disks.map(({ device }) => Buffer.from(device.data));
    await expect(start(disks)).rejects.toThrow(says);
    expect(disks.map(({ device, area }, i) => [device.data.equals(before[i] ?? device.data), area])).toEqual(
      disks.map(() => [true, null]),
    );
  });

  test.each([0, 1])(
    'is refused, and nothing is written, with a flag in label %i that must never be there (0x10)',
    async (index) => {
      const disks = await disksWith({}, {});
      const odd = encodeOldLabel(aLabel({ did: index + 2 }), { version: 3, dflags: 0x10n });
      odd.copy(disks[index]?.device.data ?? Buffer.alloc(0), MIB - 512);
      const before = disks.map(({ device }) => Buffer.from(device.data));
      await expect(start(disks)).rejects.toThrow(`disk${index + 1} has flags in its label that nobody knows`);
      expect(disks.map(({ device }, i) => device.data.equals(before[i] ?? device.data))).toEqual([
        true,
        true,
      ]);
    },
  );

  test('answers reads with balance none, with which the kernel never does', async () => {
    const disks = await disksWith({ balance: 0 }, { balance: 0 });
    const { mirror } = await start(disks);
    const found = await readBytes(mirror, { offsetBytes: 0, lengthBytes: 512 });
    expect([1, 2]).toContain(found[0]);
  });

  test('forgets who is missing when it is started degraded', async () => {
    const disks = await disksWith({ all: 3 }, { all: 3 });
    await start(disks, { degraded: true });
    await running?.close();
    expect(disks.map((disk) => disk.label().all)).toEqual([2, 2]);
  });

  test('takes the data of the chosen one, whatever the labels say', async () => {
    const disks = await disksWith({ syncid: 1 }, { syncid: 9 });
    await complete(await start(disks, { source: 'disk1' }));
    await running?.close();
    expect(valuesOf(disks)).toEqual([1, 1]);
    // Nor may the kernel take the other one for newer.
    expect(disks[0]?.label().syncid).toBeGreaterThanOrEqual(9);
  });

  test.each([
    ['04-after-write-closed', 'in step', 0],
    ['05-dirty-open', 'a crash of the kernel', 1],
    ['02-inserted-noautosync', 'inserted and not yet synchronized', 1],
  ])('from the real labels %s (%s)', async (point, _what, behindCount) => {
    const disks = ['a', 'b'].map((letter, index) => {
      const disk = new KernelDisk(letter, 4 * MIB, index + 1);
      kernelSector(`${point}.${letter}`).copy(disk.device.data, 4 * MIB - 512);
      return disk;
    });
    const { mirror } = await start(disks, { name: 'remotemirror', isAutosync: false });
    expect(mirror.components.filter(({ state }) => state !== 'ACTIVE')).toHaveLength(behindCount);
  });
});

test('a late DIRTY component with the same syncid is copied to, not taken as good: test 8 of FreeBSD', async () => {
  const disks = await disksWith({}, {});
  for (const disk of disks) disk.device.data.fill(1, 0, MIB - 512);
  // The one that runs now is never ended: its disks are taken away.
  await writeBytes((await start(disks)).mirror, 0, Buffer.alloc(4096, 5));
  for (const disk of disks) disk.power();
  const [one, two] = disks;
  if (one === undefined || two === undefined) throw new Error('two disks');
  one.device.data.fill(6, 0, 2048);
  await (await start([one], { degraded: true })).close();
  const again = await start(disks);
  await complete(again);
  await again.close();
  expect(two.device.data.subarray(0, MIB - 512).equals(one.device.data.subarray(0, MIB - 512))).toBe(true);
  expect(two.device.data[0]).toBe(6);
});
