import { randomFillSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BlockDevice } from '../../../src/device/block-device.js';
import { systemClock } from '../../../src/device/clock.js';
import { createImage, openFile } from '../../../src/device/file-device.js';
import { openSyncFile } from '../../../src/device/sync-device.js';
import { canUseLoop, withMount } from '../../support/loop-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { start } from '../../support/processes.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';
import { haveTools, runTool } from '../../support/tools.js';
import { until } from '../../support/until.js';

const MIB = 1_048_576;
const SIZE_BYTES = 64 * MIB;

let scratch: Scratch;
let image: string;
let recorder: RecorderDevice;
let world: NbdWorld;
let toClose: BlockDevice | null;

beforeEach(() => {
  scratch = makeScratch();
  image = scratch.path('served.img');
  toClose = null;
});

afterEach(async () => {
  await world.end();
  await toClose?.close();
  scratch.remove();
});

async function serve(device: BlockDevice): Promise<void> {
  toClose = device;
  recorder = new RecorderDevice(device);
  world = await NbdWorld.start(recorder, { clock: systemClock });
}

async function serveImage(kind: 'sync' | 'pool'): Promise<void> {
  await createImage(image, SIZE_BYTES);
  await serve(await (kind === 'sync' ? openSyncFile : openFile)(image, { access: 'rw' }));
}

/** Random data with holes between. */
function makeSource(): string {
  const path = scratch.path('source.img');
  const data = randomFillSync(Buffer.alloc(24 * MIB));
  writeFileSync(
    path,
    Buffer.concat([data.subarray(0, 16 * MIB), Buffer.alloc(16 * MIB), data.subarray(16 * MIB)]),
  );
  truncateSync(path, SIZE_BYTES);
  return path;
}

const sameBytes = (one: string, other: string): boolean => readFileSync(one).equals(readFileSync(other));

describe.skipIf(!haveTools('nbdinfo', 'nbdcopy'))('the tools of libnbd', () => {
  test('nbdinfo tells what the device is and can', async () => {
    await serve(new MemoryDevice({ can: { trim: false } }));
    const told = JSON.parse(await runTool('nbdinfo', '--json', world.uri)) as { exports: unknown[] };
    expect(told.exports).toMatchObject([
      {
        'export-name': 'disk',
        description: 'memory',
        'export-size': MIB,
        block_size_minimum: 512,
        block_size_preferred: 4096,
        block_size_maximum: 33_554_432,
        can_flush: true,
        can_fua: true,
        can_multi_conn: true,
        can_trim: false,
        can_zero: true,
        can_df: true,
        is_read_only: false,
      },
    ]);
    expect(await runTool('nbdinfo', '--list', '--json', world.uri)).toContain('"export-name": "disk"');
  });

  test.each(['sync', 'pool'] as const)(
    'nbdcopy copies in and out over four connections (%s)',
    async (kind) => {
      await serveImage(kind);
      const source = makeSource();
      await runTool('nbdcopy', '--flush', source, world.uri);
      expect(sameBytes(source, image)).toBe(true);
      expect(recorder.started().at(-1)).toBe('flush 0+0');
      const back = scratch.path('back.img');
      await runTool('nbdcopy', world.uri, back);
      expect(sameBytes(source, back)).toBe(true);
      await until('the end of all connections', () => world.server.connectionCount === 0);
      const attached = world.log.at('info').filter((line) => line.message.includes('attached'));
      expect(attached.length).toBeGreaterThanOrEqual(4);
    },
  );
});

describe.skipIf(!haveTools('fio'))('fio', () => {
  test.each([
    {
      what: 'random blocks, a file read and written at once',
      kind: 'sync',
      words: ['--bs=4k', '--iodepth=32'],
    },
    { what: 'random blocks, the thread pool', kind: 'pool', words: ['--bs=4k', '--iodepth=32'] },
    { what: 'sectors one at a time', kind: 'sync', words: ['--bs=512', '--iodepth=1', '--io_size=2M'] },
    { what: 'long requests', kind: 'sync', words: ['--bs=3m', '--iodepth=8'] },
    { what: 'with flushes between', kind: 'pool', words: ['--bs=16k', '--iodepth=16', '--fsync=100'] },
  ] as const)('finds what it has written: $what', async ({ kind, words }) => {
    await serveImage(kind);
    const fixed = ['--name=verify', '--ioengine=nbd', `--uri=${world.uri}`, '--rw=randwrite', '--size=63M'];
    const result = scratch.path('fio.json');
    await runTool(
      'fio',
      ...[
        ...fixed,
        '--verify=crc32c',
        '--verify_fatal=1',
        '--verify_state_save=0',
        '--do_verify=1',
        ...words,
      ],
      ...['--output-format=json', `--output=${result}`],
    );
    const text = readFileSync(result, 'utf8');
    const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as {
      jobs: { error: number; read: { total_ios: number }; write: { total_ios: number } }[];
    };
    expect(jobs[0]?.error).toBe(0);
    expect(jobs[0]?.read.total_ios).toBe(jobs[0]?.write.total_ios);
    expect(jobs[0]?.write.total_ios).toBeGreaterThan(20);
  });
});

