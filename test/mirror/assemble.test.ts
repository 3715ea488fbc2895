import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { assemble, type AssembleOptions, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { readLabelSector, writeLabelSector } from '../../src/mirror/area/component-store.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { areaOffsetBytes } from '../../src/protocol/area-layout.js';
import { DeviceError } from '../../src/device/block-device.js';
import { decodeLabel, type GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import type { Superblock } from '../../src/protocol/superblock.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryDevice } from '../support/memory-device.js';
import type { RandomSource } from '../../src/device/random.js';
import { until } from '../support/until.js';

const SIZE = 12 * 1_048_576;
const EXTENT = 4_194_304;

/** Ids that repeat: each is a number of its own in all its bytes. */
function chanceFrom(first: number): RandomSource {
  let next = first;
  return { nextU32: () => next++, nextBytes: (lengthBytes) => Buffer.alloc(lengthBytes, next++) };
}

/** Disks that outlive their connections; null for one that is not there. */
class World {
  readonly events: string[] = [];
  readonly disks: MemoryDevice[];
  readonly gone = new Set<number>();
  #running: AssembledMirror | null = null;
  #starts = 0;

  constructor(count = 2) {
    this.disks = Array.from({ length: count }, (_, slot) => this.#disk(slot));
  }

  #disk(slot: number, data?: Buffer): MemoryDevice {
    const disk = new MemoryDevice({ mediaSizeBytes: SIZE, name: `disk${slot}` });
    data?.copy(disk.data);
    return disk;
  }

  disk(slot: number): MemoryDevice {
    const disk = this.disks[slot];
    if (disk === undefined) throw new Error(`no disk ${slot}`);
    return disk;
  }

  async create(): Promise<this> {
    const random = chanceFrom(7);
    await createMirror({
      name: 'm',
      devices: this.disks,
      balance: 'load',
      sliceBytes: 4096,
      noAutoSync: false,
      noFailSync: false,
      random,
    });
    return this;
  }

  /** The same bytes in new devices: whoever holds the old ones can't change them any more. A crash, if it was running. */
  power(): void {
    this.#running = null;
    this.disks.forEach(({ data }, slot) => (this.disks[slot] = this.#disk(slot, data)));
  }

  async start(degraded = false, options: Partial<AssembleOptions> = {}): Promise<AssembledMirror> {
    this.power();
    this.events.length = 0;
    const running = await assemble({
      name: 'm',
      providers: this.disks.map((device, slot) => ({
        name: `disk${slot}`,
        isLocal: slot === 0,
        open: () =>
          this.gone.has(slot)
            ? Promise.reject(new DeviceError('DEVICE_OPEN', 'ENXIO', `disk${slot} is not there`))
            : Promise.resolve({ device, area: null }),
      })),
      degraded,
      clock: new FakeClock(),
      random: chanceFrom(50 * ++this.#starts),
      events: { changed: (what, component) => this.events.push(`${component.name} ${what}`) },
      timeoutMs: 10_000,
      idleMs: 5000,
      extentsMax: 64,
      isAutosync: true,
      resyncBytesPerSecond: 0,
      ...options,
    });
    this.#running = running;
    return running;
  }

  async stop(): Promise<void> {
    await this.#running?.close();
    this.power();
  }

  async label(slot: number): Promise<GmirrorLabel> {
    return decodeLabel(await readLabelSector(this.disk(slot)));
  }

  async superblock(slot: number): Promise<Superblock> {
    const { mediaSizeBytes } = await this.label(slot);
    const opened = await AreaStore.open(this.disk(slot), areaOffsetBytes(mediaSizeBytes));
    if (opened.state !== 'ok') throw new Error(opened.state);
    return opened.store.superblock;
  }
}

const statesOf = ({ mirror }: AssembledMirror): string[] =>
  [...mirror.components].sort((a, b) => a.identity.slot - b.identity.slot).map(({ state }) => state);
const complete = (running: AssembledMirror): Promise<void> =>
  until('the mirror to be COMPLETE', () => running.mirror.state === 'COMPLETE').then(() => undefined);
const block = (value: number): Buffer => Buffer.alloc(4096, value);
const isEqual = (world: World): boolean => {
  const end = SIZE - 1_048_576;
  return world.disk(0).data.subarray(0, end).equals(world.disk(1).data.subarray(0, end));
};
const copiedTo = (running: AssembledMirror, slot: number): number =>
  running.mirror.components.find(({ identity }) => identity.slot === slot)?.counters.bytesWritten ?? -1;

let world = new World();
afterEach(() => world.stop());

describe('a start', () => {
  test('has all components of a new mirror over blank disks in step', async () => {
    world = await new World().create();
    expect(statesOf(await world.start())).toEqual(['ACTIVE', 'ACTIVE']);
    expect((await world.label(1)).syncid).toBe(1);
  });

  test('copies from the first component when the disks held something', async () => {
    world = new World();
    world.disk(0).data.fill(1, 0, 4096);
    world.disk(1).data.fill(2, 0, EXTENT);
    await world.create();
    expect((await world.label(1)).syncid).toBe(0);
    const running = await world.start();
    await complete(running);
    expect(world.disk(1).data.subarray(0, 4096).equals(block(1))).toBe(true);
    expect(isEqual(world)).toBe(true);
    await world.stop();
    expect(statesOf(await world.start())).toEqual(['ACTIVE', 'ACTIVE']);
  });

  test('after a clean stop copies nothing, and finds what was written', async () => {
    world = await new World().create();
    await writeBytes((await world.start()).mirror, 8192, block(5));
    await world.stop();
    expect((await world.superblock(0)).isRunning).toBe(false);
    expect((await world.label(0)).diskFlags.dirty).toBe(false);
    const again = await world.start();
    expect(statesOf(again)).toEqual(['ACTIVE', 'ACTIVE']);
    expect(await readBytes(again.mirror, { offsetBytes: 8192, lengthBytes: 4096 })).toEqual(block(5));
  });

  test('after a crash copies the extents of the log from the local component, and nothing else', async () => {
    world = await new World().create();
    await writeBytes((await world.start()).mirror, EXTENT + 8192, block(5));
    world.power();
    // A write that had reached one component only, and bytes that nobody was told about.
    world.disk(1).data.fill(9, EXTENT + 8192, EXTENT + 12_288);
    const again = await world.start();
    await complete(again);
    expect(copiedTo(again, 1)).toBeLessThanOrEqual(EXTENT);
    expect(isEqual(world)).toBe(true);
    expect(
      world
        .disk(1)
        .data.subarray(EXTENT + 8192, EXTENT + 12_288)
        .equals(block(5)),
    ).toBe(true);
  });

  test('that crashes again before the copy is done begins it again', async () => {
    world = await new World().create();
    await writeBytes((await world.start()).mirror, 8192, block(5));
    world.power();
    world.disk(1).data.fill(9, 8192, 12_288);
    await world.start(false, { isAutosync: false });
    const again = await world.start();
    await complete(again);
    expect(isEqual(world)).toBe(true);
  });

  test('after a crash late in a copy of everything copies what was left', async () => {
    world = new World();
    world.disk(0).data.fill(3, 0, 11 * 1_048_576);
    await world.create();
    const clock = new FakeClock();
    const first = await world.start(false, { clock, resyncBytesPerSecond: 1_048_576 });
    for (let passedMs = 0; passedMs < 10_500; passedMs += 100) {
      clock.advance(100);
      for (let turn = 0; turn < 5; turn++) await nextTurn();
    }
    expect(statesOf(first)).toEqual(['ACTIVE', 'SYNCHRONIZING']);
    const again = await world.start(false, { clock, resyncBytesPerSecond: 1_048_576 });
    const behind = again.mirror.components.find(({ state }) => state === 'SYNCHRONIZING');
    if (behind === undefined) throw new Error('nobody is copied to');
    expect(behind.isFull).toBe(false);
    expect(again.mirror.resyncOf(behind)?.totalBytes).toBeLessThanOrEqual(2.5 * 1_048_576);
    const end = await world.start();
    await complete(end);
    expect(isEqual(world)).toBe(true);
  });

  test('without a component wants to be allowed, and copies what it missed when it is there again', async () => {
    world = await new World().create();
    world.gone.add(1);
    await expect(world.start()).rejects.toMatchObject({
      code: 'ASSEMBLE_MISSING',
      message: expect.stringContaining('disk1 is not there') as string,
    });
    const degraded = await world.start(true);
    expect(statesOf(degraded)).toEqual(['ACTIVE', 'DISCONNECTED']);
    expect(degraded.mirror.components.map(({ trouble }) => trouble)).toEqual([
      null,
      expect.stringContaining('disk1 is not there') as string,
    ]);
    await writeBytes(degraded.mirror, 8192, block(6));
    await world.stop();
    world.gone.clear();
    const again = await world.start();
    await complete(again);
    expect(copiedTo(again, 1)).toBe(65_536);
    expect(isEqual(world)).toBe(true);
  });

  test('takes a component back that was missing at the start', async () => {
    world = await new World().create();
    world.gone.add(1);
    const running = await world.start(true);
    await writeBytes(running.mirror, 8192, block(6));
    world.gone.clear();
    const component = running.mirror.components.find(({ identity }) => identity.slot === 1);
    if (component === undefined) throw new Error('no component');
    expect(await running.mirror.arrive(component, await running.reopen(component))).toBe('SYNCHRONIZING');
    await complete(running);
    expect(isEqual(world)).toBe(true);
  });

  test('refuses two sides that were written without one another, and leaves both alone', async () => {
    world = await new World().create();
    for (const missing of [1, 0]) {
      world.gone.add(missing);
      await writeBytes((await world.start(true)).mirror, 0, block(missing + 1));
      await world.stop();
      world.gone.clear();
    }
    const before = world.disks.map(({ data }) => Buffer.from(data));
    const refused = world.start();
    await expect(refused).rejects.toMatchObject({ code: 'ASSEMBLE_SPLIT_BRAIN' });
    await expect(refused).rejects.toThrow(
      /disk0.*disk1.*resolve m --discard disk1' keeps disk0.*resolve m --discard disk0' keeps disk1/,
    );
    expect(world.disks.map(({ data }, slot) => data.equals(before[slot] ?? data))).toEqual([true, true]);
  });

  test('trusts no bitmap when the kernel ran one side, and copies everything from that side', async () => {
    world = await new World().create();
    await world.start();
    await world.stop();
    const label = await world.label(1);
    world.disk(1).data.fill(8, EXTENT, EXTENT + 4096);
    // Nobody marked this.
    world.disk(0).data.fill(7, 2 * EXTENT, 2 * EXTENT + 4096);
    await writeLabelSector(world.disk(1), { ...label, syncid: label.syncid + 1 });
    const again = await world.start();
    await complete(again);
    expect(isEqual(world)).toBe(true);
    expect(
      world
        .disk(0)
        .data.subarray(EXTENT, EXTENT + 4096)
        .equals(block(8)),
    ).toBe(true);
    expect((await world.label(0)).syncid).toBe(label.syncid + 2);
  });

  test('refuses a component of another mirror, one without a label, and a copy of a component', async () => {
    world = await new World().create();
    world.disk(0).data.copy(world.disk(1).data);
    await expect(world.start()).rejects.toThrow('disk1 and disk0 are the same component');
    world.disk(1).data.fill(0, SIZE - 512);
    await expect(world.start()).rejects.toThrow('disk1 has no gmirror label');
    await expect(world.start(false, { name: 'other' })).rejects.toThrow("component of mirror 'm', not of");
  });
});
