import { expect, test } from 'vitest';
import { writeBytes } from '../support/device-requests.js';
import { lost, makeRig } from '../support/mirror-rig.js';

const MIB = 1_048_576;

test('a component that comes while a write waits for its extent to be hot has that extent in its own log, too', async () => {
  const rig = makeRig();
  const [source, target] = rig.disks;
  if (source === undefined || target === undefined) throw new Error('the rig has two disks');
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await writeBytes(rig.mirror, 0, Buffer.alloc(4096, 1));
  await rig.settle();
  let release: (() => void) | null = null;
  source.store.before = () => {
    if (release !== null) return Promise.resolve();
    return new Promise<void>((resolve) => (release = resolve));
  };
  const arriving = rig.arrive(1);
  await rig.settle();
  expect(release).not.toBeNull();
  const writing = writeBytes(rig.mirror, 8 * MIB, Buffer.alloc(4096, 2));
  await rig.settle();
  (release as (() => void) | null)?.();
  await Promise.all([arriving, writing]);
  await rig.settle();
  expect(rig.component(1).state).toBe('ACTIVE');
  expect(source.store.durable.log).toEqual([0, 2]);
  expect(target.store.durable.log).toEqual([0, 2]);
});
