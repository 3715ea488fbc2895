import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MirrorStatus } from '../../src/control/status.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const REGION = 65_536;
const [ONLY_PRIMARY, ONLY_BACKUP, BOTH] = [1 * MIB, 2 * MIB, 3 * MIB];

let world: MirrorWorld;

beforeEach(async () => {
  world = await MirrorWorld.make({ name: 'm', imageBytes: 8 * MIB });
  await world.label();
  await world.killBackup();
});
afterEach(async () => await world.close());

async function write(value: number, ...offsets: readonly number[]): Promise<void> {
  const client = await world.attach();
  for (const offset of offsets) expect((await client.write(offset, Buffer.alloc(4096, value))).errno).toBe(0);
  await client.disconnect();
}

/** Starts one side alone, and writes to it. */
async function writeAlone(component: string, value: number, ...offsets: readonly number[]): Promise<void> {
  await world.succeed('start', 'm', component, '--degraded');
  await world.status();
  await write(value, ...offsets);
  await world.stopAndRead();
}

/** What both have in the end: the primary's data, everywhere the same. */
async function expectPrimary(): Promise<void> {
  await world.untilState('COMPLETE');
  const { ofLocal, ofBackup } = await world.stopAndRead();
  expect(ofLocal.equals(ofBackup)).toBe(true);
  expect([ONLY_PRIMARY, ONLY_BACKUP, BOTH].map((offset) => ofLocal[offset])).toEqual([1, 0, 1]);
}

describe('a split brain', () => {
  test('of a running mirror is shown until a person settles it, and then only what either side wrote is copied', async () => {
    await writeAlone(world.backup, 2, ONLY_BACKUP, BOTH);
    const said = await world.succeed('start', 'm', world.local, world.uri, '--degraded');
    expect(said).toContain(`degraded: without ${world.uri}: cannot connect`);
    await world.status();
    await write(1, ONLY_PRIMARY, BOTH);
    await world.serveBackup();
    const seen = await until('the backup to be refused', async () => {
      const status: MirrorStatus = await world.status();
      return world.remoteOf(status)?.refused?.outcome === 'split brain' ? status : null;
    });
    expect(world.remoteOf(seen)?.refused).toEqual({ outcome: 'split brain', copyBytes: 3 * REGION });

    const shown = await world.run('status', 'm');
    expect(shown.code).toBe(5);
    expect(shown.stdout).toContain(`${world.uri} (DISCONNECTED, SPLIT BRAIN)`);

    const rebuild = await world.run('rebuild', 'm', world.uri);
    expect(rebuild.code).toBe(1);
    expect(rebuild.stderr).toContain(`ggmirror resolve m --discard ${world.uri}`);

    const asked = await world.run('resolve', 'm', '--discard', world.uri);
    expect(asked.code).toBe(1);
    const says = `mirror/m: ${world.uri} is overwritten, in 192 KiB, with what ${world.local} has\n`;
    expect(asked.stderr).toBe(`${says}ggmirror: nothing was changed; to do that, add --force\n`);
    const both = ['--discard', world.uri, '--discard', world.local, '--force'];
    expect((await world.run('resolve', 'm', ...both)).stderr).toContain('has nothing to settle');
    expect(world.remoteOf(await world.status())?.state).toBe('DISCONNECTED');

    const done = await world.run('resolve', 'm', '--discard', world.uri, '--force');
    expect([done.code, done.stderr]).toEqual([0, says]);
    await world.untilState('COMPLETE');
    expect(world.remoteOf(await world.status())?.bytesWritten).toBeLessThanOrEqual(3 * REGION);
    expect((await world.run('resolve', 'm', '--discard', world.uri)).stderr).toContain(
      'has nothing to settle',
    );
    await expectPrimary();
  });

  test('of a mirror that does not run is settled by the same command, and the next start copies', async () => {
    await writeAlone(world.backup, 2, ONLY_BACKUP, BOTH);
    await writeAlone(world.local, 1, ONLY_PRIMARY, BOTH);
    await world.serveBackup();
    const both = [world.local, world.uri];
    const refused = await world.run('start', 'm', ...both);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`'ggmirror resolve m --discard ${world.uri}' keeps ${world.local}`);
    expect(refused.stderr).toContain('name the components there, too');

    const asked = await world.run('resolve', 'm', '--discard', world.uri, ...both);
    expect(asked.code).toBe(1);
    expect(asked.stderr).toContain(`${world.uri} is overwritten, in 192 KiB, with what ${world.local} has`);
    expect((await world.run('start', 'm', ...both)).code).toBe(1);

    const done = await world.run('resolve', 'm', '--discard', world.uri, '--force', ...both);
    expect([done.code, done.stdout]).toEqual([
      0,
      'mirror/m is settled; what is left is copied when it is started\n',
    ]);
    await world.succeed('start', 'm', ...both);
    await expectPrimary();
  });

  test('that is none is not settled, and one that is settles itself where that was asked for', async () => {
    const { local } = world;
    const { code, stderr } = await world.run('resolve', 'm', '--discard', local, '--force', local);
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);

    await writeAlone(world.backup, 2, ONLY_BACKUP);
    await writeAlone(world.local, 1, ONLY_PRIMARY, BOTH);
    await world.serveBackup();
    await world.succeed('start', 'm', world.local, world.uri, '--after-split-brain', 'discard-least-changes');
    await world.status();
    await expectPrimary();
  });
});
