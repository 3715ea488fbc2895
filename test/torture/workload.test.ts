import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlockDevice, BlockIo } from '../../src/device/block-device.js';
import { systemClock } from '../../src/device/clock.js';
import { MemoryDevice } from '../support/memory-device.js';
import { NbdWorld } from '../support/nbd-world.js';
import { until } from '../support/until.js';
import { fillSectors, SECTOR_BYTES } from './blocks.js';
import { requireSame } from './compare.js';
import { Workload } from './workload.js';

const SEED = 11;
const MEDIA_BYTES = 1_048_576;
/** What a mistake happens once in. */
const SELDOM = 20;
const ENOUGH = 100;

/** A disk that does some requests as `instead` says, and not as it was asked to. */
class Liar implements BlockDevice {
  readonly name = 'liar';
  readonly mediaSizeBytes = MEDIA_BYTES;
  readonly sectorSizeBytes = SECTOR_BYTES;
  #count = 0;

  constructor(
    readonly disk: MemoryDevice,
    private readonly instead: (io: BlockIo, disk: MemoryDevice) => BlockIo | null,
  ) {}

  get can(): BlockDevice['can'] {
    return this.disk.can;
  }

  start(io: BlockIo): void {
    const isTime = io.op !== 'flush' && ++this.#count % SELDOM === 0;
    const other = isTime ? this.instead(io, this.disk) : io;
    if (other === null) queueMicrotask(() => io.done(null));
    else this.disk.start(other);
  }

  close(): Promise<void> {
    return this.disk.close();
  }
}

let world: NbdWorld | null = null;
let workload: Workload;
let problem: string | null;

beforeEach(() => {
  problem = null;
});

afterEach(async () => {
  workload.abandon();
  await world?.end();
});

async function use(device: BlockDevice): Promise<void> {
  world = await NbdWorld.start(device, { clock: systemClock });
  workload = new Workload({
    ...{ seed: SEED, name: 'disk', nbdPath: world.unixPath, mediaSizeBytes: MEDIA_BYTES, fromBytes: 0 },
    broken: (what) => (problem ??= what),
    seconds: () => '0',
  });
  workload.start();
}

const found = (): Promise<string> => until('the mistake to be found', () => problem);

/** The request, but for this. */
const part = (io: BlockIo, fields: Partial<BlockIo>): BlockIo => ({
  ...{ op: io.op, offsetBytes: io.offsetBytes, lengthBytes: io.lengthBytes },
  ...{ buffer: io.buffer, bufferAt: io.bufferAt, done: (error) => io.done(error) },
  ...fields,
});

