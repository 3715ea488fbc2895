import { describe, expect, test } from 'vitest';
import { changePriority, changeSettings, type SettingsChange } from '../../src/mirror/members/configure.js';
import { AssembleError, type AssembledMirror } from '../../src/mirror/start/assemble.js';
import { writeBytes } from '../support/device-requests.js';
import {
  comeBack,
  componentOf,
  INSERTED,
  MemberWorld,
  statesOf,
  untilComplete,
} from '../support/member-world.js';

/** What the labels of these say of the mirror. */
async function labelled(world: MemberWorld, names: string): Promise<unknown[]> {
  const labels = await Promise.all(Array.from(names).map((name) => world.label(name)));
  return labels.map((label) => {
    const { balance, sliceBytes, mirrorFlags } = label ?? {};
    return [balance, sliceBytes, mirrorFlags?.noAutoSync, mirrorFlags?.noFailSync];
  });
}

const OLD = [2, 4096, false, false];
const NEW = [3, 65_536, true, true];
const CHANGE: SettingsChange = { balance: 'split', sliceBytes: 65_536, noAutoSync: true, noFailSync: true };

describe('settings', () => {
  test('hold at once, in every label, and at the next start', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    expect(await labelled(world, 'ab')).toEqual([OLD, OLD]);
    await changeSettings(running.mirror, CHANGE);
    expect(await labelled(world, 'ab')).toEqual([NEW, NEW]);
    expect(running.mirror.conduct).toMatchObject({
      ...{ algorithm: 'split', sliceBytes: 65_536, isAutosync: false },
    });
    expect(running.mirror.isAutosync).toBe(false);
    await running.close();
    const again = await world.start('ab');
    expect(again.mirror.conduct).toMatchObject({ algorithm: 'split', sliceBytes: 65_536 });
    expect(again.mirror.isAutosync).toBe(false);
    await again.close();
  });

  test('that are there already are told as no change, and so is nothing', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    for (const change of [{}, { balance: 'load' }, { noAutoSync: false, sliceBytes: 4096 }] as const)
      await expect(changeSettings(running.mirror, change)).rejects.toThrow('Nothing has changed.');
    const b = componentOf(running, 'b');
    await expect(changePriority(running.mirror, b, b.identity.priority)).rejects.toThrow(
      'Nothing has changed.',
    );
    await running.close();
  });

  test('are not changed while a label is out of reach', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    const message = "Not all disks connected. Try 'forget' command first. (b)";
    await expect(changeSettings(running.mirror, CHANGE)).rejects.toThrow(message);
    await expect(changePriority(running.mirror, componentOf(running, 'a'), 9)).rejects.toThrow(message);
    expect(running.mirror.conduct.algorithm).toBe('load');
    await running.close();
    expect((await labelled(world, 'a'))[0]).toEqual(OLD);
  });

  test('AUTOSYNC brings who waited up to date', async () => {
    const world = await new MemberWorld('ab').create('ab', { noAutoSync: true });
    const running = await world.start('ab', { isAutosync: false });
    running.mirror.drop(componentOf(running, 'b'), new Error('gone') as never);
    await writeBytes(running.mirror, 0, Buffer.alloc(4096, 5));
    expect(await comeBack(running, 'b')).toBe('STALE');
    await changeSettings(running.mirror, { noAutoSync: false });
    await untilComplete(running);
    await running.close();
    expect(world.data('b').equals(world.data('a'))).toBe(true);
    expect((await world.label('b'))?.mirrorFlags.noAutoSync).toBe(false);
  });

  test('hardcoded names are those that a kernel has for disks', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    const refusal = 'has no name of at most 15 bytes that a kernel would know it by; nothing was changed';
    await expect(changeSettings(running.mirror, { isHardcoded: true })).rejects.toThrow(refusal);
    for (const name of ['a', 'b']) {
      const component = componentOf(running, name);
      component.identity = { ...component.identity, name: `/dev/${name}` };
    }
    await changeSettings(running.mirror, { isHardcoded: true });
    expect((await world.label('b'))?.hardcodedProvider).toBe('b');
    await changeSettings(running.mirror, { isHardcoded: false });
    expect((await world.label('b'))?.hardcodedProvider).toBe('');
    await running.close();
  });
});

