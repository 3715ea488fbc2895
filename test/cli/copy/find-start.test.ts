import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CopyEnd } from '../../../src/cli/copy/end.js';
import { findStart, refuseUsed } from '../../../src/cli/copy/find-start.js';
import {
  loadState,
  removeState,
  saveState,
  statePath,
  type EndIdentity,
} from '../../../src/cli/copy/resume.js';
import { CommandError } from '../../../src/cli/errors.js';
import { noInterrupt } from '../../../src/cli/interrupt.js';
import { copyEnd } from '../../support/copy-end.js';
import { MemoryDevice } from '../../support/memory-device.js';
import { RecorderDevice } from '../../support/recorder-device.js';
import { makeScratch, type Scratch } from '../../support/scratch.js';

const SIZE = 4_194_304;
const SAFE = 2_097_152;

let scratch: Scratch;
beforeEach(() => (scratch = makeScratch()));
afterEach(() => scratch.remove());

interface World {
  readonly source: MemoryDevice;
  readonly target: MemoryDevice;
  readonly recorded: RecorderDevice;
  readonly ends: { readonly source: CopyEnd; readonly target: CopyEnd };
  readonly notes: string[];
  start(): Promise<number>;
}

const file = (ino: number, modifiedMs: number): EndIdentity['file'] => ({ dev: 1, ino, modifiedMs });

/** Two ends of which the first half is copied, and the state that says so. */
function halfCopied(ends: { source?: Partial<EndIdentity>; target?: Partial<EndIdentity> } = {}): World {
  const source = new MemoryDevice({ mediaSizeBytes: SIZE, name: 'a' });
  const target = new MemoryDevice({ mediaSizeBytes: SIZE, name: 'b' });
  randomBytes(SIZE).copy(source.data);
  source.data.copy(target.data, 0, 0, SAFE);
  const recorded = new RecorderDevice(target);
  const identities = {
    source: { name: 'a', mediaSizeBytes: SIZE, file: null },
    target: { name: 'b', mediaSizeBytes: SIZE, file: null },
  };
  saveState(scratch.path('state'), { version: 1, ...identities, safeBytes: SAFE });
  const identify = (which: 'source' | 'target') => () =>
    Promise.resolve({ ...identities[which], ...ends[which] });
  const both = {
    source: copyEnd(source, { identify: identify('source') }),
    target: copyEnd(recorded, { identify: identify('target') }),
  };
  const notes: string[] = [];
  return {
    source,
    target,
    recorded,
    ends: both,
    notes,
    start: () =>
      findStart({
        ...both,
        statePath: scratch.path('state'),
        interrupt: noInterrupt,
        comparing: () => () => undefined,
        note: (text) => notes.push(text),
      }),
  };
}

describe('where a copy starts', () => {
  test('is the beginning when no earlier run left a state', async () => {
    const world = halfCopied();
    removeState(scratch.path('state'));
    expect(await world.start()).toBe(0);
  });

  test('is where the earlier run got to, when that is still the same at both ends', async () => {
    const world = halfCopied();
    expect(await world.start()).toBe(SAFE);
    expect(world.recorded.events.length).toBeGreaterThan(0);
  });

  test.each(['source', 'target'] as const)('is the beginning when the %s has changed', async (which) => {
    const world = halfCopied();
    world[which].data.writeUInt8((world[which].data.readUInt8(SAFE - 1) + 1) % 256, SAFE - 1);
    expect(await world.start()).toBe(0);
    expect(world.notes.join()).toMatch(/differs now/);
  });

  test.each([
    { what: 'another source', source: { name: 'c' } },
    { what: 'another target', target: { name: 'c' } },
    { what: 'a source of another size', source: { mediaSizeBytes: SIZE * 2 } },
    { what: 'a target of another size', target: { mediaSizeBytes: SIZE * 2 } },
    { what: 'a source that became a file', source: { file: file(1, 1) } },
  ])('is the beginning for $what, without a look', async ({ source = {}, target = {} }) => {
    const world = halfCopied({ source, target });
    expect(await world.start()).toBe(0);
    expect(world.recorded.events).toEqual([]);
  });

  test.each([
    { what: 'believed for two files that nobody has touched', times: [5, 6], looks: false, starts: SAFE },
    { what: 'compared when the source was touched', times: [9, 6], looks: true, starts: SAFE },
    { what: 'compared when the target was touched', times: [5, 9], looks: true, starts: SAFE },
  ])('is $what', async ({ times, looks, starts }) => {
    const world = halfCopied({
      source: { file: file(1, times[0] ?? 0) },
      target: { file: file(2, times[1] ?? 0) },
    });
    saveState(scratch.path('state'), {
      version: 1,
      source: { name: 'a', mediaSizeBytes: SIZE, file: file(1, 5) },
      target: { name: 'b', mediaSizeBytes: SIZE, file: file(2, 6) },
      safeBytes: SAFE,
    });
    expect(await world.start()).toBe(starts);
    expect(world.recorded.events.length > 0).toBe(looks);
  });

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{"version":2}',
    '{"version":1,"safeBytes":-1}',
    '{"version":1,"safeBytes":1e300,"source":{},"target":{}}',
    '{"version":1,"safeBytes":512,"source":{"name":"a","mediaSizeBytes":1,"file":{}},"target":null}',
  ])('is the beginning for a state that is none: %s', async (text) => {
    const world = halfCopied();
    writeFileSync(scratch.path('state'), text);
    expect(loadState(scratch.path('state'))).toBeNull();
    expect(await world.start()).toBe(0);
  });
});

describe('the state of a copy', () => {
  test('lies beside an image file, and in the user’s state folder for anything else', () => {
    const env = { XDG_STATE_HOME: '/state' };
    expect(statePath('/images/a.img', true, env)).toBe('/images/a.img.ggmirror-copy');
    const remote = statePath('ggate://b/a.img', false, env);
    expect(remote).toMatch(/^\/state\/ggmirror\/copy-[0-9a-f]{16}\.json$/);
    expect(statePath('ggate://b/b.img', false, env)).not.toBe(remote);
    expect(statePath('/dev/sdb', false, { XDG_STATE_HOME: 'relative' })).toMatch(
      /\/\.local\/state\/ggmirror\//,
    );
  });
});

describe('a target that is in use', () => {
  const names = { from: 'a.img', to: 'b.img' };
  const end = (isFresh: boolean): CopyEnd => copyEnd(new MemoryDevice(), { isFresh });

  test('is refused, and the message says which side would be overwritten', async () => {
    const refusal = refuseUsed(end(false), names, () => Promise.resolve('holds an ext4 file system'));
    await expect(refusal).rejects.toBeInstanceOf(CommandError);
    await expect(refusal).rejects.toThrow(
      /^b\.img holds an ext4 file system\. Copying would overwrite b\.img with a\.img; .*--force$/,
    );
  });

  test('is not refused when nothing is found, nor asked about when it was just made', async () => {
    await refuseUsed(end(false), names, () => Promise.resolve(null));
    await refuseUsed(end(true), names, () => Promise.reject(new Error('was asked')));
  });
});
