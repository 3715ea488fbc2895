import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/device/random.js';
import { assemble, AssembleError, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { openComponent } from '../../src/mirror/start/open-component.js';
import { areaOffsetBytes } from '../../src/protocol/area-layout.js';
import { sealBlock } from '../../src/protocol/area-block.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryDevice } from '../support/memory-device.js';
import { until } from '../support/until.js';

const SIZE_BYTES = 2 * 1_048_576;
const BLOCK_BYTES = 4096;
const NAMES = ['disk0', 'disk1'] as const;

/** What two disks hold, before anything is damaged. `newer` has all that was ever written. */
interface State {
  readonly media: readonly [newer: Buffer, other: Buffer];
  readonly mediaSizeBytes: number;
}

function deviceOf(data: Buffer, name: string): MemoryDevice {
  const device = new MemoryDevice({ mediaSizeBytes: data.length, name });
  data.copy(device.data);
  return device;
}

interface Choice {
  readonly degraded?: boolean;
  readonly source?: string;
}

/** A disk that outlives its connections. */
interface Disk {
  data: Buffer;
  /** Of the last connection. */
  device?: MemoryDevice;
}

function start(disks: readonly Disk[], { degraded = false, source }: Choice = {}) {
  return assemble({
    name: 'm',
    providers: disks.map((disk, index) => ({
      name: NAMES[index] ?? '',
      isLocal: index === 0,
      open: () => {
        const device = deviceOf(disk.data, NAMES[index] ?? '');
        disk.data = device.data;
        disk.device = device;
        return Promise.resolve({ device, area: null });
      },
    })),
    degraded,
    source: source ?? null,
    clock: new FakeClock(),
    random: systemRandom,
    events: { changed: () => undefined },
    timeoutMs: 10_000,
    idleMs: 5000,
    extentsMax: 64,
    isAutosync: true,
    resyncBytesPerSecond: 0,
  });
}

const isComplete = (running: AssembledMirror): Promise<boolean> =>
  until('COMPLETE', () => running.mirror.state === 'COMPLETE');

async function newDisks(): Promise<Disk[]> {
  const devices = NAMES.map((name) => new MemoryDevice({ mediaSizeBytes: SIZE_BYTES, name }));
  await createMirror({
    name: 'm',
    devices,
    balance: 'load',
    sliceBytes: 4096,
    noAutoSync: false,
    noFailSync: false,
    random: systemRandom,
  });
  return devices.map(({ data }) => ({ data }));
}

/** Stopped in order, after a crash, or after the second one has missed a write. */
async function stateAfter(what: 'stop' | 'crash' | 'loss'): Promise<State> {
  const disks = await newDisks();
  let running = await start(disks);
  const { mediaSizeBytes } = running.mirror;
  const write = async (at: number): Promise<void> => {
    await writeBytes(running.mirror, at, Buffer.alloc(BLOCK_BYTES, 1 + (at % 251)));
  };
  await write(0);
  await write(700_416);
  if (what === 'loss') {
    await running.close();
    running = await start(disks.slice(0, 1), { degraded: true });
    await write(1_200_128);
  }
  if (what !== 'crash') await running.close();
  const [one, other] = disks.map(({ data }) => Buffer.from(data));
  if (one === undefined || other === undefined) throw new Error('two disks');
  return { media: [one, other], mediaSizeBytes };
}

interface Damage {
  readonly kind: 'byte' | 'noise' | 'zeros' | 'sealed';
  /** Where between the start of the private area and the end of the disk, 0 to 1. */
  readonly place: number;
  readonly lengthBytes: number;
  readonly bytes: Uint8Array;
}

const places = fc.oneof(
  fc.double({ min: 0, max: 0.999, noNaN: true }),
  // The superblocks, the log, and the label are a small part of the area.
  fc.double({ min: 0, max: 0.07, noNaN: true }),
  fc.constant(0.999_99),
);
const damages: fc.Arbitrary<readonly Damage[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('byte', 'noise', 'zeros', 'sealed'),
    place: places,
    lengthBytes: fc.integer({ min: 1, max: 20_000 }),
    bytes: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  }),
  { minLength: 1, maxLength: 6 },
);

/** A sealed block has a right checksum over wrong contents, as no accident makes it. */
function harm(data: Buffer, mediaSizeBytes: number, { kind, place, lengthBytes, bytes }: Damage): void {
  const areaAt = areaOffsetBytes(mediaSizeBytes);
  const at = areaAt + Math.floor(place * (data.length - areaAt));
  const noise = Buffer.from(bytes);
  if (kind === 'byte') data[at] = ((data[at] ?? 0) + 1 + ((noise[0] ?? 0) % 255)) % 256;
  else if (kind === 'noise') data.fill(noise, at, Math.min(data.length, at + lengthBytes));
  else if (kind === 'zeros') data.fill(0, at, Math.min(data.length, at + lengthBytes));
  else {
    const blockAt = at - ((at - areaAt) % BLOCK_BYTES);
    const block = data.subarray(blockAt, blockAt + BLOCK_BYTES);
    if (block.length < BLOCK_BYTES) return;
    noise.copy(block, 32 + (lengthBytes % 700), 0, 1 + (lengthBytes % 8));
    sealBlock(block);
  }
}

