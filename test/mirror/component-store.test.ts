import { describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/device/random.js';
import type { LabelState } from '../../src/mirror/area/meta-store.js';
import { isLabelTouched } from '../../src/mirror/area/component-store.js';
import { createMirror } from '../../src/mirror/start/create.js';
import { openComponent } from '../../src/mirror/start/open-component.js';
import { MemoryDevice } from '../support/memory-device.js';
import { SeededRandom } from '../support/seeded-random.js';
import { VolatileDevice } from '../support/volatile-device.js';

const SIZE = 2 * 1_048_576;

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
