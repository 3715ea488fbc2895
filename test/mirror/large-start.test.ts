import { afterEach, beforeEach, expect, test } from 'vitest';
import { createImage, openFile, type FileDevice } from '../../src/device/file-device.js';
import { assemble, type AssembledMirror, type ProviderOpener } from '../../src/mirror/start/assemble.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { bitmapBlockCount } from '../../src/protocol/area-layout.js';
import { memoryHeld } from '../support/memory-held.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { FakeClock } from '../support/fake-clock.js';
import { FaultDevice } from '../support/fault-device.js';
import { componentOf, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';
import { RecorderDevice } from '../support/recorder-device.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

const TIB = 2 ** 40;
const MIB = 2 ** 20;

/** Draws that repeat, each another one. */
let draws = 1;
const RANDOM = {
  nextU32: () => (draws += 1),
  nextBytes: (lengthBytes: number) => {
    const bytes = Buffer.alloc(lengthBytes, 0x11);
    bytes.writeUInt32BE((draws += 1), 0);
    return bytes;
  },
};

let scratch: Scratch;
let recorders: RecorderDevice[];

beforeEach(() => {
  scratch = makeScratch();
  recorders = [];
});
afterEach(() => scratch.remove());

/** `isUsed`: the first component holds something, and everything is to be copied to the other one. */
async function label({ isUsed = false } = {}): Promise<void> {
  const devices: FileDevice[] = [];
  for (const name of ['a', 'b']) {
    await createImage(scratch.path(name), 4 * TIB);
    devices.push(await openFile(scratch.path(name), { access: 'rw' }));
  }
  if (isUsed) for (const device of devices.slice(0, 1)) await writeBytes(device, 0, Buffer.alloc(4096, 7));
  const settings = { balance: 'load', sliceBytes: 4096, noAutoSync: false, noFailSync: false } as const;
  await createMirror({ name: 'm', devices, ...settings, random: RANDOM });
  for (const device of devices) await device.close();
}

/** What is asked of its components is recorded from here on. `held`: what they are asked then is held there. */
async function start(held: FaultDevice[] | null = null): Promise<AssembledMirror> {
  recorders = [];
  const open = async (name: string): ReturnType<ProviderOpener['open']> => {
    const device = new RecorderDevice(await openFile(scratch.path(name), { access: 'rw' }));
    recorders.push(device);
    if (held === null || name !== 'b') return { device, area: null };
    const holding = new FaultDevice(device, ({ op }) => (op === 'write' ? { kind: 'hold' } : null));
    held.push(holding);
    return { device: holding, area: null };
  };
  return await assemble({
    name: 'm',
    waitsForResyncs: held === null,
    providers: ['a', 'b'].map((name) => ({ name, isLocal: true, open: () => open(name) })),
    degraded: false,
    clock: new FakeClock(),
    random: RANDOM,
    events: { changed: () => undefined },
    ...{ timeoutMs: 10_000, idleMs: 5000, extentsMax: 256, isAutosync: true, resyncBytesPerSecond: 0 },
  });
}

interface Asked {
  readonly count: number;
  readonly bytes: number;
}

/** `fromBytes`: of what lies there and behind. */
function asked(op: 'read' | 'write', fromBytes = 0): Asked {
  const events = recorders.flatMap((one) =>
    one.events.filter((event) => event.what === 'start' && event.op === op && event.offsetBytes >= fromBytes),
  );
  return { count: events.length, bytes: events.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0) };
}

test('a mirror of 4 TiB starts with a few reads of its components, and has bitmaps of a few MiB', async () => {
  await label();
  const beforeBytes = memoryHeld().arrayBuffers;
  const running = await start();
  const memoryBytes = memoryHeld().arrayBuffers - beforeBytes;
  expect(asked('read').count).toBeLessThan(20);
  expect(asked('read').bytes).toBeLessThan(256 * 1024);
  expect(asked('write').bytes).toBeLessThan(256 * 1024);
  expect(memoryBytes).toBeLessThan(8 * MIB);
  expect(running.mirror.mediaSizeBytes).toBeGreaterThan(4 * TIB - 256 * MIB);
  await running.close();
});

