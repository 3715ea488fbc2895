import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { Terminal } from '../support/terminal.js';
import { haveTools } from '../support/tools.js';

const PROGRAM = join(import.meta.dirname, '../../dist/cli/ggmirror.js');

let scratch: Scratch;
let terminal: Terminal | null;

beforeEach(() => {
  scratch = makeScratch();
  terminal = null;
});
afterEach(() => {
  terminal?.close();
  scratch.remove();
});

function type(...words: readonly string[]): Terminal {
  terminal?.close();
  const line = [process.execPath, PROGRAM, ...words].map((word) => `'${word}'`).join(' ');
  terminal = new Terminal(`cd '${scratch.path('.')}'; ${line}`);
  return terminal;
}

function image(name: string, byte: number): void {
  writeFileSync(scratch.path(name), Buffer.alloc(4096, byte));
  truncateSync(scratch.path(name), 4_194_304);
}

describe.skipIf(!haveTools('tmux'))('on a terminal', () => {
  test('label asks before it overwrites what looks used, and says with what', async () => {
    image('one.img', 0);
    image('two.img', 7);
    const before = readFileSync(scratch.path('two.img'));
    for (const [keys, status] of [
      [['no', 'Enter'], 1],
      [['C-d'], 1],
      [['yes', 'Enter'], 0],
    ] as const) {
      expect(readFileSync(scratch.path('two.img')).equals(before)).toBe(true);
      const shown = type('label', 'data', 'one.img', 'two.img');
      await shown.untilShown(/^two.img holds data; all of it is overwritten with what one.img has\.$/m);
      await shown.untilShown(/Type 'yes' to do that:/);
      for (const key of keys) shown.press(key);
      await shown.untilShown(new RegExp(`^exit status ${status}$`, 'm'));
    }
    expect(readFileSync(scratch.path('two.img')).equals(before)).toBe(false);
  });

  test('copy asks before it overwrites what holds something', async () => {
    image('one.img', 1);
    image('two.img', 7);
    const shown = type('copy', 'one.img', 'two.img');
    await shown.untilShown(/^two.img holds data; all of it is overwritten with one.img\.$/m);
    for (const key of ['yes', 'Enter']) shown.press(key);
    await shown.untilShown(/^exit status 0$/m);
    expect(readFileSync(scratch.path('two.img')).equals(readFileSync(scratch.path('one.img')))).toBe(true);
  });
});
