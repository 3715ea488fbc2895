import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openFlushNote, type FlushNote } from '../../src/device/flush-note.js';
import { openFile } from '../../src/device/file-device.js';
import { flush } from '../../src/device/request.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

let scratch: Scratch;
let fds: number[];

beforeEach(() => {
  scratch = makeScratch();
  fds = [];
  writeFileSync(scratch.path('a.img'), Buffer.alloc(4096));
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  scratch.remove();
});

/** As the next process opens it, whatever became of the one before. */
function open(name = 'a.img'): FlushNote {
  const fd = openSync(scratch.path(name), 'r+');
  fds.push(fd);
  return openFlushNote(scratch.path('run'), fd);
}

const fails = (): Promise<void> => Promise.reject(new Error('EIO'));
const hangs = (): Promise<void> => new Promise(() => undefined);
const notes = (): string[] => readdirSync(scratch.path('run'));

test('a flush that failed, or that nobody knows the end of, is in doubt for the next process', async () => {
  for (const failed of [fails, hangs]) {
    void open()
      .during(failed)
      .catch(() => undefined);
    await Promise.resolve();
    const next = open();
    expect(next.isInDoubt).toBe(true);
    await next.during(() => Promise.resolve());
    expect(open().isInDoubt).toBe(true);
    next.settle();
    expect(open().isInDoubt).toBe(false);
  }
});

test('one that was good leaves nothing, nor does a process that is killed between flushes', async () => {
  const note = open();
  await note.during(() => Promise.resolve());
  expect(note.isInDoubt).toBe(false);
  expect(open().isInDoubt).toBe(false);
  note.close();
  expect(notes()).toEqual([]);
});

test('a good one beside one that is under way settles nothing', async () => {
  const note = open();
  const hanging = note.during(hangs);
  await note.during(() => Promise.resolve());
  expect(open().isInDoubt).toBe(true);
  await Promise.race([hanging, Promise.resolve()]);
});

test('a doubt is kept when the medium is closed, and is that of one medium only, whatever its name', async () => {
  writeFileSync(scratch.path('b.img'), '');
  const note = open();
  await note.during(fails).catch(() => undefined);
  note.close();
  note.close();
  expect(open('b.img').isInDoubt).toBe(false);
  expect(open().isInDoubt).toBe(true);
});

test('where there can be no note, everything goes on without', async () => {
  writeFileSync(scratch.path('run'), 'a file');
  const note = open();
  await expect(note.during(fails)).rejects.toThrow('EIO');
  expect(note.isInDoubt).toBe(true);
  note.settle();
  note.close();
});

test('a file device keeps one while it has the file alone, and removes it', async () => {
  mkdirSync(scratch.path('run'));
  chmodSync(scratch.path('run'), 0o700);
  const flushNotes = scratch.path('run');
  const shared = await openFile(scratch.path('a.img'), { access: 'rw', flushNotes });
  expect(shared.flushNote).toBeNull();
  await shared.close();
  const device = await openFile(scratch.path('a.img'), { access: 'rw', alone: true, flushNotes });
  await flush(device);
  expect(notes()).toHaveLength(1);
  expect(device.flushNote?.isInDoubt).toBe(false);
  await device.close();
  expect(notes()).toEqual([]);
});
