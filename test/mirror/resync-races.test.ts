import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { DeviceError } from '../../src/device/block-device.js';
import type { Arrival } from '../../src/mirror/mirror.js';
import { start } from '../support/device-requests.js';
import { lost, makeRig, type Rig } from '../support/mirror-rig.js';
import { SeededRandom } from '../support/seeded-random.js';
import { UnsteadyDevice } from '../support/unsteady-device.js';

/** A few regions, the last one short, so that everything meets everything. */
const SIZE = 12 * 65_536 + 8192;
const SECTORS = SIZE / 512;

/**
 * A mirror over disks that do requests in any order, callers that write and read, and components that come and go.
 * Every write has a number of its own in all its sectors, so a reader can tell what it sees.
 */
class World {
  readonly rig: Rig;
  readonly #random: SeededRandom;
  readonly #devices: (UnsteadyDevice | null)[] = [];
  /** By sector: the last write that was answered, and those that are under way. */
  readonly #answered = new Int32Array(SECTORS);
  readonly #writing = new Map<number, { readonly first: number; readonly end: number }>();
  /** By sector: what a read may see besides, for it was answered while the read was under way. */
  readonly #reading = new Set<{
    readonly first: number;
    readonly end: number;
    readonly seen: Set<number>[];
  }>();
  #nextWrite = 1;
  readonly #busy = new Set<Promise<void>>();
  readonly wrong: string[] = [];
  resyncs = 0;

  constructor(seed: number, count: number) {
    this.#random = new SeededRandom(seed);
    const can = { checksum: this.#random.chance(0.7), writeZeroes: this.#random.chance(0.7) };
    this.rig = makeRig({ count, mediaSizeBytes: SIZE, can, options: { timeoutMs: 1e9 } });
  }

  async run(steps: number): Promise<void> {
    const { rig } = this;
    for (const slot of rig.disks.keys()) await this.#replace(slot);
    for (let step = 0; step < steps; step++) {
      const dice = this.#random.below(100);
      if (dice < 12) this.#write();
      else if (dice < 18) this.#read();
      else if (dice < 19) this.#flush();
      else if (dice < 20) this.#lose();
      else if (dice < 23) this.#return();
      else if (dice < 25) rig.clock.advance(this.#random.below(400));
      else for (const device of this.#devices) device?.step(this.#random);
      if (this.#random.chance(0.5)) await nextTurn();
    }
    await this.#comeToRest();
  }

  /** Everybody comes back, everything is answered, and it is flushed. */
  async #comeToRest(): Promise<void> {
    const { rig } = this;
    for (let round = 0; round < 5_000; round++) {
      const isOver = this.#busy.size === 0 && rig.mirror.state === 'COMPLETE';
      if (isOver) break;
      if (round % 50 === 0) this.#return();
      rig.clock.advance(20);
      for (let step = 0; step < 8; step++) for (const device of this.#devices) device?.step(this.#random);
      await nextTurn();
    }
    this.#flush();
    for (let round = 0; round < 200 && this.#busy.size > 0; round++) {
      for (const device of this.#devices) device?.step(this.#random);
      await nextTurn();
    }
    expect(this.#busy.size).toBe(0);
    expect(rig.mirror.state).toBe('COMPLETE');
    expect(rig.mirror.locks.heldCount + rig.mirror.locks.waitingCount).toBe(0);
  }

  /** The disk's connection becomes one of ours. */
  async #replace(slot: number): Promise<void> {
    const { rig } = this;
    rig.mirror.drop(rig.component(slot), lost(`disk${slot}`));
    await rig.settle();
    const arriving = rig.mirror.arrive(rig.component(slot), this.#arrival(slot));
    for (let round = 0; round < 500 && rig.component(slot).state !== 'ACTIVE'; round++) {
      for (const device of this.#devices) device?.step(this.#random);
      await nextTurn();
    }
    await arriving;
  }

  #arrival(slot: number): Arrival {
    const arrival = this.rig.arrival(slot);
    const device = new UnsteadyDevice(arrival.media.data);
    this.#devices[slot] = device;
    const media = { ...arrival.media, data: device, abandon: () => device.lose(this.#random) };
    return { ...arrival, media };
  }

  #lose(): void {
    const { rig } = this;
    rig.mirror.drop(this.#random.pick(rig.mirror.components), lost('it'));
  }

  #return(): void {
    const { rig } = this;
    for (const component of rig.mirror.components) {
      if (component.isConnected) continue;
      if (this.#random.chance(0.1)) component.isFull = true;
      this.resyncs += 1;
      const { slot } = component.identity;
      this.#keep(rig.mirror.arrive(component, this.#arrival(slot)).then(() => undefined));
    }
  }

  #write(): void {
    const [first, end] = this.#sectors();
    const number = this.#random.chance(0.1) ? 0 : this.#nextWrite++;
    const range = { offsetBytes: first * 512, lengthBytes: (end - first) * 512 };
    const buffer = Buffer.alloc(range.lengthBytes);
    for (let at = 0; at < buffer.length; at += 4) buffer.writeInt32LE(number, at);
    const key = this.#nextWrite++;
    this.#writing.set(key, { first, end });
    this.#versions.set(key, number);
    const answered = (error: DeviceError | null): void => {
      if (error !== null) this.wrong.push(`a write failed: ${error.message}`);
      this.#writing.delete(key);
      this.#versions.delete(key);
      for (let sector = first; sector < end; sector++) {
        // Two that were under way together may be answered in any order.
        const isOverlapped = this.#othersIn(sector).length > 0;
        this.#answered[sector] = isOverlapped ? -1 : number;
      }
      this.#note();
    };
    this.#note();
    this.#keep(start(this.rig.mirror, 'write', range, buffer).then(answered));
  }
  readonly #versions = new Map<number, number>();

  #othersIn(sector: number): number[] {
    return [...this.#writing].flatMap(([key, range]) =>
      range.first <= sector && sector < range.end ? [this.#versions.get(key) ?? -1] : [],
    );
  }

  #read(): void {
    const [first, end] = this.#sectors();
    const range = { offsetBytes: first * 512, lengthBytes: (end - first) * 512 };
    const buffer = Buffer.alloc(range.lengthBytes, 0xff);
    const reading = { first, end, seen: Array.from({ length: end - first }, () => new Set<number>()) };
    this.#reading.add(reading);
    this.#note();
    const done = (error: DeviceError | null): void => {
      this.#note();
      this.#reading.delete(reading);
      if (error !== null) this.wrong.push(`a read failed: ${error.message}`);
      reading.seen.forEach((allowed, index) => {
        const value = buffer.readInt32LE(index * 512);
        const isUnknown = allowed.has(-1);
        if (!isUnknown && !allowed.has(value))
          this.wrong.push(
            `sector ${first + index} reads as write ${value}, not as ${[...allowed].join(' or ')}`,
          );
      });
    };
    this.#keep(start(this.rig.mirror, 'read', range, buffer).then(done));
  }

  /** What every read under way may see from now on. */
  #note(): void {
    for (const { first, seen } of this.#reading) {
      seen.forEach((allowed, index) => {
        allowed.add(this.#answered[first + index] ?? -1);
        for (const version of this.#othersIn(first + index)) allowed.add(version);
      });
    }
  }

  #flush(): void {
    const none = { offsetBytes: 0, lengthBytes: 0 };
    this.#keep(start(this.rig.mirror, 'flush', none).then(() => undefined));
  }

  #sectors(): readonly [number, number] {
    const first = this.#random.below(SECTORS);
    const count = this.#random.pick([1, 8, 64, 200]);
    return [first, Math.min(SECTORS, first + count)];
  }

  #keep(work: Promise<void>): void {
    this.#busy.add(work);
    work.then(
      () => this.#busy.delete(work),
      (error: unknown) => {
        this.#busy.delete(work);
        this.wrong.push(String(error));
      },
    );
  }

  get areEqual(): boolean {
    const [first, ...others] = this.rig.disks.map(({ memory }) => memory.data);
    return first !== undefined && others.every((data) => data.equals(first));
  }
}

async function runWorld(seed: number, count: number, steps = 3_000): Promise<World> {
  const world = new World(seed, count);
  await world.run(steps);
  return world;
}

describe('random work, losses and resyncs', () => {
  test.each(Array.from({ length: 12 }, (_, index) => ({ seed: index + 1, count: 2 + (index % 2) })))(
    'leave $count components the same, and show no reader old data (seed $seed)',
    async ({ seed, count }) => {
      const world = await runWorld(seed, count);
      expect(world.wrong).toEqual([]);
      expect(world.areEqual).toBe(true);
      expect(world.resyncs).toBeGreaterThan(3);
    },
  );

  test('are seen to differ where no range is locked', async () => {
    let differing = 0;
    for (let seed = 1; seed <= 4; seed++) {
      const world = new World(seed, 2);
      world.rig.mirror.locks.acquire = () => true;
      world.rig.mirror.locks.release = () => undefined;
      await world.run(3_000);
      if (!world.areEqual || world.wrong.length > 0) differing += 1;
    }
    expect(differing).toBeGreaterThan(0);
  });
});
