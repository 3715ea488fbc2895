import { describe, expect, test } from 'vitest';
import type { BlockIo } from '../../src/device/block-device.js';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import { flush } from '../../src/device/request.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, untilComplete } from '../support/member-world.js';

/** Losses of power, each with other parts of the cache on the medium. */
const CRASHES = 40;

const write = (running: AssembledMirror, region: number, value: number): Promise<void> =>
  writeBytes(running.mirror, region * REGION_SIZE_BYTES, Buffer.alloc(4096, value));

/** The next flush of `a` fails, and the kernel under it forgets what was dirty. */
function failNextFlush(world: MemberWorld): void {
  let left = 1;
  world.device('a').failing = ({ op }) => op === 'flush' && left-- > 0;
}

/** `a` runs alone, and was written where `b` was not. */
async function startAlone(): Promise<{ world: MemberWorld; running: AssembledMirror }> {
  const world = await new MemberWorld('ab').create('ab');
  world.gone.add('b');
  const running = await world.start('ab', { degraded: true });
  await write(running, 3, 1);
  await flush(running.mirror);
  world.gone.clear();
  return { world, running };
}

/** What losses of power now could leave. */
const afterCrashes = (world: MemberWorld): MemberWorld[] =>
  Array.from({ length: CRASHES }, (_, seed) => world.copyAfterCrash(1 + seed));

/** Whichever of them it is, the next start makes both equal. */
async function expectRemembered(worlds: readonly MemberWorld[]): Promise<void> {
  for (const [index, world] of worlds.entries()) {
    const running = await world.start('ab');
    await untilComplete(running);
    await running.close();
    const lengthBytes = running.mirror.mediaSizeBytes;
    expect(world.data('a', lengthBytes).equals(world.data('b', lengthBytes)), `crash ${index}`).toBe(true);
  }
}

const isLog = ({ op, buffer, bufferAt }: BlockIo): boolean =>
  op === 'write' && buffer?.toString('latin1', bufferAt, bufferAt + 8) === 'GGMIRLOG';

describe('what the only good copy has noted, when it fails a flush', () => {
  test('is on stable storage before the log forgets the extents: marks that the failed flush was to cover', async () => {
    const { world, running } = await startAlone();
    failNextFlush(world);
    await comeBack(running, 'b');
    expect(componentOf(running, 'b').state).toBe('DISCONNECTED');
    await running.mirror.log.empty();
    await expectRemembered(afterCrashes(world));
  });

  test('is on stable storage before anything is written, also where it was a flush of the data that failed', async () => {
    const { world, running } = await startAlone();
    await running.mirror.log.empty();
    let flushing: Promise<void> | null = null;
    let crashed: MemberWorld[] = [];
    world.plans.set('a', (io) => {
      if (isLog(io) && flushing === null) {
        // When the log has been written, and before it is flushed.
        failNextFlush(world);
        flushing = Promise.resolve().then(() => flush(running.mirror));
        flushing.catch(() => undefined);
      }
      if (io.op === 'write' && io.offsetBytes === 5 * REGION_SIZE_BYTES)
        queueMicrotask(() => (crashed = afterCrashes(world)));
      return null;
    });
    await write(running, 5, 2);
    await expect(flushing).rejects.toThrow('flush');
    await expectRemembered(crashed);
    expect(crashed).toHaveLength(CRASHES);
  });
});
