import { describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/device/random.js';
import type { LabelState } from '../../src/mirror/area/meta-store.js';
import { isLabelTouched } from '../../src/mirror/area/component-store.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { openComponent } from '../../src/mirror/start/open-component.js';
import { MemoryDevice } from '../support/memory-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { VolatileDevice } from '../support/volatile-device.js';

const SIZE = 524_288;

async function newMedium(): Promise<Buffer> {
  const device = new MemoryDevice({ mediaSizeBytes: SIZE });
  await createMirror({
    name: 'm',
    devices: [device],
    balance: 'load',
    sliceBytes: 4096,
    noAutoSync: true,
    noFailSync: false,
    random: systemRandom,
  });
  return device.data;
}

async function open(device: VolatileDevice | MemoryDevice) {
  const opened = await openComponent({ device, area: null });
  if (opened.state !== 'ok') throw new Error(`it ${opened.why}`);
  return opened;
}

/** A run that begins, loses somebody, and ends: what the journal writes. */
const STEPS: readonly LabelState[] = [
  { genid: 0, syncid: 1, isDirty: true, isSynchronizing: false },
  { genid: 0, syncid: 2, isDirty: true, isSynchronizing: false },
  { genid: 0, syncid: 2, isDirty: false, isSynchronizing: false },
  { genid: 0, syncid: 3, isDirty: false, isSynchronizing: false },
];

describe('a component’s label', () => {
  test('never says more than its superblock, whatever request the power goes at', async () => {
    const medium = await newMedium();
    let crashes = 0;
    for (let diesAfter = 0; diesAfter < 80; diesAfter++) {
      const device = new VolatileDevice({ medium: Buffer.from(medium) });
      const { store } = await open(device);
      device.requestsLeft = diesAfter;
      try {
        for (const state of STEPS) {
          const { genid, syncid, isDirty } = state;
          await store.writeSuperblock({ genid, syncid, isRunning: isDirty });
          await store.writeLabel(state);
          await store.flush();
        }
      } catch {
        crashes += 1;
      }
      for (let way = 0; way < 4; way++) {
        const left = new MemoryDevice({ mediaSizeBytes: SIZE });
        device.crash(new SeededRandom(diesAfter * 4 + way)).copy(left.data);
        const { label, superblock, touch } = await open(left);
        expect({ touch, isTouched: isLabelTouched(label, superblock), diesAfter, way }).toEqual({
          touch: null,
          isTouched: false,
          diesAfter,
          way,
        });
      }
    }
    expect(crashes).toBeGreaterThan(10);
  });

  test.each([
    ['the same process tries again', false],
    ['the next one goes on', true],
  ])('never says more after a flush that failed, and %s', async (_who, isAnother) => {
    const medium = await newMedium();
    const clean: LabelState = { genid: 0, syncid: 1, isDirty: false, isSynchronizing: false };
    let failures = 0;
    for (const failsAt of [0, 1, 2])
      for (let life = 0; life < 240; life++) {
        const device = new VolatileDevice({ medium: Buffer.from(medium) });
        let { store } = await open(device);
        const write = async (state: LabelState): Promise<void> => {
          await store.writeSuperblock({ genid: 0, syncid: 1, isRunning: state.isDirty });
          await store.writeLabel(state);
          await store.flush();
        };
        await write({ ...clean, isDirty: true });
        let flushes = 0;
        device.failing = ({ op }) => op === 'flush' && flushes++ === failsAt;
        const failed = await write(clean).then(
          () => false,
          () => true,
        );
        failures += failed ? 1 : 0;
        if (isAnother) ({ store } = await open(device));
        device.requestsLeft = 1 + (life % 12);
        await write(clean).catch(() => undefined);
        const left = new MemoryDevice({ mediaSizeBytes: SIZE });
        device.crash(new SeededRandom(life)).copy(left.data);
        const { touch } = await open(left);
        expect({ touch, failsAt, life }).toEqual({ touch: null, failsAt, life });
      }
    expect(failures).toBeGreaterThan(30);
  });

  test('keeps every field that the mirror does not change', async () => {
    const device = new MemoryDevice({ mediaSizeBytes: SIZE });
    (await newMedium()).copy(device.data);
    const { store, label: before } = await open(device);
    await store.writeLabel({ genid: 3, syncid: 9, isDirty: true, isSynchronizing: true });
    const { label: after } = await open(device);
    expect(after).toEqual({
      ...before,
      genid: 3,
      syncid: 9,
      diskFlags: { ...before.diskFlags, dirty: true, synchronizing: true },
      md5: after.md5,
    });
  });

  test.each([
    ['raised its syncid', { syncid: 2 }, {}],
    ['raised its genid', { genid: 1 }, {}],
    ['left it DIRTY', {}, { dirty: true }],
  ])('is noticed when somebody else %s', async (_what, ids, flags) => {
    const device = new MemoryDevice({ mediaSizeBytes: SIZE });
    (await newMedium()).copy(device.data);
    const { label, superblock } = await open(device);
    expect(isLabelTouched(label, superblock)).toBe(false);
    const changed = { ...label, ...ids, diskFlags: { ...label.diskFlags, ...flags } };
    expect(isLabelTouched(changed, superblock)).toBe(true);
  });
});