const RUNS = { numRuns: 25, endOnFailure: true };

/** Whether it says in one sentence what is wrong, with whom, and what can be done. */
function expectClear(error: unknown): string {
  expect(error).toBeInstanceOf(AssembleError);
  const { message } = error as AssembleError;
  expect(message).toContain('disk1');
  expect(message).not.toContain('bug');
  return message;
}

/** The first way that the message names. */
function wayOutOf(message: string): Choice {
  if (message.includes('--source disk0')) return { source: 'disk0' };
  expect(message).toContain("'--degraded'");
  return { degraded: true };
}

const accidents = damages.filter((all) => all.every(({ kind }) => kind !== 'sealed'));

describe.each(['stop', 'crash', 'loss'] as const)(
  'a component whose metadata are damaged after a %s',
  (what) => {
    test('never tells anything that was not written there', async () => {
      const { media, mediaSizeBytes } = await stateAfter(what);
      const sound = await openComponent({ device: deviceOf(media[1], 'disk1'), area: null });
      if (sound.state !== 'ok') throw new Error(sound.why);
      await fc.assert(
        fc.asyncProperty(accidents, async (all) => {
          const data = Buffer.from(media[1]);
          for (const damage of all) harm(data, mediaSizeBytes, damage);
          const opened = await openComponent({ device: deviceOf(data, 'disk1'), area: null });
          if (opened.state !== 'ok') {
            expect(opened.why).toMatch(/^(has|is|was) /);
            return;
          }
          expect(opened.label).toEqual(sound.label);
          // The other copy of the superblock may be one version behind, which says no more.
          const { sequence, current, componentUuid, slots } = opened.superblock;
          expect(sequence).toBeLessThanOrEqual(sound.superblock.sequence);
          expect({ current, componentUuid, slots }).toMatchObject({
            componentUuid: sound.superblock.componentUuid,
          });
          const log = opened.media.store.readLog();
          const known = sound.media.store.readLog();
          expect(log === 'damaged' || known === 'damaged' || log.every((one) => known.includes(one))).toBe(
            true,
          );
        }),
        RUNS,
      );
    });

    test('is made the same as the sound one, at once or by the way out that is named', async () => {
      const { media, mediaSizeBytes } = await stateAfter(what);
      const newest = media[0].subarray(0, mediaSizeBytes);
      await fc.assert(
        fc.asyncProperty(accidents, async (all) => {
          const data = Buffer.from(media[1]);
          for (const damage of all) harm(data, mediaSizeBytes, damage);
          const disks: Disk[] = [{ data: media[0] }, { data }];
          let choice: Choice = {};
          const running = await start(disks).catch((error: unknown) => {
            choice = wayOutOf(expectClear(error));
            return start(disks, choice);
          });
          try {
            const found = await readBytes(running.mirror, { offsetBytes: 0, lengthBytes: mediaSizeBytes });
            expect(found.equals(newest)).toBe(true);
            if (choice.degraded === true) return;
            await isComplete(running);
          } finally {
            await running.close();
          }
          for (const { data: now } of disks)
            expect(now.subarray(0, mediaSizeBytes).equals(newest)).toBe(true);
        }),
        RUNS,
      );
    });
  },
);

test('metadata that somebody has forged with right checksums are taken or refused, and break nothing', async () => {
  const { media, mediaSizeBytes } = await stateAfter('crash');
  await fc.assert(
    fc.asyncProperty(damages, async (all) => {
      const data = Buffer.from(media[1]);
      for (const damage of all) harm(data, mediaSizeBytes, { ...damage, kind: 'sealed' });
      const disks: Disk[] = [{ data: media[0] }, { data }];
      const running = await start(disks).catch((error: unknown) => {
        expect(error).toBeInstanceOf(AssembleError);
        return null;
      });
      await running?.close();
    }),
    { numRuns: 60 },
  );
});

test('a disk that was cut short is refused and can be left out', async () => {
  const { media, mediaSizeBytes } = await stateAfter('stop');
  const sectors = SIZE_BYTES / 512;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: sectors - 1 }), async (left) => {
      const disks: Disk[] = [{ data: media[0] }, { data: media[1].subarray(0, left * 512) }];
      const refused = await start(disks).catch((error: unknown) => error);
      expectClear(refused);
      const running = await start(disks.slice(0, 1), { degraded: true });
      const found = await readBytes(running.mirror, { offsetBytes: 0, lengthBytes: mediaSizeBytes });
      expect(found.equals(media[0].subarray(0, mediaSizeBytes))).toBe(true);
      await running.close();
    }),
    { numRuns: 15 },
  );
});

test('one that a degraded start leaves out is let go of, so that it can be inserted anew', async () => {
  const { media, mediaSizeBytes } = await stateAfter('stop');
  const damaged: Disk = { data: media[1] };
  harm(damaged.data, mediaSizeBytes, {
    kind: 'noise',
    place: 0,
    lengthBytes: 2 * BLOCK_BYTES,
    bytes: randomBytes(64),
  });
  const running = await start([{ data: media[0] }, damaged], { degraded: true });
  const { device } = damaged;
  if (device === undefined) throw new Error('it was not opened');
  await expect(readBytes(device, { offsetBytes: 0, lengthBytes: 512 })).rejects.toThrow('disk1 is closed');
  await running.close();
});
