import { expect, test } from 'vitest';
import { AssembleError, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { writeBytes } from '../support/device-requests.js';
import { componentOf, INSERTED, MemberWorld } from '../support/member-world.js';
import { until } from '../support/until.js';

/** A new generation begins, `a`, which is in step, fails its first flush in it, and power goes after so many changes. */
async function losePowerAfter(changes: number): Promise<{ world: MemberWorld; isOver: boolean }> {
  const world = await new MemberWorld('abc').create('ab');
  const running = await world.start('ab');
  await writeBytes(running.mirror, 8192, Buffer.alloc(4096, 7));
  await running.mirror.log.empty();
  let hasFailed = false;
  world.plans.set('a', ({ op }) => {
    if (op !== 'flush' || hasFailed) return null;
    hasFailed = true;
    return { kind: 'fail', errno: 'EIO' };
  });
  world.cutPowerAfterChanges(changes);
  await running.members.insert(world.opener('c'), INSERTED).catch(() => undefined);
  await until('the loss', () => world.isPowerCut || componentOf(running, 'a').state !== 'ACTIVE');
  await running.mirror.lossesRecorded().catch(() => undefined);
  return { world: world.copyAfterCrash(changes), isOver: !world.isPowerCut };
}

/** How many regions are to be copied to it at the next start; null if it is in step. */
async function missedBy(world: MemberWorld, name: string): Promise<number | null> {
  let running: AssembledMirror;
  try {
    running = await world.start('abc', { isAutosync: false });
  } catch (error) {
    if (!(error instanceof AssembleError && error.code === 'ASSEMBLE_FOREIGN')) throw error;
    running = await world.start('ab', { isAutosync: false });
  }
  const { state, missing } = componentOf(running, name);
  return state === 'ACTIVE' ? null : missing.countMarked;
}

test('nothing is copied to one that fails while a new generation is told, wherever power goes before its loss is noted', async () => {
  const found = new Set<number | null>();
  for (let changes = 1, isOver = false; !isOver; changes++) {
    const crash = await losePowerAfter(changes);
    found.add(await missedBy(crash.world, 'a'));
    isOver = crash.isOver;
  }
  expect(found).toEqual(new Set([null, 0]));
});
