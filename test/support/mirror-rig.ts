import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RandomSource } from '../../src/device/random.js';
import type { Component } from '../../src/mirror/component.js';
import { Mirror, type Arrival, type MirrorOptions } from '../../src/mirror/mirror.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type Superblock } from '../../src/protocol/superblock.js';
import { DeviceError } from '../../src/device/block-device.js';
import { FakeClock } from './fake-clock.js';
import { FaultDevice } from './fault-device.js';
import { MemoryDevice } from './memory-device.js';
import { MemoryMetaStore } from './memory-meta-store.js';

export const MIRROR_UUID = 'a'.repeat(32);
export const FIRST_GENERATION = '1'.repeat(32);
const uuidOf = (slot: number): string =>
  String(slot + 2)
    .repeat(32)
    .slice(0, 32);

/** One component's disk, which outlives its connections. */
export interface RigDisk {
  readonly memory: MemoryDevice;
  readonly store: MemoryMetaStore;
  /** Of the present connection. */
  fault: FaultDevice;
  isAbandoned: boolean;
  /** Its present connection is gone, and nobody has asked anything of it. */
  vanish: (error: DeviceError) => void;
}

export interface Rig {
  readonly mirror: Mirror;
  readonly clock: FakeClock;
  readonly disks: readonly RigDisk[];
  readonly events: string[];
  component(slot: number): Component;
  /** What a component brings along when it comes back as its disk is now. */
  arrival(slot: number): Arrival;
  /** It comes back as its disk is now. */
  arrive(slot: number): Promise<string>;
  settle(): Promise<void>;
}

class CountingRandom implements RandomSource {
  #count = 0xa0;
  nextU32(): number {
    return this.#count++;
  }
  nextBytes(lengthBytes: number): Buffer {
    return Buffer.alloc(lengthBytes, this.#count++);
  }
}

export interface RigOptions {
  readonly count?: number;
  readonly mediaSizeBytes?: number;
  readonly options?: Partial<MirrorOptions>;
  /** By slot; left out for those that have none of their own. */
  readonly timeoutsMs?: Readonly<Record<number, number>>;
  /** What its disks can do; left out: everything. */
  readonly can?: Partial<MemoryDevice['can']>;
}

export function makeRig({
  count = 2,
  mediaSizeBytes = 16 * 1_048_576,
  options = {},
  timeoutsMs = {},
  can = {},
}: RigOptions = {}): Rig {
  const clock = new FakeClock();
  const events: string[] = [];
  const slots = Array.from({ length: SLOT_COUNT }, (_, slot) =>
    slot < count ? { ...FREE_SLOT, componentUuid: uuidOf(slot) } : FREE_SLOT,
  );
  const disks: RigDisk[] = Array.from({ length: count }, (_, slot) => {
    const memory = new MemoryDevice({ mediaSizeBytes, name: `disk${slot}`, can });
    const superblock: Superblock = {
      sequence: 1,
      areaId: Buffer.alloc(8, slot),
      mirrorUuid: MIRROR_UUID,
      componentUuid: uuidOf(slot),
      name: 'rig',
      mediaSizeBytes,
      sectorSizeBytes: 512,
      regionSizeBytes: 65_536,
      extentSizeBytes: 4_194_304,
      logBlockCount: 16,
      bitmapBlockCount: 1,
      isRunning: false,
      isInconsistent: false,
      current: FIRST_GENERATION,
      history: [],
      slot,
      genid: 0,
      syncid: 1,
      modifiedNs: 0n,
      slots,
    };
    return {
      memory,
      store: new MemoryMetaStore(superblock),
      fault: new FaultDevice(memory),
      isAbandoned: false,
      vanish: () => undefined,
    };
  });
  const mirror = new Mirror({
    name: 'rig',
    uuid: MIRROR_UUID,
    mediaSizeBytes,
    sectorSizeBytes: 512,
    components: disks.map((_, slot) => ({
      uuid: uuidOf(slot),
      slot,
      name: `disk${slot}`,
      priority: 10 - slot,
      isLocal: slot === 0,
      ...(timeoutsMs[slot] === undefined ? {} : { timeoutMs: timeoutsMs[slot] }),
    })),
    journal: {
      current: FIRST_GENERATION,
      history: [],
      lostAt: Array.from({ length: SLOT_COUNT }, () => NO_UUID),
      unheard: [],
      genid: 0,
      syncid: 1,
    },
    balance: 'prefer',
    sliceBytes: 4096,
    clock,
    random: new CountingRandom(),
    events: {
      changed: (what, component, why) =>
        events.push(`${component.name} ${what}${why === null ? '' : `: ${why}`}`),
    },
    extentsMax: 64,
    timeoutMs: 10_000,
    idleMs: 5000,
    isAutosync: true,
    resyncBytesPerSecond: 0,
    ...options,
  });
  const connect = (disk: RigDisk) => {
    disk.fault = new FaultDevice(disk.memory, disk.fault.plan);
    disk.isAbandoned = false;
    const { fault } = disk;
    const lost = new Promise<DeviceError>((resolve) => (disk.vanish = resolve));
    return {
      lost,
      data: fault,
      store: disk.store,
      abandon: () => {
        disk.isAbandoned = true;
        fault.plan = () => ({ kind: 'fail', errno: 'ENXIO' });
        fault.release();
      },
      close: () => Promise.resolve(),
    };
  };
  const component = (slot: number): Component => {
    const found = mirror.components.find(({ identity }) => identity.slot === slot);
    if (found === undefined) throw new Error(`no component in slot ${slot}`);
    return found;
  };
  const arrival = (slot: number): Arrival => {
    const disk = disks[slot];
    if (disk === undefined) throw new Error(`no disk ${slot}`);
    disk.fault.plan = () => null;
    return { media: connect(disk), superblock: disk.store.superblock, touch: null };
  };
  disks.forEach((disk, slot) => mirror.attachActive(component(slot), connect(disk)));
  return {
    mirror,
    clock,
    disks,
    events,
    component,
    arrival,
    arrive: (slot) => mirror.arrive(component(slot), arrival(slot)),
    settle: async () => {
      for (let turn = 0; turn < 50; turn++) await nextTurn();
    },
  };
}

export const lost = (name: string): DeviceError => new DeviceError('DEVICE_LOST', 'ENXIO', `${name} is gone`);
