import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FakeRequest, FakeSession } from '../support/fake-server.js';
import { pattern, readBytes, request } from '../support/device-requests.js';
import { RemoteWorld } from '../support/remote.js';

const SECTORS = 64;
const REQUESTS = 1500;

/** Numbers that can be had again: a linear congruential generator. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/**
 * A disk behind a bad link: each request may be served, be served with its answer lost, be answered in part, or be lost
 * before it is served. In every case but the first the session ends there.
 */
function badLink(random: (below: number) => number): (asked: FakeRequest, session: FakeSession) => void {
  return (asked, session) => {
    const fate = random(120);
    if (fate > 2) session.serve(asked);
    if (fate > 2 || session.halves.send?.destroyed === true) return;
    if (fate === 0) session.server.apply(asked);
    if (fate === 1) session.send(asked.header.subarray(0, 11));
    session.drop();
  };
}

describe('under random losses', () => {
  let world: RemoteWorld;
  beforeEach(() => (world = new RemoteWorld()));
  afterEach(async () => await world.end());

  const given = process.env['GGMIRROR_SEED'];
  const seeds = given === undefined ? [1, 2, Date.now() % 1_000_000] : [Number(given)];

  test.each(seeds)('every read is what the last acknowledged write made it, seed=%i', async (seed) => {
    const random = generator(seed);
    const server = await world.server({ onRequest: badLink(random) });
    const device = await world.open(server, {
      window: { requestsMax: 16 },
      backoff: { firstMs: 1, maxMs: 8 },
    });
    const contents = new Map<number, Buffer>();
    const busy = new Set<number>();
    let started = 0;
    let done = 0;
    await new Promise<void>((resolve, reject) => {
      const next = (): void => {
        while (started < REQUESTS && busy.size < 24) {
          const sector = random(SECTORS);
          if (busy.has(sector)) continue;
          started += 1;
          busy.add(sector);
          const isWrite = random(2) === 0;
          const buffer = isWrite ? pattern(512, started) : Buffer.alloc(512, 0xee);
          device.start(
            request({
              op: isWrite ? 'write' : 'read',
              offsetBytes: sector * 512,
              lengthBytes: 512,
              buffer,
              done(error) {
                if (error !== null) reject(error);
                if (isWrite) contents.set(sector, buffer);
                else if (!buffer.equals(contents.get(sector) ?? Buffer.alloc(512)))
                  reject(new Error(`sector ${sector} has other data`));
                busy.delete(sector);
                done += 1;
                if (done === REQUESTS) resolve();
                else next();
              },
            }),
          );
        }
      };
      next();
    });
    server.behaviour.onRequest = null;
    for (const [sector, expected] of contents) {
      const found = await readBytes(device, { offsetBytes: sector * 512, lengthBytes: 512 });
      expect(found.equals(expected)).toBe(true);
    }
    expect(device.stats.reconnects).toBeGreaterThan(10);
  });
});
