import { expect, test } from 'vitest';
import { lost, makeRig } from '../support/mirror-rig.js';

test('a component that vanishes while nothing is asked of it is dropped at once, and may come back', async () => {
  const rig = makeRig();
  const [, second] = rig.disks;
  second?.vanish(lost('disk1'));
  await rig.settle();
  expect(rig.component(1).state).toBe('DISCONNECTED');
  expect(rig.events).toContain('disk1 disconnected: disk1 is gone');
  expect(second?.isAbandoned).toBe(true);
  await rig.arrive(1);
  await rig.settle();
  expect(rig.component(1).state).toBe('ACTIVE');
  await rig.mirror.close();
});

test('what is told of a connection that has been replaced since is of no interest', async () => {
  const rig = makeRig();
  const vanishFirst = rig.disks[1]?.vanish;
  rig.mirror.drop(rig.component(1), lost('disk1'));
  await rig.arrive(1);
  await rig.settle();
  vanishFirst?.(lost('disk1'));
  await rig.settle();
  expect(rig.component(1).state).toBe('ACTIVE');
  await rig.mirror.close();
});

test('the last component that is ACTIVE stays, as nothing else has the data', async () => {
  const rig = makeRig();
  rig.mirror.drop(rig.component(0), lost('disk0'));
  rig.disks[1]?.vanish(lost('disk1'));
  await rig.settle();
  expect(rig.component(1).state).toBe('ACTIVE');
  await rig.mirror.close();
});
