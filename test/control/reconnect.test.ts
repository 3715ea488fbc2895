import { beforeEach, describe, expect, test } from 'vitest';
import { RECONNECT_MAX_MS } from '../../src/control/limits.js';
import { Reconnect } from '../../src/control/reconnect.js';
import { DeviceError } from '../../src/device/block-device.js';
import type { Component } from '../../src/mirror/component.js';
import { writeBytes } from '../support/device-requests.js';
import { FIRST_GENERATION, lost, makeRig, type Rig, type RigOptions } from '../support/mirror-rig.js';
import { MemoryLog } from '../support/memory-log.js';

let rig: Rig;
let log: MemoryLog;
let reconnect: Reconnect;
let attemptsAtMs: number[];
let happened: string[];
/** Why it can't be opened; null if it can. */
let failure: string | DeviceError | null;

beforeEach(() => begin());

function begin(options?: RigOptions['options']): void {
  let onChange: (what: string, component: Component) => void = () => undefined;
  happened = [];
  const changed = (what: string, component: Component): void => {
    happened.push(what);
    onChange(what, component);
  };
  const events = { changed };
  rig = makeRig({ options: { events, ...options } });
  log = new MemoryLog();
  attemptsAtMs = [];
  failure = null;
  reconnect = new Reconnect({
    mirror: rig.mirror,
    clock: rig.clock,
    log,
    reopen: (component) => {
      attemptsAtMs.push(rig.clock.nowMs());
      if (failure !== null) return Promise.reject(failure instanceof Error ? failure : new Error(failure));
      return Promise.resolve(rig.arrival(component.identity.slot));
    },
    look: (component) => Promise.resolve(rig.arrival(component.identity.slot)),
  });
  onChange = (what, component) => reconnect.changed(what, component);
  reconnect.start();
}

/** Time goes by in small steps, so that what it starts can go on. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250) {
    rig.clock.advance(Math.min(250, left));
    await rig.settle();
  }
}

test('a component that was lost comes back by itself and is brought up to date', async () => {
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await pass(3_000);
  expect(rig.component(1).state).toBe('ACTIVE');
  expect(rig.mirror.state).toBe('COMPLETE');
  expect(attemptsAtMs).toEqual([1_000]);
});

test('attempts come after 1, 2, 4 seconds and so on up to 30, and are logged once for each reason', async () => {
  failure = 'nobody listens';
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await pass(125_000);
  expect(attemptsAtMs).toEqual([1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000, 121_000]);
  expect(log.at('warn')).toHaveLength(1);
  expect(rig.component(1).trouble).toBe('nobody listens');
  failure = null;
  await pass(RECONNECT_MAX_MS);
  expect(rig.component(1).state).toBe('ACTIVE');
});

test('after it was up to date again the next loss begins with a second', async () => {
  failure = 'nobody listens';
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await pass(10_000);
  failure = null;
  await pass(10_000);
  expect(rig.component(1).state).toBe('ACTIVE');
  const atMs = rig.clock.nowMs();
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await pass(3_000);
  expect(attemptsAtMs.at(-1)).toBe(atMs + 1_000);
  expect(rig.component(1).state).toBe('ACTIVE');
});

test('a split brain is left to a person', async () => {
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await rig.disks[1]?.store.writeSuperblock({ current: 'f'.repeat(32) });
  await pass(100_000);
  expect(attemptsAtMs).toEqual([1_000]);
  expect(rig.component(1).refused?.outcome).toBe('split brain');
  expect(rig.component(1).state).toBe('DISCONNECTED');
});

describe('one that somebody else uses', () => {
  const OTHER_GENERATION = 'f'.repeat(32);
  const WRITTEN_ALONE = { current: OTHER_GENERATION, history: [FIRST_GENERATION] };

  beforeEach(() => {
    failure = new DeviceError('DEVICE_OPEN', 'EBUSY', 'another client is writing to it');
    rig.mirror.drop(rig.component(1), lost('disk1'));
  });

  test('is only busy as long as nothing was written to it without the mirror', async () => {
    await pass(10_000);
    expect(rig.component(1)).toMatchObject({ state: 'DISCONNECTED', refused: null });
    expect(rig.component(1).trouble).toBe('another client is writing to it');
  });

  test('is known to have data that is missing here, and as a split brain as soon as both sides were written, once each', async () => {
    await rig.disks[1]?.store.writeSuperblock(WRITTEN_ALONE);
    await pass(10_000);
    expect(rig.component(1).refused?.outcome).toBe('newer');
    await writeBytes(rig.mirror, 0, Buffer.alloc(4096, 1));
    await pass(60_000);
    expect(rig.component(1).refused?.outcome).toBe('split brain');
    expect(rig.component(1).trouble).toContain('split brain');
    expect(happened).toEqual(['disconnected', 'newer', 'split brain']);
  });

  test('is looked at again and again, and taken in when its user is gone and has given its writes up', async () => {
    const [, disk] = rig.disks;
    const before = { ...disk?.store.superblock };
    await disk?.store.writeSuperblock(WRITTEN_ALONE);
    await pass(10_000);
    expect(rig.component(1).refused?.outcome).toBe('newer');
    await disk?.store.writeSuperblock(before);
    await pass(60_000);
    expect(rig.component(1).refused).toBeNull();
    failure = null;
    await pass(60_000);
    expect(rig.component(1).state).toBe('ACTIVE');
  });

  test('is a split brain still when it can be opened, and nothing of it was changed', async () => {
    await writeBytes(rig.mirror, 0, Buffer.alloc(4096, 1));
    await rig.disks[1]?.store.writeSuperblock(WRITTEN_ALONE);
    const before = rig.disks[1]?.store.superblock;
    await pass(10_000);
    failure = null;
    await pass(60_000);
    expect(rig.component(1)).toMatchObject({ state: 'DISCONNECTED', refused: { outcome: 'split brain' } });
    expect(rig.disks[1]?.store.superblock).toEqual(before);
    expect(attemptsAtMs).toHaveLength(4);
  });
});

test('told not to, it connects without a resync; asked for a rebuild, it does that once', async () => {
  begin({ isAutosync: false });
  const component = rig.component(1);
  rig.mirror.drop(component, lost('disk1'));
  await pass(3_000);
  expect(component.state).toBe('STALE');
  component.isFull = true;
  component.missing.markAll();
  rig.mirror.drop(component, lost('disk1'));
  reconnect.wantResync(component);
  await pass(3_000);
  expect(component.state).toBe('ACTIVE');
  rig.mirror.drop(component, lost('disk1'));
  await pass(3_000);
  expect(component.state).toBe('STALE');
});

test('after stop() nothing is tried any more', async () => {
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await reconnect.stop();
  await pass(100_000);
  expect(attemptsAtMs).toEqual([]);
});
