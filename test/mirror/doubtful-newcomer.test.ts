import { expect, test } from 'vitest';
import { writeBytes } from '../support/device-requests.js';
import { componentOf, INSERTED, MemberWorld, statesOf } from '../support/member-world.js';

test('one that is inserted is not believed by checksums, also where nobody has failed yet, and after a restart', async () => {
  const world = await new MemberWorld('ab').create('ab');
  const first = await world.start('ab');
  await writeBytes(first.mirror, 8192, Buffer.alloc(4096, 7));
  await first.members.remove(componentOf(first, 'b'));
  // What it has of that write is in its cache, and its next flush forgets it. Nobody takes that down.
  let left = 1;
  world.device('b').failing = ({ op }) => op === 'flush' && left-- > 0;
  await expect(first.members.insert(world.opener('b'), INSERTED)).rejects.toThrow('flush');
  await first.close();
  const second = await world.start('a', { isAutosync: false });
  await second.members.insert(world.opener('b'), INSERTED);
  expect(componentOf(second, 'b').isCacheDoubtful).toBe(true);
  await second.close();
  const third = await world.start('ab', { resyncBytesPerSecond: 1 });
  expect(statesOf(third)).toBe('a ACTIVE, b SYNCHRONIZING');
  expect(componentOf(third, 'b').isCacheDoubtful).toBe(true);
  await third.close();
});
