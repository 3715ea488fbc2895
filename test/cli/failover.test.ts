import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ComponentStatus, MirrorStatus } from '../../src/control/status.js';
import { untilGone } from '../support/processes.js';
import { until } from '../support/until.js';
import { TwoHosts, type Host } from '../support/two-hosts.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const IMAGE_BYTES = 32 * MIB;
/** What the activity log calls hot counts as different after a crash. */
const EXTENT_BYTES = 4 * MIB;

let hosts: TwoHosts;
let primary: Host;
let backup: Host;

beforeEach(async () => {
  hosts = await TwoHosts.make({ imageBytes: IMAGE_BYTES });
  ({ primary, backup } = hosts);
  await hosts.run();
});

afterEach(async () => {
  await hosts.close();
});

const componentOf = ({ components }: MirrorStatus, name: string): ComponentStatus => {
  const found = components.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no component ${name}`);
  return found;
};

/** Both data areas, when nothing is written any more. */
function expectEqualImages(mediaSizeBytes: number): void {
  const [one, other] = [primary.imageBytes(0, mediaSizeBytes), backup.imageBytes(0, mediaSizeBytes)];
  expect(one.equals(other)).toBe(true);
}

describe('a primary that dies', () => {
  test('is replaced by the backup, and gets back what it missed when that is demoted (T1, T2)', async () => {
    const before = randomBytes(256 * KIB);
    await primary.write(0, before);
    await primary.killMirror();

    const said = await hosts.promoteBackup();
    expect(said).toContain(`degraded: without ${primary.uri}`);
    expect((await backup.read(0, before.length)).equals(before)).toBe(true);
    const meanwhile = randomBytes(128 * KIB);
    await backup.write(8 * MIB, meanwhile);

    // Nobody else may have the image meanwhile, and the old primary is no master of its own because it can't have it.
    const refused = await primary.fail('promote', hosts.name, primary.image, backup.uri);
    expect(refused).toContain(`${backup.uri} is in use by somebody else`);
    // The old primary is back too early, and waits.
    const starting = primary.start('start', hosts.name, primary.image, backup.uri);
    await until('a line about it', () => {
      starting.expectRunning();
      return starting.stderr().includes(`mirror/${hosts.name} waits: `);
    });
    const waiting = await primary.status();
    expect(waiting).toMatchObject({ state: 'STARTING', clients: 0 });
    expect(waiting.waitsFor).toContain(backup.uri);
    expect(await primary.succeed('status')).toContain(`mirror/${hosts.name} waits: `);
    expect(await primary.fail('rebuild', hosts.name, primary.image)).toContain('does not run yet');
    expect(await primary.fail('attach', hosts.name)).toContain('does not run yet');
    expect(await primary.fail('start', hosts.name, primary.image)).toContain(`pid: ${waiting.pid}.`);

    expect(await backup.succeed('demote', hosts.name)).toContain(`${backup.image} is served again`);
    const { code, stderr } = await starting.ended;
    expect(code, stderr).toBe(0);
    expect((await primary.read(8 * MIB, meanwhile.length)).equals(meanwhile)).toBe(true);
    const back = await primary.untilState('COMPLETE');
    const { bytesWritten } = componentOf(back, primary.image);
    expect(bytesWritten).toBeGreaterThanOrEqual(meanwhile.length);
    expect(bytesWritten).toBeLessThanOrEqual(EXTENT_BYTES + 4 * 64 * KIB);
    await primary.stopMirror();
    expectEqualImages(back.mediaSizeBytes);
    expect(primary.imageBytes(8 * MIB, meanwhile.length).equals(meanwhile)).toBe(true);
  });

  test('does not start when its waiting is ended, comes back as the backup of the one that was promoted, and gets what it missed by itself', async () => {
    await primary.write(0, randomBytes(256 * KIB));
    await primary.killMirror();
    await hosts.promoteBackup();
    const meanwhile = randomBytes(128 * KIB);
    await backup.write(8 * MIB, meanwhile);

    // Its waiting is ended by stop, or because nobody wants it any more.
    const words = ['start', hosts.name, primary.image, backup.uri];
    expect(await primary.succeed(...words, '--background')).toContain(`mirror/${hosts.name} waits (process `);
    const { pid } = await primary.status();
    await primary.succeed('stop', hosts.name);
    await untilGone([pid]);
    const starting = primary.start(...words);
    await until('a line about it', () => {
      starting.expectRunning();
      return starting.stderr().includes(' waits: ');
    });
    const waiting = await primary.status();
    starting.signal('SIGINT');
    expect(await starting.ended).toMatchObject({ code: 130 });
    await untilGone([waiting.pid]);
    expect(readdirSync(primary.runDirectory)).not.toContain(`${hosts.name}.ctl`);

    await primary.serve();
    const back = await backup.untilState('COMPLETE');
    const { bytesWritten } = componentOf(back, primary.uri);
    expect(bytesWritten).toBeGreaterThanOrEqual(meanwhile.length);
    expect(bytesWritten).toBeLessThanOrEqual(EXTENT_BYTES + 4 * 64 * KIB);
    await backup.stopMirror();
    expectEqualImages(back.mediaSizeBytes);
  });
});

describe('a backup that is promoted while the primary lives', () => {
  test('is refused, and gives the image back where it can not be started; by force it ends in split brain when both have written, and both keep their data', async () => {
    const refused = await backup.fail('promote', hosts.name, backup.image, primary.uri);
    expect(refused).toContain(`${backup.image} is in use by 127.0.0.1`);
    expect(refused).toContain('--force');
    await primary.write(0, randomBytes(4 * KIB));
    expect((await primary.status()).state).toBe('COMPLETE');

    const unstartable = await backup.fail('promote', '--force', 'other', backup.image);
    expect(unstartable).toContain("of mirror 'sites', not of 'other'");
    await primary.write(0, randomBytes(64 * KIB));
    const { mediaSizeBytes } = await primary.untilState('COMPLETE');
    expectEqualImages(mediaSizeBytes);

    await hosts.promoteBackup('--force');
    // Without a request that would fail.
    await primary.untilState('DEGRADED');
    const [ofPrimary, ofBackup] = [randomBytes(64 * KIB), randomBytes(64 * KIB)];
    await primary.write(0, ofPrimary);
    await backup.write(0, ofBackup);
    expect((await primary.read(0, ofPrimary.length)).equals(ofPrimary)).toBe(true);
    // Both still run, and neither can have the other's image: it is noticed all the same.
    await until('a split brain', async () => {
      const { refused } = componentOf(await primary.status(), backup.uri);
      return refused?.outcome === 'split brain';
    });
    const shown = await primary.run('status');
    expect(shown).toMatchObject({ code: 5 });
    expect(shown.stdout).toContain(`${backup.uri} (DISCONNECTED, SPLIT BRAIN)`);
    const busy = await primary.fail('resolve', hosts.name, '--discard', backup.uri, '--force');
    expect(busy).toContain('another client is writing to it');
    await backup.succeed('demote', hosts.name);
    await primary.stopMirror();
    const split = await primary.fail('start', hosts.name, primary.image, backup.uri);
    expect(split).toContain('split brain');
    expect(primary.imageBytes(0, ofPrimary.length).equals(ofPrimary)).toBe(true);
    expect(backup.imageBytes(0, ofBackup.length).equals(ofBackup)).toBe(true);
  });
});
