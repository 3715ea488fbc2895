import { randomBytes } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MirrorWorld } from '../support/mirror-world.js';
import { Terminal } from '../support/terminal.js';
import { haveTools } from '../support/tools.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const PROGRAM = join(import.meta.dirname, '../../dist/cli/ggmirror.js');

let world: MirrorWorld;
let terminal: Terminal | null;

beforeEach(async () => {
  world = await MirrorWorld.make();
  terminal = null;
});
afterEach(async () => {
  terminal?.close();
  await world.close();
});

function show(...words: readonly string[]): Terminal {
  const line = [process.execPath, PROGRAM, ...words].map((word) => `'${word}'`).join(' ');
  terminal = new Terminal(`GGMIRROR_RUN_DIR='${world.scratch.path('run')}' ${line}`);
  return terminal;
}

/** A mirror whose second image misses 8 MiB. */
async function labelUnequal(): Promise<void> {
  writeFileSync(world.local, randomBytes(8 * MIB));
  truncateSync(world.local, 32 * MIB);
  await world.succeed('label', '--force', world.name, world.local, world.backup);
}

describe.skipIf(!haveTools('tmux'))('on a terminal', () => {
  test("status --watch shows a screen of its own, and ctrl-C gives the person's one back", async () => {
    await world.succeed('label', world.name, world.local);
    await world.succeed('start', world.name, world.local);
    await world.status();
    const { screen } = show('status', '--watch');
    expect(screen).not.toContain('exit status');
    await terminal?.untilShown(/mirror\/data {2}COMPLETE {2}\S*local\.img \(ACTIVE\)/);
    expect([terminal?.isOwnScreen, terminal?.hasCursor]).toEqual([true, false]);
    terminal?.press('C-c');
    await terminal?.untilShown(/^exit status 0$/m);
    expect([terminal?.isOwnScreen, terminal?.hasCursor]).toEqual([false, true]);
  });

  test('start --wait shows how far copying is, and ctrl-C leaves the mirror at its work', async () => {
    await labelUnequal();
    const { name, local, backup } = world;
    show('start', name, local, backup, '--resync-rate', '256k', '--wait');
    await until('the mirror', () => world.status().catch(() => null));
    await terminal?.untilShown(/synchronize .*\d\.\d %.* of .*iB\/s {2}\d.* left/);
    terminal?.press('C-c');
    await terminal?.untilShown(/interrupted; the mirror goes on\. mirror\/data is DEGRADED: /);
    await terminal?.untilShown(/^exit status 130$/m);
    expect((await world.status()).components.map(({ state }) => state)).toContain('SYNCHRONIZING');
  });
});

test('start --wait and rebuild --wait return when all is ACTIVE, and say when that can not be waited for', async () => {
  await labelUnequal();
  const { name, local, backup } = world;
  expect((await world.run('start', name, local, backup, '--wait-limit', '1')).code).toBe(2);
  await world.succeed('start', name, local, backup, '--wait');
  expect(await world.status()).toMatchObject({ state: 'COMPLETE' });
  expect(await world.run('rebuild', name, backup, '--wait')).toMatchObject({ code: 0, stdout: '' });
  expect(await world.status()).toMatchObject({ state: 'COMPLETE' });
  expect(await world.run('status', '--check')).toEqual({
    code: 0,
    stdout: 'mirror/data COMPLETE\n',
    stderr: '',
  });
  await world.succeed('deactivate', name, backup);
  expect((await world.run('status', '--check', name)).code).toBe(4);
  const pid = (await world.status()).pid;
  await world.succeed('stop', name);
  await world.untilEnded(pid);
  expect(await world.run('status', '--check')).toMatchObject({
    code: 1,
    stderr: 'ggmirror: no mirror runs\n',
  });
  const inactive = await world.run('start', name, local, backup, '--wait');
  await world.status();
  expect(inactive).toMatchObject({
    code: 1,
    stderr: `ggmirror: mirror/data is DEGRADED: ${backup} (DISCONNECTED, INACTIVE)\n`,
  });
});
