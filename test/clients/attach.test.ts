import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Attachment } from '../../src/cli/attach/attachment.js';
import { Attachments } from '../../src/cli/attach/attachments.js';
import { thisSystem } from '../../src/cli/attach/system.js';
import { mirrorPaths } from '../../src/control/paths.js';
import { systemClock } from '../../src/device/clock.js';
import { canUseLoop } from '../support/loop-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { MirrorLab, writeRandom } from '../support/mirror-lab.js';
import { NbdWorld } from '../support/nbd-world.js';
import { killFamily, start } from '../support/processes.js';
import { RecorderDevice } from '../support/recorder-device.js';
import { haveTools, runTool } from '../support/tools.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const NAME = 'data';

/** Without what the kernel would go on writing after the mount. */
const MAKE_EXT4 = ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0'] as const;

const canAttach = haveTools('nbdfuse') && canUseLoop() && existsSync('/dev/fuse');

describe.skipIf(!canAttach)('ggmirror attach', () => {
  let lab: MirrorLab;
  let components: string[];
  let mountPoint: string;

  beforeEach(async () => {
    lab = new MirrorLab();
    components = [await lab.image('a.img', 32 * MIB), await lab.image('b.img', 32 * MIB)];
    mountPoint = lab.scratch.path('mnt');
    mkdirSync(mountPoint);
    await lab.create(NAME, components);
  });

  afterEach(async () => await lab.end());

  const attach = async (...words: readonly string[]): Promise<Attachment> =>
    JSON.parse(await lab.succeed('attach', NAME, '--way', 'nbdfuse', '--json', ...words)) as Attachment;

  /** Line by line what it says when it fails. */
  async function failure(...words: readonly string[]): Promise<string> {
    const { code, stderr } = await lab.run(...words);
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    return stderr;
  }

  test('makes a block device, which status and list show and which keeps the mirror from being stopped', async () => {
    const device = (await lab.succeed('attach', NAME, '--way', 'nbdfuse')).trim();
    expect(device).toMatch(/^\/dev\/loop\d+$/);
    const { mediaSizeBytes } = await lab.status(NAME);
    expect(Number(await runTool('blockdev', '--getsize64', device))).toBe(mediaSizeBytes);
    expect(await lab.succeed('status')).toContain(`mirror/data is attached at ${device}\n`);
    expect(await lab.succeed('status', '-s')).not.toContain(device);
    expect(JSON.parse(await lab.succeed('status', '--json'))).toMatchObject([
      { name: NAME, attached: { way: 'nbdfuse', device, mountPoints: [] } },
    ]);
    expect(await lab.succeed('list')).toContain(`   Attached: ${device} (nbdfuse)\n`);
    expect(await failure('attach', NAME)).toContain(`is attached at ${device} already`);
    expect(await failure('stop', NAME)).toContain(`is attached at ${device}; detach it first`);
    await lab.succeed('detach', NAME);
    expect(await failure('detach', NAME)).toBe('ggmirror: mirror/data is not attached\n');
    await lab.stop(NAME);
  });

  test('outlives a mirror that is stopped by force, which says so and how to remove it', async () => {
    const { device } = await attach();
    const { code, stderr } = await lab.run('stop', '-f', NAME);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^ggmirror: mirror\/data has ended, but is attached at \S+, a dead device: .*\n$/);
    expect(stderr).toContain(`${device}, a dead device`);
    expect(stderr).toMatch(/; remove that with 'ggmirror detach data'\n$/);
    await lab.succeed('detach', NAME);
  });

  test('mounts the file system that is there, and says so if there is none', async () => {
    expect(await failure('attach', NAME, '--mount', mountPoint)).toMatch(
      /holds no file system; attach it without/,
    );
    expect(await failure('attach', NAME, '--mount', `${mountPoint}/no`)).toContain('make the folder first');
    expect(await failure('detach', NAME)).toContain('is not attached');
    const { device } = await attach();
    await runTool('mkfs.ext4', '-q', device);
    expect(await attach('--mount', mountPoint)).toMatchObject({ device, mountPoints: [mountPoint] });
    await writeRandom(`${mountPoint}/file`, MIB);
    const written = readFileSync(`${mountPoint}/file`);
    expect(await lab.succeed('list')).toContain(`   Mounted: ${mountPoint}\n`);
    await lab.succeed('detach', NAME);
    expect(readdirSync(mountPoint)).toEqual([]);
    expect(await attach('--mount', mountPoint)).toMatchObject({ mountPoints: [mountPoint] });
    expect(readFileSync(`${mountPoint}/file`).equals(written)).toBe(true);
    await lab.succeed('detach', NAME);
    await lab.stop(NAME);
  });

  test('is not undone under those who use it, unless told to', async () => {
    const { device } = await attach();
    const holder = start('sh', ['-c', `exec sleep 1000 < ${device}`]);
    try {
      await until('the open device', () => readFileSync(`/proc/${holder.pid}/comm`, 'utf8') === 'sleep\n');
      expect(await failure('detach', NAME)).toContain(`${device} is in use by sleep (process ${holder.pid})`);
    } finally {
      await holder.stop();
    }
    await runTool('mkfs.ext4', '-q', device);
    await attach('--mount', mountPoint);
    const told = lab.scratch.path('told');
    const script = `cd ${mountPoint}; until test -e ${told}; do sleep 0.1; done; echo gone on > file && sync file`;
    const user = start('sh', ['-c', script]);
    try {
      await until(
        'its folder',
        async () => (await runTool('readlink', `/proc/${user.pid}/cwd`)).trim() === mountPoint,
      );
      expect(await failure('detach', NAME)).toContain(`sh (process ${user.pid})`);
      await lab.succeed('detach', '-f', NAME);
      expect(await failure('detach', NAME)).toContain('is not attached');
      writeFileSync(told, '');
      expect(await user.ended).toBe(0);
    } finally {
      await user.stop();
    }
    // With its last user everything goes away by itself, and nothing that it wrote is missing.
    await until('the end of the connections', async () => (await lab.status(NAME)).clients === 0);
    await attach('--mount', mountPoint);
    expect(readFileSync(`${mountPoint}/file`, 'utf8')).toBe('gone on\n');
  });

  test.each(['the daemon', 'nbdfuse'])('recognises what is left when %s was killed', async (who) => {
    const { device } = await attach();
    await runTool('mkfs.ext4', '-q', device);
    await attach('--mount', mountPoint);
    if (who === 'the daemon') {
      await lab.kill(NAME);
      await lab.start(NAME, components);
    } else {
      await killFamily(await nbdfusePid());
    }
    expect(await lab.succeed('status')).toContain(`${device} and mounted on ${mountPoint}, a dead device`);
    expect(await attach()).toMatchObject({ mountPoints: [] });
    expect(readdirSync(mountPoint)).toEqual([]);
    await runTool('e2fsck', '-f', '-p', (await attached()).device);
    await lab.succeed('detach', NAME);
    await lab.stop(NAME);
  });

  test('can be undone when the mirror is gone', async () => {
    const { device } = await attach();
    await lab.kill(NAME);
    await lab.succeed('detach', NAME);
    expect((await runTool('losetup', '--list', '--noheadings', '-O', 'NAME')).split('\n')).not.toContain(
      device,
    );
    expect(readdirSync(lab.scratch.path('run')).filter((name) => /attached|disk/.test(name))).toEqual([]);
  });

  const attached = async (): Promise<Attachment> => {
    const [status] = JSON.parse(await lab.succeed('status', '--json')) as { attached: Attachment }[];
    if (status === undefined) throw new Error('no mirror runs');
    return status.attached;
  };

  async function nbdfusePid(): Promise<number> {
    const table = await runTool('ps', '-ax', '-o', 'pid=', '-o', 'args=');
    const line = table.split('\n').find((one) => one.includes('nbdfuse') && one.includes(lab.scratch.folder));
    return Number(line?.trim().split(' ')[0]);
  }
});