/** The algorithm that is shown and used, and who answers reads. The first component is local, the second is not. */
const reading = ({ mirror }: AssembledMirror): string =>
  `${mirror.conduct.algorithm}, ${mirror.reads.preferred.name}`;

describe("the balance 'prefer' in a label", () => {
  test.each(['prefer', 'prefer-local'] as const)(
    'is prefer-local where a component is local and another one is not, from %s on and after a restart',
    async (balance) => {
      const world = await new MemberWorld('ab').create('ab');
      const running = await world.start('ab');
      await changeSettings(running.mirror, { balance });
      expect(reading(running)).toBe('prefer-local, a');
      await expect(changeSettings(running.mirror, { balance: 'prefer' })).rejects.toThrow(
        'Nothing has changed.',
      );
      expect((await labelled(world, 'ab'))[1]).toEqual([4, 4096, false, false]);
      await running.close();
      const again = await world.start('ab');
      expect(reading(again)).toBe('prefer-local, a');
      await again.close();
    },
  );

  test('goes with the components that there are, as a restart with them has it', async () => {
    const world = await new MemberWorld('abc').create('ab');
    const running = await world.start('ab');
    await changeSettings(running.mirror, { balance: 'prefer' });
    const states = [reading(running)];
    await untilComplete(running);
    await running.members.remove(componentOf(running, 'a'));
    states.push(reading(running));
    await running.members.insert({ ...world.opener('c'), isLocal: true }, INSERTED);
    await untilComplete(running);
    states.push(reading(running));
    await running.close();
    expect(states).toEqual(['prefer-local, a', 'prefer, b', 'prefer-local, c']);
  });

  test('is nothing but that where the start says so, until it is configured', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab', { balance: 'prefer' });
    expect(reading(running)).toBe('prefer, b');
    await changeSettings(running.mirror, { sliceBytes: 8192 });
    expect(reading(running)).toBe('prefer, b');
    await changeSettings(running.mirror, { balance: 'prefer' });
    expect(reading(running)).toBe('prefer-local, a');
    await running.close();
  });
});

describe('a priority', () => {
  test('decides at once who answers reads, and at the next start', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab', { balance: 'prefer' });
    expect(running.mirror.reads.preferred.name).toBe('b');
    await changePriority(running.mirror, componentOf(running, 'a'), 200);
    expect(running.mirror.reads.preferred.name).toBe('a');
    expect((await world.label('a'))?.priority).toBe(200);
    await running.close();
    const again = await world.start('ab', { balance: 'prefer' });
    expect(again.mirror.reads.preferred.name).toBe('a');
    await again.close();
  });

  test('of a component that was not there at the start is what its label says, when it comes', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const first = await world.start('ab');
    await changePriority(first.mirror, componentOf(first, 'b'), 77);
    await first.close();
    world.gone.add('b');
    const running = await world.start('ab', { degraded: true });
    expect(componentOf(running, 'b').identity.priority).toBe(0);
    world.gone.clear();
    await comeBack(running, 'b');
    await untilComplete(running);
    expect(componentOf(running, 'b').identity.priority).toBe(77);
    expect(running.mirror.components.map(({ name }) => name)).toEqual(['b', 'a']);
    await running.close();
    expect((await world.label('b'))?.priority).toBe(77);
  });
});

test('power lost at any request of a change leaves a mirror that starts with the old or the new settings', async () => {
  const found = new Set<string>();
  for (let requests = 1, isOver = false; !isOver; requests++) {
    const world = await new MemberWorld('ab').create('ab');
    const running = await world.start('ab');
    world.cutPowerAfter(requests);
    await changeSettings(running.mirror, CHANGE).catch(() => undefined);
    isOver = !world.isPowerCut;
    const crashed = world.copyAfterCrash(requests);
    const again = await crashed.start('ab').catch((error: unknown) => {
      if (error instanceof AssembleError) return null;
      throw error;
    });
    if (again === null) {
      found.add('refused');
      continue;
    }
    const { settings } = again.mirror;
    found.add(`${settings?.balance ?? ''} ${settings?.sliceBytes ?? ''}: ${statesOf(again)}`);
    await again.close();
    const [one, other] = await labelled(crashed, 'ab');
    expect(one).toEqual(other);
  }
  const inStep = (running: string): string => `${running}: a ACTIVE, b ACTIVE`;
  expect([...found].sort()).toEqual([inStep('2 4096'), inStep('3 65536')]);
});
