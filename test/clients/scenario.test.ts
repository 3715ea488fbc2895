import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { canUseLoop } from '../support/loop-device.js';
import { killFamily } from '../support/processes.js';
import { haveTools, runTool } from '../support/tools.js';
import { TwoHosts, type Host } from '../support/two-hosts.js';

const MIB = 1_048_576;

const canAttach = haveTools('nbdfuse') && canUseLoop() && existsSync('/dev/fuse');

let hosts: TwoHosts;
let primary: Host;
let backup: Host;
/** Who has the file system mounted. */
let mounted: Set<Host>;

beforeEach(async () => {
  hosts = await TwoHosts.make({ imageBytes: 32 * MIB });
  ({ primary, backup } = hosts);
  mounted = new Set();
  for (const host of [primary, backup]) mkdirSync(sites(host));
});
afterEach(async () => {
  for (const host of mounted) await host.run('detach', hosts.name);
  await hosts.close();
});

/** /home/sites of that machine. */
const sites = (host: Host): string => join(hosts.directory, host === primary ? 'sites-a' : 'sites-b');

async function mount(host: Host): Promise<void> {
  mounted.add(host);
  await host.succeed('attach', hosts.name, '--way', 'nbdfuse', '--mount', sites(host));
}

/** The script of a machine that is no master any more. */
async function becomeBackup(host: Host): Promise<void> {
  await host.succeed('detach', hosts.name);
  mounted.delete(host);
  await host.succeed('demote', hosts.name);
  expect(await host.succeed('status', '-s')).toBe('');
}

/** Durable when it returns. */
function makeFile(host: Host, name: string, bytes = randomBytes(64 * 1024)): Buffer {
  const fd = openSync(join(sites(host), name), 'w');
  writeSync(fd, bytes);
  fsyncSync(fd);
  closeSync(fd);
  return bytes;
}

function expectFile(host: Host, name: string, bytes: Buffer): void {
  expect(readFileSync(join(sites(host), name)).equals(bytes), name).toBe(true);
}

describe.skipIf(!canAttach)('a site on two machines, as its administrator tries it out', () => {
  test('moves to the slave and back with all its files, and the slave may fail meanwhile (T1, T2, T3)', async () => {
    await hosts.run();
    const device = (await primary.succeed('attach', hosts.name, '--way', 'nbdfuse')).trim();
    mounted.add(primary);
    await runTool('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', device);
    await mount(primary);
    const first = makeFile(primary, 'first', randomBytes(2 * MIB));

    // T1: the master stops being one, and nothing of the mirror is left there; the slave takes over.
    await becomeBackup(primary);
    await hosts.promoteBackup();
    await mount(backup);
    expectFile(backup, 'first', first);
    const onB = makeFile(backup, 'on B', randomBytes(MIB));

    // T2: back to the master, which is brought up to date while it is in use. Slowly at first, so that it can be seen.
    await becomeBackup(backup);
    const both = [primary.image, backup.uri];
    await primary.succeed('start', hosts.name, ...both, '--resync-rate', '16k');
    await mount(primary);
    const shown = await primary.succeed('status', hosts.name);
    expect(shown).toContain('DEGRADED');
    expect(shown).toMatch(/\(SYNCHRONIZING, \d+%\)/);
    expectFile(primary, 'on B', onB);
    const meanwhile = makeFile(primary, 'meanwhile');
    await primary.succeed('detach', hosts.name);
    await primary.stopMirror();
    await hosts.startPrimary();
    await primary.untilState('COMPLETE');

    // T3: the slave fails. The master goes on, and takes the slave in when it is back, with no more than it has missed.
    if (backup.server !== null) await killFamily(backup.server.pid);
    await mount(primary);
    const withoutB = makeFile(primary, 'without B');
    await primary.untilState('DEGRADED');
    const before = (await remoteOf()).bytesWritten;
    await backup.serve();
    await primary.untilState('COMPLETE');
    expect((await remoteOf()).bytesWritten - before).toBeLessThan(16 * MIB);
    for (const [name, bytes] of Object.entries({ first, 'on B': onB, meanwhile, 'without B': withoutB }))
      expectFile(primary, name, bytes);
    const { mediaSizeBytes } = await primary.status();
    await becomeBackup(primary);
    expect(primary.imageBytes(0, mediaSizeBytes).equals(backup.imageBytes(0, mediaSizeBytes))).toBe(true);
  });
});

async function remoteOf(): Promise<{ readonly bytesWritten: number }> {
  const { components } = await primary.status();
  const remote = components.find(({ name }) => name === backup.uri);
  if (remote === undefined) throw new Error('no backup');
  return remote;
}