describe.skipIf(!canAttach)('a file system on what attach has made', () => {
  test('has its flushes arrive at the mirror before fsync returns', async () => {
    const recorder = new RecorderDevice(new MemoryDevice({ mediaSizeBytes: 32 * MIB }));
    const world = await NbdWorld.start(new Map([['', recorder]]), { clock: systemClock });
    const mountPoint = world.scratch.path('mnt');
    mkdirSync(mountPoint);
    const attachments = new Attachments(thisSystem(), NAME, mirrorPaths(world.scratch.folder, NAME));
    const target = { name: NAME, sectorSizeBytes: 512, nbdPath: world.unixPath, ggate: null };
    const options = { target, daemonPid: process.pid, way: 'nbdfuse' } as const;
    try {
      const { device } = await attachments.attach({ ...options, mountPoint: null });
      await runTool(...MAKE_EXT4, device);
      await attachments.attach({ ...options, mountPoint });
      recorder.events.length = 0;
      await writeRandom(`${mountPoint}/file`, 65_536);
      const begun = recorder.started();
      const firstWrite = begun.findIndex((one) => one.startsWith('write'));
      expect(firstWrite).toBeGreaterThanOrEqual(0);
      expect(begun.lastIndexOf('flush 0+0')).toBeGreaterThan(firstWrite);
      // The journal's commit is the last thing written, and a flush follows it.
      expect(begun.findLastIndex((one) => one.startsWith('write'))).toBeLessThan(
        begun.lastIndexOf('flush 0+0'),
      );
    } finally {
      await attachments.detach(true);
      await world.end();
    }
  });
});
