import { describe, expect, test } from 'vitest';
import type { MemoryMetaStore } from '../support/memory-meta-store.js';
import { writeBytes } from '../support/device-requests.js';
import { type Rig, lost, makeRig } from '../support/mirror-rig.js';

const block = Buffer.alloc(4096, 7);
const storeOf = (rig: Rig): MemoryMetaStore => {
  const [disk] = rig.disks;
  if (disk === undefined) throw new Error('no disk');
  return disk.store;
};
/** The connection is lost when the first of these steps was sent, and comes back at once. */
const losesAnswer = (store: MemoryMetaStore, step: string): void => {
  store.before = (name) => {
    if (name !== step) return;
    store.before = () => undefined;
    throw lost('disk0');
  };
};

describe('when the connection to the only component is lost in the middle of a transaction', () => {
  test('a write after that is sent only when the superblock tells of the run', async () => {
    const rig = makeRig({ count: 1 });
    const store = storeOf(rig);
    losesAnswer(store, 'superblock');
    await expect(writeBytes(rig.mirror, 0, block)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    await writeBytes(rig.mirror, 0, block);
    expect(store.durable.superblock.isRunning).toBe(true);
    expect(store.durable.log).toEqual([0]);
  });

  test('so is a write after a clean state that may or may not be written', async () => {
    const rig = makeRig({ count: 1 });
    const store = storeOf(rig);
    await writeBytes(rig.mirror, 0, block);
    let flushes = 0;
    store.before = (name) => {
      if (store.superblock.isRunning || name !== 'flush') return;
      flushes += 1;
      if (flushes === 1) throw lost('disk0');
    };
    await expect(rig.mirror.log.empty()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    await writeBytes(rig.mirror, 0, block);
    expect(store.durable.superblock.isRunning).toBe(true);
  });

  test('a clean end is written down as one', async () => {
    const rig = makeRig({ count: 1 });
    const store = storeOf(rig);
    losesAnswer(store, 'log');
    await expect(writeBytes(rig.mirror, 0, block)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    // It tells of what was lost, for no caller's flush has.
    await expect(rig.mirror.close()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    expect(store.durable.superblock.isRunning).toBe(false);
    expect(store.durable.log).toEqual([]);
  });
});
