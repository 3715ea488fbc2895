import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { CommandError, InterruptedError } from '../../src/cli/errors.js';
import { ManualInterrupt } from '../../src/cli/interrupt.js';
import { requireYes } from '../../src/cli/question.js';

const QUESTION = { says: ['b.img holds data; it is overwritten.'], refusal: 'give --force' };

/** How it ends, and what was shown. */
async function ask(typed: string | null, isTTY = true): Promise<{ end: string; shown: string }> {
  const input = Object.assign(new PassThrough(), { isTTY });
  const output = Object.assign(new PassThrough(), { isTTY });
  if (typed !== null) input.write(typed);
  input.end();
  const end = await requireYes(QUESTION, { input, output }).then(
    () => 'yes',
    (error: unknown) => (error instanceof CommandError ? error.message : String(error)),
  );
  return { end, shown: String(output.read() ?? '') };
}

describe('a person at a terminal', () => {
  test.each([
    ['yes\n', 'yes'],
    [' yes \n', 'yes'],
    ['y\n', 'nothing was changed'],
    ['no\n', 'nothing was changed'],
    ['\n', 'nothing was changed'],
    ['YES\n', 'nothing was changed'],
    [null, 'nothing was changed'],
  ])('who types %j gets: %s', async (typed, end) => {
    const asked = await ask(typed);
    expect(asked.end).toBe(end);
    expect(asked.shown).toContain("b.img holds data; it is overwritten.\nType 'yes' to do that: ");
  });
});

test('a person who presses ctrl-C gets a new line, and the exit status of that', async () => {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  const output = Object.assign(new PassThrough(), { isTTY: true });
  const ctrlC = new ManualInterrupt();
  const asked = requireYes(QUESTION, { input, output }, (work) => work(ctrlC));
  ctrlC.interrupt(2);
  await expect(asked).rejects.toBeInstanceOf(InterruptedError);
  await expect(asked).rejects.toMatchObject({ signalNumber: 2, message: 'interrupted; nothing was changed' });
  expect(String(output.read())).toMatch(/to do that: \n$/);
});

test('a program is not asked, whatever it sends', async () => {
  expect(await ask('yes\n', false)).toEqual({ end: 'give --force', shown: '' });
});
