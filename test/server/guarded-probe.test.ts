import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import type { AccessMode } from '../../src/protocol/handshake.js';
import { GuardedProbe, type ProbedMedia } from '../../src/server/guarded-probe.js';
import { FakeClock } from '../support/fake-clock.js';

interface Call {
  readonly what: string;
  readonly resolve: (media: ProbedMedia) => void;
  readonly reject: (error: Error) => void;
}

function start(): {
  calls: Call[];
  clock: FakeClock;
  ask: (path: string, access: AccessMode) => Promise<unknown>;
} {
  const calls: Call[] = [];
  const clock = new FakeClock();
  const probe = new GuardedProbe(
    (path, access) =>
      new Promise((resolve, reject) => calls.push({ what: `${access} ${path}`, resolve, reject })),
    clock,
  );
  const ask = (path: string, access: AccessMode): Promise<unknown> =>
    probe.probe(path, access).then(
      ({ mediaSizeBytes }) => mediaSizeBytes,
      (error: unknown) => (error instanceof DeviceError ? error.errno : error),
    );
  return { calls, clock, ask };
}
const media = (mediaSizeBytes: number): ProbedMedia => ({ mediaSizeBytes, sectorSizeBytes: 512 });
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('looking at media', () => {
  test('is shared by those who ask the same at the same time, and done anew for the next', async () => {
    const { calls, clock, ask } = start();
    const answers = [ask('/a', 'rw'), ask('/a', 'rw'), ask('/b', 'rw')];
    expect(calls.map(({ what }) => what)).toEqual(['rw /a', 'rw /b']);
    calls[0]?.resolve(media(1));
    calls[1]?.reject(new DeviceError('DEVICE_OPEN', 'EACCES', 'no'));
    expect(await Promise.all(answers)).toEqual([1, 1, 'EACCES']);
    const next = ask('/a', 'rw');
    calls[2]?.resolve(media(2));
    expect(await next).toBe(2);
    expect(clock.timerCount).toBe(0);
  });

  test('in several modes is done one after the other, and the failure of one is not the other’s', async () => {
    const { calls, ask } = start();
    const answers = [ask('/a', 'rw'), ask('/a', 'ro'), ask('/a', 'ro')];
    calls[0]?.reject(new DeviceError('DEVICE_OPEN', 'EROFS', 'no'));
    await settle();
    expect(calls.map(({ what }) => what)).toEqual(['rw /a', 'ro /a']);
    calls[1]?.resolve(media(3));
    expect(await Promise.all(answers)).toEqual(['EROFS', 3, 3]);
  });

  test('of a disk that hangs ends for all who wait after ten seconds, at once for others, until it comes back', async () => {
    const { calls, clock, ask } = start();
    const waiting = [ask('/a', 'rw'), ask('/a', 'ro')];
    clock.advance(9_999);
    waiting.push(ask('/a', 'rw'));
    clock.advance(1);
    expect(await Promise.all(waiting)).toEqual(['ETIMEDOUT', 'ETIMEDOUT', 'ETIMEDOUT']);
    expect(await Promise.all([ask('/a', 'rw'), ask('/a', 'wo')])).toEqual(['ETIMEDOUT', 'ETIMEDOUT']);
    expect(calls).toHaveLength(1);
    expect(clock.timerCount).toBe(0);
    calls[0]?.resolve(media(1));
    await settle();
    const late = ask('/a', 'wo');
    calls[1]?.resolve(media(4));
    expect(await late).toBe(4);
  });
});