test('one with a component that missed something far apart reads no more than bitmaps, and copies only that', async () => {
  await label();
  const first = await start();
  first.mirror.drop(componentOf(first, 'b'), lost('b'));
  const places = [0, 1, 2, 3].map((index) => index * TIB);
  for (const at of places) await writeBytes(first.mirror, at, Buffer.alloc(4096, 7));
  await first.close();
  const beforeBytes = memoryHeld().arrayBuffers;
  const again = await start();
  const bitmapBytes = bitmapBlockCount(again.mirror.mediaSizeBytes) * 8192;
  expect(asked('read').bytes).toBeLessThan(5 * bitmapBytes);
  expect(memoryHeld().arrayBuffers - beforeBytes).toBeLessThan(5 * bitmapBytes);
  await untilComplete(again);
  expect(componentOf(again, 'b').counters.bytesWritten).toBeLessThanOrEqual(4 * 65_536);
  await again.close();
});

test('a first start, which marks everything for a component, writes its bitmap with a few requests on both sides', async () => {
  await label({ isUsed: true });
  const beforeBytes = memoryHeld().arrayBuffers;
  const running = await start();
  const { mediaSizeBytes } = running.mirror;
  const [reads, writes] = [asked('read', mediaSizeBytes), asked('write', mediaSizeBytes)];
  const memoryBytes = memoryHeld().arrayBuffers - beforeBytes;
  const pairsBytes = bitmapBlockCount(mediaSizeBytes) * 8192;
  expect(componentOf(running, 'b').missing.markedBytes).toBeGreaterThan(mediaSizeBytes - 100 * MIB);
  expect(writes.bytes).toBeGreaterThan(2 * pairsBytes);
  expect(writes.bytes).toBeLessThan(2 * pairsBytes + MIB);
  expect(writes.count).toBeLessThan(100);
  expect(reads.bytes).toBeLessThan(4 * pairsBytes);
  expect(reads.count).toBeLessThan(100);
  expect(memoryBytes).toBeLessThan(16 * MIB);
  await running.close();
});

test('one after a resync that was stopped takes a few requests too, though all of the bitmap is in doubt', async () => {
  await label({ isUsed: true });
  await (await start()).close();
  const running = await start();
  const { mediaSizeBytes } = running.mirror;
  const pairsBytes = bitmapBlockCount(mediaSizeBytes) * 8192;
  expect(asked('write', mediaSizeBytes).bytes).toBeLessThan(3 * pairsBytes);
  expect(asked('write', mediaSizeBytes).count).toBeLessThan(150);
  expect(asked('read', mediaSizeBytes).count).toBeLessThan(150);
  await running.close();
});

test('a start need not wait until a component behind a slow link has its own account, and the end of the mirror does', async () => {
  await label({ isUsed: true });
  const held: FaultDevice[] = [];
  const running = await start(held);
  const [disk] = held;
  const b = componentOf(running, 'b');
  expect(b.state).toBe('SYNCHRONIZING');
  expect(running.mirror.resyncOf(b)).toBeNull();
  expect(await readBytes(running.mirror, { offsetBytes: 0, lengthBytes: 4096 })).toEqual(
    Buffer.alloc(4096, 7),
  );
  await until('a write to b', () => (disk?.heldCount ?? 0) > 0);
  let hasEnded = false;
  const ending = running.close().then(() => (hasEnded = true));
  await readBytes(running.mirror, { offsetBytes: 0, lengthBytes: 4096 }).catch(() => undefined);
  expect(hasEnded).toBe(false);
  if (disk !== undefined) disk.plan = () => null;
  disk?.release();
  await ending;
  const again = await start();
  expect(componentOf(again, 'b').state).toBe('SYNCHRONIZING');
  await again.close();
});
