import type { DeviceError } from '../../device/block-device.js';
import type { ByteRange } from '../../protocol/geometry.js';
import { markedRuns, rangeOfRun } from '../area/region-runs.js';
import type { Component } from '../component.js';
import { PIECE_BYTES } from '../limits.js';
import type { Mirror } from '../mirror.js';

/**
 * At a start, before the first request of a caller: what the only good copy may have in its cache alone, since a flush of it
 * failed, is written over itself and flushed. An earlier life of the mirror may have ended before it could tell anybody of
 * that failure, and flushes that succeed from now on would vouch for what no flush writes. If this fails the next flush of a
 * caller does, too. Never rejects.
 *
 * It stays doubtful: what it could not keep once is written anew from another component all the same.
 */
export async function renewDoubtful(mirror: Mirror, source: Component): Promise<void> {
  if (!source.isCacheDoubtful || !source.can.flush || mirror.active.length > 1) return;
  const { mediaSizeBytes } = mirror;
  for (const run of [...markedRuns(source.missing)]) {
    const { offsetBytes, lengthBytes } = rangeOfRun(run, mediaSizeBytes);
    for (let at = 0; at < lengthBytes; at += PIECE_BYTES) {
      const piece = { offsetBytes: offsetBytes + at, lengthBytes: Math.min(PIECE_BYTES, lengthBytes - at) };
      const error = await renew(source, piece);
      if (error !== null) mirror.flushes.owe(source, error);
    }
  }
  await mirror.flushAll().catch(() => undefined /* the next flush of a caller fails in its place */);
}

async function renew(component: Component, range: ByteRange): Promise<DeviceError | null> {
  const buffer = Buffer.alloc(range.lengthBytes);
  const error = await ask(component, 'read', range, buffer);
  if (error !== null) return error;
  return await ask(component, 'write', range, buffer);
}

function ask(
  component: Component,
  op: 'read' | 'write',
  range: ByteRange,
  buffer: Buffer,
): Promise<DeviceError | null> {
  return new Promise((resolve) => {
    component.start({
      ...{ op, ...range, buffer, bufferAt: 0 },
      answered: (_component, error) => {
        if (op === 'write') component.unflushed.mark(range);
        resolve(error);
      },
    });
  });
}
