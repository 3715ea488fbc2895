import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PidFile, type LockFile } from '../../src/cli/daemon/pid-file.js';
import { lockFileExclusive } from '../../src/device/platform/files.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const cannotLock: LockFile = () => 'unsupported';
/** A process that is alive as long as this test, and isn't it. */
const OTHER_ALIVE_PID = process.ppid;
/** Above every system's highest pid. */
const NOBODYS_PID = 999_999_999;

let scratch: Scratch;
beforeEach(() => {
  scratch = makeScratch();
});
afterEach(() => scratch.remove());

test('a pid file holds the pid, is for its owner only, and is gone afterwards', () => {
  const path = scratch.path('pid');
  const file = PidFile.take(path, lockFileExclusive);
  file.write(4711);
  expect(readFileSync(path, 'utf8')).toBe('4711\n');
  expect(statSync(path).mode % 0o1000).toBe(0o600);
  file.remove();
  expect(existsSync(path)).toBe(false);
});

test('a longer pid that was left behind does not show through', () => {
  const path = scratch.path('pid');
  writeFileSync(path, `${NOBODYS_PID}\n`);
  const file = PidFile.take(path, lockFileExclusive);
  file.write(7);
  expect(readFileSync(path, 'utf8')).toBe('7\n');
  file.remove();
});

test('a second instance is refused while the first one lives, and its file stays', () => {
  const path = scratch.path('pid');
  const first = PidFile.take(path, lockFileExclusive);
  first.write(OTHER_ALIVE_PID);
  expect(() => PidFile.take(path, lockFileExclusive)).toThrow(
    `Daemon already running, pid: ${OTHER_ALIVE_PID}.`,
  );
  expect(readFileSync(path, 'utf8')).toBe(`${OTHER_ALIVE_PID}\n`);
  first.remove();
  PidFile.take(path, lockFileExclusive).remove();
});

test('an instance that holds the lock and has not written its pid yet is an instance', () => {
  const path = scratch.path('pid');
  const held: LockFile = () => 'held';
  expect(() => PidFile.take(path, held)).toThrow(/Daemon already running, pid not yet written/);
});

test.each([
  { what: 'of a living process keeps others out', content: `${OTHER_ALIVE_PID}\n`, isRefused: true },
  { what: 'of a dead process is taken over', content: `${NOBODYS_PID}\n`, isRefused: false },
  { what: 'of our own number is from before a restart', content: `${process.pid}\n`, isRefused: false },
  { what: 'without a number is taken over', content: 'garbage', isRefused: false },
])('where nothing can be locked, a pid file $what', ({ content, isRefused }) => {
  const path = scratch.path('pid');
  writeFileSync(path, content);
  const take = (): void => PidFile.take(path, cannotLock).remove();
  if (isRefused) expect(take).toThrow(/Daemon already running/);
  else expect(take).not.toThrow();
});

test('a file that is replaced between open and lock is opened again', () => {
  const path = scratch.path('pid');
  let tries = 0;
  const file = PidFile.take(path, () => {
    tries += 1;
    if (tries === 1) renameSync(path, scratch.path('moved'));
    return 'locked';
  });
  file.write(7);
  expect(tries).toBe(2);
  expect(readFileSync(path, 'utf8')).toBe('7\n');
  file.remove();
});

test('the file of a successor is left alone', () => {
  const path = scratch.path('pid');
  const file = PidFile.take(path, lockFileExclusive);
  renameSync(path, scratch.path('moved'));
  writeFileSync(path, '7\n');
  file.remove();
  expect(readFileSync(path, 'utf8')).toBe('7\n');
});

test('a folder that is not there is named', () => {
  expect(() => PidFile.take(scratch.path('none/pid'), lockFileExclusive)).toThrow(
    `Cannot open pid file ${scratch.path('none/pid')}: ENOENT`,
  );
});
