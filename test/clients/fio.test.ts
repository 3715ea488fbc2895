import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeServer } from '../support/fake-server.js';
import { headOf, MirrorLab } from '../support/mirror-lab.js';
import { start, type Running } from '../support/processes.js';
import { haveTools } from '../support/tools.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 48 * MIB;
/** What fio writes; beyond it are the mirror's own areas. */
const SIZE_BYTES = 40 * MIB;
const NAME = 'data';

interface FioJob {
  readonly error: number;
  readonly read: { readonly total_ios: number };
  readonly write: { readonly total_ios: number };
}

describe.skipIf(!haveTools('fio'))('fio finds what it wrote', () => {
  let lab: MirrorLab;
  let fake: FakeServer | null;
  let running: Running | null;

  beforeEach(() => {
    lab = new MirrorLab();
    fake = null;
    running = null;
  });

  afterEach(async () => {
    await running?.stop();
    await lab.end();
    await fake?.close();
  });

  /** Random sizes and places, written slowly enough that something can happen meanwhile, and read back at the end. */
  function startFio(depth: number, ...words: readonly string[]): Running {
    const result = ['--output-format=json', `--output=${lab.scratch.path('fio.json')}`];
    const load = ['--rw=randwrite', `--size=${SIZE_BYTES}`, '--bsrange=4k-128k', `--iodepth=${depth}`];
    const verify = ['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--do_verify=1'];
    const target = ['--name=verify', '--ioengine=nbd', `--uri=${lab.uri(NAME)}`];
    running = start('fio', [...target, ...load, ...verify, ...words, ...result]);
    return running;
  }

  async function expectGood(fio: Running): Promise<void> {
    const code = await fio.ended;
    expect(code, fio.output()).toBe(0);
    const text = readFileSync(lab.scratch.path('fio.json'), 'utf8');
    const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: FioJob[] };
    expect(jobs[0]).toMatchObject({ error: 0 });
    expect(jobs[0]?.write.total_ios).toBeGreaterThan(100);
    expect(jobs[0]?.read.total_ios).toBe(jobs[0]?.write.total_ios);
  }

  /** Its writes have begun, or gone on, by so much; or they are all done, where this program was slower than fio. */
  async function untilWritten(component: string, bytes: number): Promise<void> {
    const from = (await lab.component(NAME, component)).bytesWritten;
    await until('more writes', async () => {
      const { bytesWritten } = await lab.component(NAME, component);
      return bytesWritten >= Math.min(from + bytes, SIZE_BYTES);
    });
  }

  const untilComponent = (component: string, state: string): Promise<unknown> =>
    until(
      `${component} to be ${state}`,
      async () => (await lab.component(NAME, component)).state === state || null,
    );

  async function expectEqual(...images: readonly string[]): Promise<void> {
    await lab.untilState(NAME, 'COMPLETE');
    const { mediaSizeBytes } = await lab.stop(NAME);
    const [first, ...others] = images.map((image) => headOf(image, mediaSizeBytes));
    for (const other of others) expect(first?.equals(other)).toBe(true);
  }

  test.each([{ depth: 1 }, { depth: 32 }])(
    'while the backup dies and comes back, $depth deep',
    async ({ depth }) => {
      const local = await lab.image('local.img', IMAGE_BYTES);
      const backup = await lab.backup('backup.img', IMAGE_BYTES);
      await lab.create(NAME, [local, backup.uri]);
      const fio = startFio(depth, '--rate=,12M');
      await untilWritten(local, 4 * MIB);
      await backup.kill();
      await untilComponent(backup.uri, 'DISCONNECTED');
      await untilWritten(local, 4 * MIB);
      await backup.serve();
      await expectGood(fio);
      await expectEqual(local, backup.image);
    },
  );

  test('over three components that go one after the other', async () => {
    const local = await lab.image('local.img', IMAGE_BYTES);
    const near = await lab.backup('near.img', IMAGE_BYTES);
    const far = await lab.backup('far.img', IMAGE_BYTES);
    await lab.create(NAME, [local, near.uri, far.uri], '--timeout', '8');
    const fio = startFio(16, '--rate=,7M');
    await untilWritten(local, 2 * MIB);
    await near.kill();
    await untilComponent(near.uri, 'DISCONNECTED');
    await untilWritten(local, 2 * MIB);
    await far.pause();
    await untilComponent(far.uri, 'DISCONNECTED');
    await untilWritten(local, 2 * MIB);
    await near.serve();
    await untilComponent(near.uri, 'ACTIVE');
    far.resume();
    await expectGood(fio);
    await expectEqual(local, near.image, far.image);
  });

  test('with a server of FreeBSD 12 as the backup, which knows neither hello nor flush', async () => {
    const local = await lab.image('local.img', IMAGE_BYTES);
    fake = await FakeServer.listen({ mediaSizeBytes: IMAGE_BYTES, hello: null, abortsOnFlush: true });
    const uri = `ggate://127.0.0.1:${fake.port}/disk.img`;
    await lab.create(NAME, [local, uri]);
    expect(await lab.component(NAME, uri)).toMatchObject({ canFlush: false });
    const fio = startFio(16, '--rate=,12M', '--fsync=50');
    await untilWritten(local, 4 * MIB);
    for (const session of fake.sessions) session.drop();
    await untilComponent(uri, 'ACTIVE');
    await expectGood(fio);
    await lab.untilState(NAME, 'COMPLETE');
    const { mediaSizeBytes } = await lab.stop(NAME);
    expect(headOf(local, mediaSizeBytes).equals(fake.disk.subarray(0, mediaSizeBytes))).toBe(true);
  });
});