describe.skipIf(!haveTools('qemu-img', 'qemu-io'))("qemu's client", () => {
  test('converts into an export and compares with it', async () => {
    await serveImage('sync');
    const source = makeSource();
    await runTool('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, world.uri);
    await runTool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, world.uri);
    expect(sameBytes(source, image)).toBe(true);
    expect(recorder.started().some((one) => one.startsWith('write-zeroes'))).toBe(true);
  });

  test('writes patterns, zeroes with and without holes, FUA and trims, and reads them back', async () => {
    await serveImage('sync');
    const commands = [
      'write -P 0x11 0 1M',
      'write -f -P 0x22 64k 512',
      'write -z 128k 64k',
      'write -z -u 256k 64k',
      'discard 512k 64k',
      'flush',
      'read -P 0x11 0 64k',
      'read -P 0x22 64k 512',
      'read -P 0 128k 64k',
      'read -P 0 256k 64k',
      'write -P 0x33 10M 31M',
      'read -P 0x33 10M 31M',
    ];
    const told = await runTool('qemu-io', '-f', 'raw', ...commands.flatMap((one) => ['-c', one]), world.uri);
    expect(told).not.toMatch(/failed|error/i);
    const begun = recorder.started();
    expect(begun[begun.indexOf('write 65536+512') + 1]).toBe('flush 0+0');
    // Without -u qemu asks for zeroes that take room, so they come as data.
    expect(begun).toContain('write 131072+65536');
    expect(begun).toContain('write-zeroes 262144+65536');
    expect(begun).toContain('trim 524288+65536');
  });

  test('rounds requests to the minimum block size by itself', async () => {
    await serveImage('sync');
    const commands = [
      'write -P 0x44 100 1000',
      'read -P 0x44 100 1000',
      'read -P 0 0 100',
      'read -P 0 1100 900',
    ];
    const told = await runTool('qemu-io', '-f', 'raw', ...commands.flatMap((one) => ['-c', one]), world.uri);
    expect(told).not.toMatch(/failed|error/i);
  });
});

const canUseFuse = haveTools('nbdfuse', 'fusermount3') && canUseLoop() && existsSync('/dev/fuse');

describe.skipIf(!canUseFuse)('a file system', () => {
  test('is made, filled, checked and found again through nbdfuse and a loop device', async () => {
    await serveImage('sync');
    const folder = scratch.path('fuse');
    const data = randomFillSync(Buffer.alloc(5 * MIB));
    writeFileSync(scratch.path('data'), data);
    await withNbdfuse(folder, async (file) => {
      await withLoop(file, async (loop) => {
        await runTool('mkfs.ext4', '-q', loop);
        await runTool('mount', loop, mounted());
        // Never with calls that block this process: it has to serve the disk that they wait for.
        await runTool('cp', scratch.path('data'), mounted());
        await runTool('sync', '-f', mounted());
        await runTool('umount', mounted());
        await runTool('e2fsck', '-f', '-n', loop);
      });
    });
    expect(recorder.started()).toContain('flush 0+0');
    // The image holds everything, without us.
    await withMount(['-o', 'loop,ro', image], scratch.path('image'), () => {
      expect(readFileSync(`${scratch.path('image')}/data`).equals(data)).toBe(true);
      return Promise.resolve();
    });
  });

  function mounted(): string {
    const path = scratch.path('mounted');
    if (!existsSync(path)) mkdirSync(path);
    return path;
  }

  async function withNbdfuse(folder: string, use: (file: string) => Promise<void>): Promise<void> {
    mkdirSync(folder);
    const fuse = start('nbdfuse', [`${folder}/disk`, world.uri]);
    try {
      const sizeOf = (path: string): Promise<number> =>
        stat(path).then(
          ({ size }) => size,
          () => 0,
        );
      await until('the file', async () => (await sizeOf(`${folder}/disk`)) === SIZE_BYTES);
      await use(`${folder}/disk`);
    } finally {
      await runTool('fusermount3', '-u', folder).catch(() => undefined);
      await fuse.stop();
    }
  }

  /** Not the shared helper: that one blocks this process, which has to serve the disk meanwhile. */
  async function withLoop(file: string, use: (loop: string) => Promise<void>): Promise<void> {
    const loop = (await runTool('losetup', '--find', '--show', file)).trim();
    try {
      await use(loop);
    } finally {
      await runTool('umount', mounted()).catch(() => undefined);
      await runTool('losetup', '--detach', loop);
    }
  }
});
