import { expect, test } from 'vitest';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { componentOf, MemberWorld, statesOf, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';
import { until } from '../support/until.js';

const AT = { offsetBytes: 8192, lengthBytes: 4096 };
const block = (value: number): Buffer => Buffer.alloc(AT.lengthBytes, value);

test('a component that comes back is written to only when it says itself that it is a mixture', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const running = await world.start('ab');
  const { mirror } = running;
  await untilComplete(running);
  await writeBytes(mirror, AT.offsetBytes, block(1));
  const b = componentOf(running, 'b');
  mirror.drop(b, lost('b'));
  await b.closing;
  await writeBytes(mirror, AT.offsetBytes, block(2));
  // Its own account can't be written for a while, as on a slow link.
  let isSlow = true;
  world.plans.set('b', (io) =>
    isSlow && io.op === 'write' && io.offsetBytes >= mirror.mediaSizeBytes ? { kind: 'hold' } : null,
  );
  const arrival = await running.reopen(b);
  const arriving = mirror.arrive(b, arrival);
  const { data } = arrival.media;
  await until('b to be taken in', () => b.takesWrites);
  await writeBytes(mirror, AT.offsetBytes, block(3));
  expect((await world.superblock('b', mirror.mediaSizeBytes))?.isInconsistent).toBe(false);
  expect((await readBytes(world.device('b'), AT)).equals(block(1))).toBe(true);
  expect(b.missing.countMarked).toBeGreaterThan(0);
  isSlow = false;
  world.release('b');
  expect(await arriving).toBe('SYNCHRONIZING');
  await untilComplete(running);
  expect((await readBytes(data, AT)).equals(block(3))).toBe(true);
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  await running.close();
  expect((await readBytes(world.device('b'), AT)).equals(block(3))).toBe(true);
});
