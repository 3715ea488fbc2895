import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandError, UsageError } from '../../src/cli/errors.js';
import { createProgram } from '../../src/cli/program.js';
import { readLabelSector } from '../../src/cli/provider-labels.js';
import { hasLabelMagic } from '../../src/protocol/gmirror-label.js';
import { NbdClient } from '../support/nbd-client.js';
import { MirrorLab } from '../support/mirror-lab.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;

let lab: MirrorLab;
beforeEach(() => (lab = new MirrorLab()));
afterEach(async () => await lab.end());

/** In this process, which is quicker than a program for each. */
async function run(...words: readonly string[]): Promise<void> {
  const program = await createProgram(words[0]);
  await program.parseAsync(['node', 'ggmirror', ...words, '--run-dir', lab.scratch.path('run')]);
}

/** What it says; nothing was done. */
async function refusal(...words: readonly string[]): Promise<string> {
  const error = await run(...words).catch((thrown: unknown) => thrown);
  if (error instanceof CommandError || error instanceof UsageError) return `${error.name}: ${error.message}`;
  throw new Error(`ggmirror ${words.join(' ')} is not refused: ${String(error)}`);
}

test('of several mirrors all end, or none; of several components all are touched, or none', async () => {
  const [one, two, three, other] = await Promise.all(
    ['one.img', 'two.img', 'three.img', 'other.img'].map((name) => lab.image(name, 8 * MIB)),
  );
  if (one === undefined || two === undefined || three === undefined || other === undefined) throw new Error();
  await lab.create('data', [one, two]);
  await lab.create('mail', [other]);
  expect(await refusal('insert', '--wait', '-i', 'data', three)).toContain('UsageError: --wait');
  await run('insert', '--wait', 'data', three);
  const whole = [`${one} ACTIVE`, `${two} ACTIVE`, `${three} ACTIVE`];
  const components = async (): Promise<string[]> =>
    (await lab.status('data')).components.map(({ name, state }) => `${name} ${state}`);
  expect(await components()).toEqual(whole);

  for (const word of ['remove', 'deactivate', 'rebuild']) {
    expect(await refusal(word, 'data', one, '/nowhere')).toContain(
      `mirror/data has no component /nowhere; it has ${one}, ${two}, ${three}. Nothing was done`,
    );
    expect(await refusal(word, 'data', one, two, three)).toContain('without an ACTIVE component');
    expect(await refusal(word, 'data', one, one)).toMatch(/^UsageError: .* is given twice$/);
  }
  expect(await refusal('activate', 'data', one, '/nowhere')).toContain('has no component /nowhere');
  expect(await components()).toEqual(whole);
  await run('rebuild', '--wait', 'data', two, three);
  expect(await components()).toEqual(whole);
  await run('deactivate', 'data', two, three);
  expect((await components()).slice(1)).toEqual([`${two} DISCONNECTED`, `${three} DISCONNECTED`]);
  await run('activate', 'data', two, three);
  await lab.untilState('data', 'COMPLETE');
  await run('remove', 'data', two, three);
  expect(await components()).toEqual(whole.slice(0, 1));

  expect(await lab.succeed('status', '-s', 'mail', 'data')).toBe(
    `mirror/mail  COMPLETE  ${other} (ACTIVE)\nmirror/data  COMPLETE  ${one} (ACTIVE)\n`,
  );
  const client = await NbdClient.connect({ unixPath: lab.nbdPath('data') });
  await client.go('data');
  for (const word of ['stop', 'destroy']) {
    expect(await refusal(word, 'mail', 'nobody')).toContain('No such geom: nobody.');
    expect(await refusal(word, 'mail', 'data')).toContain(
      'mirror/data is in use by a client; nothing was done',
    );
    expect(await refusal(word, 'mail', 'mail')).toMatch(/^UsageError: .* is given twice$/);
  }
  expect(await refusal('forget', 'mail', 'nobody')).toContain('No such geom: nobody.');
  await client.disconnect();
  await until('no client', async () => (await lab.status('data')).clients === 0);
  expect((await lab.status('mail')).state).toBe('COMPLETE');

  await run('stop', 'mail', 'data');
  expect(await refusal('status', 'mail')).toContain('No such geom: mail.');
  await lab.start('data', [one]);
  await lab.start('mail', [other]);
  await run('destroy', 'data', 'mail');
  for (const image of [one, other]) expect(hasLabelMagic(await readLabelSector(image, {}))).toBe(false);
});
