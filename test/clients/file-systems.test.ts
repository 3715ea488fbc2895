import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Attachment } from '../../src/cli/attach/attachment.js';
import { canUseLoop } from '../support/loop-device.js';
import { headOf, MirrorLab, writeRandom, type Backup } from '../support/mirror-lab.js';
import { haveTools, runTool } from '../support/tools.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const NAME = 'data';
/** Beside a region's data: headers, and what says on the backup's own disk where it stands. */
const OVERHEAD_BYTES = 2 * MIB;

const canAttach =
  haveTools('nbdfuse') && hasMakers('mkfs.ext4', 'mkfs.xfs') && canUseLoop() && existsSync('/dev/fuse');

/** These say their version in ways of their own. */
function hasMakers(...programs: readonly string[]): boolean {
  const folders = ['/sbin', '/usr/sbin'];
  const isThere = (program: string): boolean => folders.some((folder) => existsSync(`${folder}/${program}`));
  const missing = programs.filter((program) => !isThere(program));
  if (missing.length > 0 && process.env['CI'] === 'true') throw new Error(`missing: ${missing.join(', ')}`);
  return missing.length === 0;
}

describe.skipIf(!canAttach)('a file system on a mirror', () => {
  let lab: MirrorLab;
  let local: string;
  let backup: Backup;
  let mountPoint: string;
  let imageBytes: number;
  /** What was written, by the names of the files. */
  let written: Map<string, Buffer>;

  beforeEach(() => {
    lab = new MirrorLab();
    mountPoint = lab.scratch.path('mnt');
    mkdirSync(mountPoint);
    written = new Map();
  });

  afterEach(async () => await lab.end());

  /** A file system of this kind on a mirror of a local image and a backup, mounted. Resolves with its device. */
  async function makeFileSystem(words: readonly [string, ...string[]], sizeBytes: number): Promise<string> {
    imageBytes = sizeBytes;
    local = await lab.image('local.img', sizeBytes);
    backup = await lab.backup('backup.img', sizeBytes);
    await lab.create(NAME, [local, backup.uri], '--timeout', '8');
    const told = await lab.succeed('attach', NAME, '--way', 'nbdfuse', '--json');
    const { device } = JSON.parse(told) as Attachment;
    await runTool(...words, device);
    await lab.succeed('attach', NAME, '--mount', mountPoint);
    return device;
  }

  async function write(name: string, lengthBytes: number): Promise<void> {
    await writeRandom(`${mountPoint}/${name}`, lengthBytes);
    written.set(name, readFileSync(`${mountPoint}/${name}`));
  }

  const untilQuiet = (): Promise<unknown> =>
    until('no request under way', async () =>
      (await lab.status(NAME)).components.every(({ inFlight }) => inFlight === 0),
    );

  /** Ends everything in order; the mirror's data are then the same everywhere, to the byte. */
  async function endAndCompare(check: readonly [string, ...string[]]): Promise<number> {
    const told = await lab.succeed('status', NAME, '--json');
    const [status] = JSON.parse(told) as { attached: Attachment }[];
    await runTool('umount', mountPoint);
    await runTool(...check, status?.attached.device ?? '');
    await lab.succeed('detach', NAME);
    const { mediaSizeBytes } = await lab.stop(NAME);
    const [one, other] = [headOf(local, mediaSizeBytes), headOf(backup.image, mediaSizeBytes)];
    expect(one.equals(other)).toBe(true);
    return mediaSizeBytes;
  }

  /** The backup's image alone, as after the loss of the primary. */
  async function expectAllOnBackup(mediaSizeBytes: number): Promise<void> {
    await backup.kill();
    const size = ['--sizelimit', String(mediaSizeBytes)];
    const words = ['--read-only', '--find', '--show', ...size, backup.image];
    const device = (await runTool('losetup', ...words)).trim();
    try {
      await runTool('mount', '-o', 'ro', device, mountPoint);
      try {
        const found = readdirSync(mountPoint).filter((name) => name !== 'lost+found');
        expect(found.sort()).toEqual([...written.keys()].sort());
        for (const [name, data] of written)
          expect(readFileSync(`${mountPoint}/${name}`).equals(data), name).toBe(true);
      } finally {
        await runTool('umount', mountPoint);
      }
    } finally {
      await runTool('losetup', '--detach', device);
    }
  }

  test.each([
    {
      what: 'is killed and started again',
      lose: () => backup.kill(),
      bring: () => backup.serve(),
    },
    {
      what: 'hangs and goes on',
      lose: () => backup.pause(),
      bring: () => {
        backup.resume();
        return Promise.resolve();
      },
    },
  ])(
    'goes on while its backup $what, which costs no more than the marked regions',
    async ({ lose, bring }) => {
      // Without what the kernel would go on writing after the mount.
      const options = ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0'];
      await makeFileSystem(['mkfs.ext4', ...options], 96 * MIB);
      await write('before', 8 * MIB);
      await lose();
      // A file that is being written as the backup goes: fsync waits for the time-out at most.
      await write('during', 2 * MIB);
      await lab.untilState(NAME, 'DEGRADED');
      await write('without', 3 * MIB);
      await runTool('sync', '-f', mountPoint);
      await untilQuiet();
      const { markedBytes, needsFullCopy } = await lab.component(NAME, backup.uri);
      expect(needsFullCopy).toBe(false);
      // It has missed these two files, and it's far from all.
      expect(markedBytes).toBeGreaterThanOrEqual(3 * MIB);
      expect(markedBytes).toBeLessThan(imageBytes / 2);
      backup.proxy.reset();
      await bring();
      await lab.untilState(NAME, 'COMPLETE');
      expect(backup.proxy.bytes.up).toBeLessThan(markedBytes + OVERHEAD_BYTES);
      await write('after', MIB);
      const mediaSizeBytes = await endAndCompare(['e2fsck', '-f', '-n']);
      await expectAllOnBackup(mediaSizeBytes);
    },
  );

  test('may be XFS', async () => {
    await makeFileSystem(['mkfs.xfs', '-q'], 352 * MIB);
    await write('before', 2 * MIB);
    await backup.kill();
    await write('without', 2 * MIB);
    await lab.untilState(NAME, 'DEGRADED');
    await backup.serve();
    await lab.untilState(NAME, 'COMPLETE');
    const mediaSizeBytes = await endAndCompare(['xfs_repair', '-n']);
    await expectAllOnBackup(mediaSizeBytes);
  });
});