describe('what clients of a disk find wrong', () => {
  test('is nothing if it does as it is told', async () => {
    const disk = new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES });
    await use(disk);
    await until('many writes', () => workload.counts.writes > ENOUGH && workload.counts.reads > ENOUGH);
    await workload.stop();
    await workload.readAll();
    expect(problem).toBeNull();
  });

  test.each<[string, RegExp, (io: BlockIo, disk: MemoryDevice) => BlockIo | null]>([
    [
      'answers a write that it has not done',
      / says \d+; known are/,
      (io) => (io.op === 'write' || io.op === 'write-zeroes' ? null : io),
    ],
    [
      'does only the beginning of a write',
      / says \d+; known are|parts of several writes/,
      (io) =>
        io.op === 'write' && io.lengthBytes > SECTOR_BYTES
          ? part(io, { lengthBytes: io.lengthBytes - SECTOR_BYTES })
          : io,
    ],
    [
      'writes beside the place',
      /content of sector \d+| says \d+; known are/,
      (io) =>
        io.op === 'write' && io.offsetBytes >= SECTOR_BYTES
          ? part(io, { offsetBytes: io.offsetBytes - SECTOR_BYTES })
          : io,
    ],
    [
      'answers a read with what is somewhere else',
      /content of sector \d+| says \d+; known are/,
      (io) =>
        io.op === 'read' && io.offsetBytes >= SECTOR_BYTES
          ? part(io, { offsetBytes: io.offsetBytes - SECTOR_BYTES })
          : io,
    ],
    [
      'changes a bit of what it has',
      /wrong checksum|garbage|parts of several writes|content of/,
      (io, { data }) => {
        const at = io.offsetBytes + 20;
        data[at] = ((data[at] ?? 0) + 1) % 256;
        return io;
      },
    ],
  ])('is found if it %s', async (_, says, instead) => {
    await use(new Liar(new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES }), instead));
    expect(await found()).toMatch(says);
  });

  test('is found if it reads as it was before, although all was answered since', async () => {
    const before = Buffer.alloc(MEDIA_BYTES);
    const disk = new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES });
    const isOld = (io: BlockIo): boolean => {
      const now = disk.data.subarray(io.offsetBytes, io.offsetBytes + io.lengthBytes);
      return io.op === 'read' && now.compare(before, io.offsetBytes, io.offsetBytes + io.lengthBytes) !== 0;
    };
    const liar = new Liar(disk, (io) => {
      if (!isOld(io) || io.buffer === null) return io;
      before.copy(io.buffer, io.bufferAt, io.offsetBytes, io.offsetBytes + io.lengthBytes);
      return null;
    });
    await use(liar);
    await until('many writes', () => {
      // Until then it says what is so.
      if (workload.counts.writes < ENOUGH) disk.data.copy(before);
      return workload.counts.writes > ENOUGH;
    });
    expect(await found()).toMatch(/ says \d+; known are/);
  });

  test('is found in an image that one byte was changed of, when nobody writes any more', async () => {
    const disk = new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES });
    await use(disk);
    await until('many writes', () => workload.counts.writes > ENOUGH);
    await workload.stop();
    const image = world?.scratch.path('image') ?? '';
    writeFileSync(image, disk.data);
    workload.judge(image);
    const at = disk.data.findIndex((byte) => byte !== 0);
    disk.data[at + 20] = ((disk.data[at + 20] ?? 0) + 1) % 256;
    writeFileSync(image, disk.data);
    expect(() => workload.judge(image)).toThrow(`sector ${Math.floor(at / SECTOR_BYTES)}: a wrong checksum`);
  });

  test('is found in an image that has what another history of the same disk wrote', async () => {
    const disk = new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES });
    await use(disk);
    await until('many writes', () => workload.counts.writes > ENOUGH);
    await workload.stop();
    const image = world?.scratch.path('image') ?? '';
    const fork = workload.fork(world?.unixPath ?? '');
    workload.start();
    const enough = workload.counts.writes + ENOUGH;
    await until('more writes', () => workload.counts.writes > enough);
    await workload.stop();
    writeFileSync(image, disk.data);
    workload.judge(image);
    expect(() => fork.judge(image)).toThrow(/ says \d+; known are/);
  });
});

test('images that differ in one byte are told apart, with what each says there', async () => {
  const disk = new MemoryDevice({ mediaSizeBytes: MEDIA_BYTES });
  await use(disk);
  await workload.stop();
  const bytes = Buffer.alloc(8 * SECTOR_BYTES);
  fillSectors(bytes, 0, 7, SEED);
  const [one, other] = ['one', 'other'].map((name) => world?.scratch.path(name) ?? '') as [string, string];
  writeFileSync(one, bytes);
  writeFileSync(other, bytes);
  const compared = {
    images: new Map([
      ['one', one],
      ['other', other],
    ]),
    lengthBytes: bytes.length,
    seed: SEED,
  };
  const compare = (): void => requireSame(compared, (number) => `told of ${number}`);
  compare();
  bytes[3 * SECTOR_BYTES + 100] = 0;
  writeFileSync(other, bytes);
  expect(compare).toThrow(
    '1 sectors differ:\nsector 3: one has 7, other has parts of several writes\ntold of 7',
  );
});
