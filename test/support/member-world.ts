import type { BlockDevice, BlockIo } from '../../src/device/block-device.js';
import { DeviceError } from '../../src/device/block-device.js';
import { FlushNote } from '../../src/device/flush-note.js';
import type { RandomSource } from '../../src/device/random.js';
import { AreaStore } from '../../src/mirror/area/area-store.js';
import { assemble, type AssembleOptions, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import type { Component } from '../../src/mirror/component.js';
import { readLabelSector } from '../../src/mirror/area/component-store.js';
import { createMirror } from '../../src/mirror/start/create.js';
import type { InsertOptions } from '../../src/mirror/members/membership.js';
import type { OpenedProvider, ProviderOpener } from '../../src/mirror/area/provider.js';
import { flushWhereAble, request } from '../../src/device/request.js';
import { areaOffsetBytes, areaSizeBytes } from '../../src/protocol/area-layout.js';
import { decodeLabel, type GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import type { Superblock } from '../../src/protocol/superblock.js';
import { FaultDevice, type Fault } from './fault-device.js';
import { FakeClock } from './fake-clock.js';
import { SeededRandom } from './seeded-random.js';
import { until } from './until.js';
import { VolatileDevice } from './volatile-device.js';

export const DISK_BYTES = 2 * 1_048_576;

/** Requests of all disks together until power is lost. */
interface Power {
  requestsLeft: number;
  /** Requests that change nothing do not count. */
  isCountingReads: boolean;
}

class PoweredDevice extends VolatileDevice {
  constructor(
    private readonly power: Power,
    medium: Buffer,
    canFlush: boolean,
  ) {
    super({ medium, can: { flush: canFlush } });
  }

  override start(io: BlockIo): void {
    if (io.op !== 'read' || this.power.isCountingReads) this.power.requestsLeft -= 1;
    if (this.power.requestsLeft <= 0) this.requestsLeft = 0;
    super.start(io);
  }
}

/** The same device, whose flushes are noted. */
function withNote(device: BlockDevice, note: FlushNote): BlockDevice {
  const flush = (io: BlockIo): Promise<void> =>
    new Promise((resolve, reject) => {
      const done = (error: DeviceError | null): void => (error === null ? resolve() : reject(error));
      const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
      device.start({ op, offsetBytes, lengthBytes, buffer, bufferAt, done });
    });
  const start = (io: BlockIo): void => {
    if (io.op !== 'flush') device.start(io);
    else
      note
        .during(() => flush(io))
        .then(
          () => io.done(null),
          (error: unknown) => io.done(error as DeviceError),
        );
  };
  const { name, mediaSizeBytes, sectorSizeBytes, can } = device;
  return { name, mediaSizeBytes, sectorSizeBytes, can, start, close: () => device.close() };
}

/** Draws that repeat, each another one. */
function chanceFrom(first: number): RandomSource {
  let next = first;
  return {
    nextU32: () => next++,
    nextBytes: (lengthBytes) => {
      const bytes = Buffer.alloc(lengthBytes, 0x11);
      bytes.writeUInt32BE(next++, 0);
      return bytes;
    },
  };
}

const areaOf = (name: string): string => `${name}.area`;

/** Disks with volatile caches and one power supply, and the mirror over them. They are called by letters. */
export class MemberWorld {
  readonly #media = new Map<string, Buffer>();
  readonly #devices = new Map<string, PoweredDevice>();
  readonly #power: Power = { requestsLeft: Infinity, isCountingReads: true };
  readonly events: string[] = [];
  readonly gone = new Set<string>();
  /** What goes wrong with the requests of a disk, where there is something. */
  readonly plans = new Map<string, (io: BlockIo) => Fault | null>();
  /** Disks of this host whose flushes are noted where a kill does not reach, and a loss of power does. */
  readonly noted = new Set<string>();
  /** The disks that such a note says are in doubt. */
  readonly inDoubt = new Set<string>();
  /** Disks whose servers were asked to tell of a failed flush once more. */
  readonly toldAgain = new Set<string>();
  readonly #unflushable = new Set<string>();
  readonly #connected = new Map<string, FaultDevice>();
  #starts = 0;

  constructor(names: string, sizes: Readonly<Record<string, number>> = {}) {
    for (const name of names) this.#media.set(name, Buffer.alloc(sizes[name] ?? DISK_BYTES));
    this.plugIn();
  }

  /** Puts the disks in as they are on their media. */
  plugIn(names?: string): void {
    this.#power.requestsLeft = Infinity;
    for (const [name, medium] of this.#media) {
      if (names?.includes(name) === false) continue;
      this.#devices.set(name, new PoweredDevice(this.#power, medium, !this.#unflushable.has(name)));
    }
  }

  /** From now on this disk knows no flush, as one behind a ggated before FreeBSD 14. Nothing runs. */
  denyFlush(name: string): void {
    this.#unflushable.add(name);
    this.plugIn();
  }

  allowFlush(name: string): void {
    this.#unflushable.delete(name);
    this.plugIn();
  }

  copy(): MemberWorld {
    const copy = new MemberWorld('');
    for (const [name, medium] of this.#media) copy.#media.set(name, Buffer.from(medium));
    copy.plugIn();
    return copy;
  }

  device(name: string): VolatileDevice {
    const device = this.#devices.get(name);
    if (device === undefined) throw new Error(`no disk ${name}`);
    return device;
  }

  /** What is on the medium; what has not been flushed is not. */
  data(name: string, lengthBytes = DISK_BYTES / 2): Buffer {
    const medium = this.#media.get(name);
    if (medium === undefined) throw new Error(`no disk ${name}`);
    return medium.subarray(0, lengthBytes);
  }

  /** Makes disks larger; at the end there is what was there of earlier use. */
  grow(names: string, addedBytes: number): void {
    for (const name of names) {
      const before = this.#media.get(name) ?? Buffer.alloc(0);
      this.#media.set(name, Buffer.concat([before, Buffer.alloc(addedBytes, name)]));
    }
    this.plugIn();
  }

  /** As grow(), while a mirror uses them. */
  growUnder(names: string, addedBytes: number): void {
    for (const name of names) this.#media.set(name, this.device(name).grow(Buffer.alloc(addedBytes, name)));
  }

  /** Puts another world's disk in the place of one. */
  exchange(name: string, other: MemberWorld): void {
    const device = other.#devices.get(name);
    if (device !== undefined) this.#devices.set(name, device);
  }

  async create(
    names: string,
    labels: { noAutoSync?: boolean; noFailSync?: boolean } = {},
    firstId = 0x100,
  ): Promise<this> {
    await createMirror({
      name: 'm',
      devices: Array.from(names).map((name) => this.device(name)),
      balance: 'load',
      sliceBytes: 4096,
      noAutoSync: labels.noAutoSync ?? false,
      noFailSync: labels.noFailSync ?? false,
      random: chanceFrom(firstId),
    });
    return this;
  }

  /** Moves private areas from their disks, where no trace of them is left, to files beside them. Nothing runs. */
  async moveAreasToFiles(names: string): Promise<void> {
    for (const name of names) {
      const device = this.device(name);
      const label = decodeLabel(await readLabelSector(device));
      const [at, lengthBytes] = [areaOffsetBytes(label.mediaSizeBytes), areaSizeBytes(label.mediaSizeBytes)];
      const file = this.#make(areaOf(name), lengthBytes);
      const copied = Buffer.alloc(lengthBytes);
      await request(device, 'read', { offsetBytes: at, lengthBytes }, copied);
      await request(file, 'write', { offsetBytes: 0, lengthBytes }, copied);
      await request(device, 'write-zeroes', { offsetBytes: at, lengthBytes }, null);
      for (const one of [file, device]) await flushWhereAble(one);
    }
  }

  /** The files beside a disk: 'b.area', 'b.area.resized'. */
  filesOf(name: string): string[] {
    return [...this.#devices.keys()].filter((one) => one.startsWith(`${name}.`));
  }

  #make(file: string, sizeBytes: number): VolatileDevice {
    const medium = Buffer.alloc(sizeBytes);
    this.#media.set(file, medium);
    const device = new PoweredDevice(this.#power, medium, true);
    this.#devices.set(file, device);
    return device;
  }

  #besides(name: string): Pick<OpenedProvider, 'area' | 'secondArea'> {
    const first = areaOf(name);
    if (!this.#devices.has(first)) return { area: null };
    const second = `${first}.resized`;
    /** What is done to the folder is on stable storage at once. */
    const inFolder = <Done>(change: () => Done): Promise<Done> => {
      this.#power.requestsLeft -= 1;
      if (!this.isPowerCut) return Promise.resolve(change());
      return Promise.reject(new DeviceError('DEVICE_OPEN', 'EIO', `no power for ${second}`));
    };
    const drop = (): void => {
      this.#media.delete(second);
      this.#devices.delete(second);
    };
    const secondArea = {
      open: () => Promise.resolve(this.#devices.get(second) ?? null),
      make: (sizeBytes: number) => inFolder(() => this.#make(second, sizeBytes)),
      keep: () =>
        inFolder(() => {
          const [medium, device] = [this.#media.get(second), this.#devices.get(second)];
          if (medium === undefined || device === undefined) throw new Error(`no file ${second}`);
          this.#media.set(first, medium);
          this.#devices.set(first, device);
          drop();
        }),
      drop: () => inFolder(drop),
    };
    return { area: this.device(first), secondArea };
  }

  opener(name: string): ProviderOpener {
    return {
      name,
      isLocal: name === 'a',
      open: () =>
        this.gone.has(name)
          ? Promise.reject(new DeviceError('DEVICE_OPEN', 'ENXIO', `${name} is not there`))
          : Promise.resolve(
              this.noted.has(name)
                ? this.#openNoted(name)
                : {
                    ...{ device: this.#connect(name), ...this.#besides(name) },
                    tellAgain: () => void this.toldAgain.add(name),
                  },
            ),
    };
  }

  #openNoted(name: string): OpenedProvider {
    const flushNote = new FlushNote({
      wasInDoubt: this.inDoubt.has(name),
      keep: (isInDoubt) => {
        if (isInDoubt) this.inDoubt.add(name);
        else this.inDoubt.delete(name);
      },
      close: () => undefined,
    });
    return { device: withNote(this.#connect(name), flushNote), area: null, flushNote };
  }

  #connect(name: string): FaultDevice {
    const connected = new FaultDevice(this.device(name), (io) => this.plans.get(name)?.(io) ?? null);
    this.#connected.set(name, connected);
    return connected;
  }

  /** Lets the requests go on that a plan holds. */
  release(name: string): void {
    this.#connected.get(name)?.release();
  }

  async start(names: string, options: Partial<AssembleOptions> = {}): Promise<AssembledMirror> {
    this.#starts += 1;
    return await assemble({
      name: 'm',
      providers: Array.from(names).map((name) => this.opener(name)),
      degraded: false,
      clock: new FakeClock(),
      random: chanceFrom(0x1000 * this.#starts),
      events: { changed: (what, component) => this.events.push(`${component.name} ${what}`) },
      timeoutMs: 10_000,
      idleMs: 5000,
      extentsMax: 64,
      isAutosync: true,
      resyncBytesPerSecond: 0,
      ...options,
    });
  }

  /** Power goes after so many requests from now on, the disks' together. */
  cutPowerAfter(requests: number): void {
    this.#power.requestsLeft = requests;
  }

  /** As cutPowerAfter(), of requests that are no reads: between those nothing changes that a crash could leave. */
  cutPowerAfterChanges(requests: number): void {
    this.#power.isCountingReads = false;
    this.cutPowerAfter(requests);
  }

  get isPowerCut(): boolean {
    return this.#power.requestsLeft <= 0;
  }

  /** Power goes, if it has not gone yet, and comes back: of what was not flushed anything may be there. */
  crash(seed: number): void {
    const random = new SeededRandom(seed);
    this.inDoubt.clear();
    for (const [name, device] of this.#devices) this.#media.set(name, device.crash(random));
    this.plugIn();
  }

  /** The same disks after a loss of power, of which this world knows nothing. */
  copyAfterCrash(seed: number): MemberWorld {
    const random = new SeededRandom(seed);
    const copy = new MemberWorld('');
    for (const [name, device] of this.#devices) copy.#media.set(name, device.crash(random));
    copy.plugIn();
    return copy;
  }

  /** As it is on the medium; throws if there is none. */
  labelOnMedium(name: string): GmirrorLabel {
    return decodeLabel(this.data(name, Infinity).subarray(-512));
  }

  async label(name: string): Promise<GmirrorLabel | null> {
    try {
      return decodeLabel(await readLabelSector(this.device(name)));
    } catch {
      return null;
    }
  }

  async superblock(name: string, mediaSizeBytes: number): Promise<Superblock | null> {
    const opened = await AreaStore.open(this.device(name), areaOffsetBytes(mediaSizeBytes));
    return opened.state === 'ok' ? opened.store.superblock : null;
  }
}

export const componentOf = ({ mirror }: AssembledMirror, name: string): Component => {
  const found = mirror.components.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no component ${name}`);
  return found;
};

/** 'a ACTIVE, b STALE' */
export const statesOf = ({ mirror }: AssembledMirror): string =>
  [...mirror.components]
    .sort((one, other) => one.identity.slot - other.identity.slot)
    .map(({ name, state }) => `${name} ${state}`)
    .join(', ');

export const untilComplete = (running: AssembledMirror): Promise<unknown> =>
  until('the mirror to be COMPLETE', () => running.mirror.state === 'COMPLETE');

export const INSERTED: InsertOptions = {
  priority: 0,
  isInactive: false,
  hardcodedProvider: '',
  objection: () => Promise.resolve(null),
};

/** It comes back as its disk is now. */
export const comeBack = async (running: AssembledMirror, name: string): Promise<string> => {
  const component = componentOf(running, name);
  return await running.mirror.arrive(component, await running.reopen(component));
};
