import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FlushTrouble } from '../support/flush-trouble.js';
import { TwoHosts, type Host } from '../support/two-hosts.js';

const MIB = 1_048_576;

let hosts: TwoHosts;
let primary: Host;
let backup: Host;

beforeEach(async () => {
  hosts = await TwoHosts.make({ imageBytes: 8 * MIB });
  ({ primary, backup } = hosts);
});
afterEach(async () => await hosts.close());

/** What the run directory says of the flushes of the image that is used there. */
function noteOf({ runDirectory }: Host): string | null {
  const [name] = readdirSync(runDirectory).filter((one) => one.endsWith('.flush'));
  return name === undefined ? null : readFileSync(join(runDirectory, name), 'latin1');
}

test('a mirror that is killed in a flush of its own image takes the backup for the source, and writes the image anew', async () => {
  const trouble = new FlushTrouble(hosts.directory);
  primary.environment = trouble.environment;
  await hosts.run();
  const bytes = randomBytes(MIB);
  await primary.write(0, bytes);
  trouble.begin('hangs');
  const writing = primary.write(0, bytes).catch(() => undefined);
  await trouble.met();
  expect(noteOf(primary)).toBe('!');
  await primary.killMirror();
  await writing;
  trouble.end();

  const both = [primary.image, backup.uri];
  await primary.succeed('start', hosts.name, ...both, '--resync-rate', '16k');
  const { components } = await primary.status();
  const states = both.map((one) => components.find(({ name }) => name === one)?.state);
  expect(states).toEqual(['SYNCHRONIZING', 'ACTIVE']);
  await primary.stopMirror();
  expect(noteOf(primary)).toBe('!');

  await hosts.startPrimary();
  const { mediaSizeBytes } = await primary.untilState('COMPLETE');
  await primary.stopMirror();
  expect(noteOf(primary)).toBeNull();
  expect(primary.imageBytes(0, mediaSizeBytes).equals(backup.imageBytes(0, mediaSizeBytes))).toBe(true);
  expect(primary.imageBytes(0, bytes.length).equals(bytes)).toBe(true);
});
