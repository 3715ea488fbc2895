import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { familyOf, readPidFile, start, untilGone } from './processes.js';
import { makeScratch, type Scratch } from './scratch.js';
import { until } from './until.js';

let scratch: Scratch;
beforeEach(() => (scratch = makeScratch()));
afterEach(() => scratch.remove());

// familyOf only lists; whoever kills asks it first.
test.each([0, 1, -1, 1.5, Number.NaN])('%s has no family that could be killed', (pid) => {
  expect(() => familyOf(pid)).toThrow('not the id of a process of a test');
});

test.each([
  { whose: 'ourselves', pid: process.pid },
  { whose: 'who started us', pid: process.ppid },
])('nobody can kill $whose', ({ pid }) => expect(() => familyOf(pid)).toThrow('not been started by this'));

test.each(['', '\n', '0', '1', '-5', '12x', 'pid'])('a pid file with %j names no process', (text) => {
  writeFileSync(scratch.path('pid'), text);
  expect(readPidFile(scratch.path('pid'))).toBeNull();
});

test('a missing pid file names no process, a whole one does', () => {
  expect(readPidFile(scratch.path('pid'))).toBeNull();
  writeFileSync(scratch.path('pid'), '4711\n');
  expect(readPidFile(scratch.path('pid'))).toBe(4711);
});

test('a family is a process with its children, and empty once all have ended', async () => {
  const shell = start('sh', ['-c', 'sleep 1000 & wait']);
  const family = await until('the child', () => {
    const members = familyOf(shell.pid);
    return members.length === 2 && members;
  });
  expect(family[0]).toBe(shell.pid);
  for (const member of [...family].reverse()) process.kill(member, 'SIGKILL');
  await untilGone(family);
  await shell.ended;
  expect(familyOf(shell.pid)).toEqual([]);
});
