import type { BlockDevice, BlockIo, Capabilities } from '../src/device/block-device.js';
import { createMirror, geometryOf } from '../src/mirror/start/create.js';
import { Chance } from './chance.js';
import { SECTOR_BYTES, SimDisk, type Chunks } from './disk.js';
import { DiskConduct, NORMAL_LATENCY_MS } from './disk-handle.js';
import { Host } from './host.js';
import { Link } from './link.js';
import { openSimRemote, type OpenSimRemote } from './remote.js';
import type { World } from './world.js';

export const MIRROR_NAME = 'sim';
const CAN: Capabilities = {
  read: true,
  write: true,
  flush: true,
  trim: false,
  writeZeroes: true,
  checksum: true,
};

/** Answers at once: for what happens before the world begins. */
class InstantDevice implements BlockDevice {
  readonly sectorSizeBytes = SECTOR_BYTES;
  readonly can = CAN;
  readonly name: string;
  readonly mediaSizeBytes: number;

  constructor(private readonly disk: SimDisk) {
    this.name = disk.name;
    this.mediaSizeBytes = disk.sizeBytes;
  }

  start(io: BlockIo): void {
    const { op, offsetBytes, buffer, bufferAt, lengthBytes } = io;
    const part = buffer?.subarray(bufferAt, bufferAt + lengthBytes) ?? null;
    if (op === 'read' && part !== null) this.disk.read(offsetBytes, part);
    else if (op === 'flush') this.disk.flush(Infinity);
    else this.disk.write(io, op === 'write' ? part : null, { answeredAt: 0 });
    queueMicrotask(() => io.done(null));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface Labelled {
  readonly disks: readonly Chunks[];
  readonly mediaSizeBytes: number;
}

const labelled = new Map<string, Promise<Labelled>>();

/** Disks with a new mirror on them, blank otherwise. Made once for each size and number, because it takes a while. */
function labelledDisks(count: number, sizeBytes: number): Promise<Labelled> {
  const key = `${count} of ${sizeBytes}`;
  let made = labelled.get(key);
  if (made === undefined) labelled.set(key, (made = label(count, sizeBytes)));
  return made;
}

async function label(count: number, sizeBytes: number): Promise<Labelled> {
  const disks = Array.from({ length: count }, (_, index) => new SimDisk(`disk${index}`, sizeBytes));
  const devices = disks.map((disk) => new InstantDevice(disk));
  await createMirror({
    name: MIRROR_NAME,
    devices,
    balance: 'round-robin',
    sliceBytes: 4096,
    noAutoSync: false,
    noFailSync: false,
    random: new Chance(count),
  });
  return { disks: disks.map(({ chunks }) => chunks), mediaSizeBytes: geometryOf(devices).mediaSizeBytes };
}

export interface ClusterOptions {
  readonly componentCount: number;
  readonly diskSizeBytes: number;
  /** See Plan. */
  readonly plainHost?: number;
}

/** Hosts with a disk each, all of them components of one mirror, and a link between any two. */
export class Cluster {
  /** How a mirror reaches another host's disk. */
  openRemote: OpenSimRemote = openSimRemote;
  readonly #links = new Map<string, Link>();

  private constructor(
    readonly world: World,
    readonly hosts: readonly Host[],
    /** Of the mirror. */
    readonly mediaSizeBytes: number,
    chance: Chance,
  ) {
    for (const one of hosts) {
      for (const other of hosts) {
        if (one.name >= other.name) continue;
        this.#links.set(keyOf(one, other), new Link(world, chance.fork(keyOf(one, other))));
      }
    }
  }

  static async make(world: World, chance: Chance, options: ClusterOptions): Promise<Cluster> {
    const { componentCount, diskSizeBytes } = options;
    const { disks, mediaSizeBytes } = await labelledDisks(componentCount, diskSizeBytes);
    const hosts = disks.map((content, index) => {
      const name = 'ABCDEFGH'[index] ?? '';
      const drive = {
        disk: new SimDisk(`disk${name}`, diskSizeBytes, content),
        conduct: new DiskConduct(),
        can: CAN,
        chance: chance.fork(`disk ${name}`),
        mediaSizeBytes,
      };
      const host = new Host(world, name, drive);
      host.isPlain = index === options.plainHost;
      // The private area takes a disk that can't be flushed for one that keeps what it has answered.
      if (host.isPlain) drive.disk.keepsFromBytes = mediaSizeBytes;
      return host;
    });
    return new Cluster(world, hosts, mediaSizeBytes, chance);
  }

  get links(): readonly Link[] {
    return [...this.#links.values()];
  }

  host(index: number): Host {
    const host = this.hosts[index % this.hosts.length];
    if (host === undefined) throw new Error(`no host ${index}`);
    return host;
  }

  /** Null for a host and itself. */
  link(one: Host, other: Host): Link | null {
    return this.#links.get(keyOf(one, other)) ?? null;
  }

  /** Everything works again, and every host is on. */
  heal(): void {
    for (const link of this.#links.values()) link.heal();
    for (const host of this.hosts) {
      host.drive.conduct.heal();
      host.drive.conduct.latencyMs = NORMAL_LATENCY_MS;
      host.powerOn();
    }
  }
}

const keyOf = (one: Host, other: Host): string => [one.name, other.name].sort().join('-');
