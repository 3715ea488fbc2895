import { chmodSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandError } from '../../src/cli/errors.js';
import { ask, isRunning } from '../../src/cli/mirrors/run-dir.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const NOBODY = 65_534;

let scratch: Scratch;
let server: Server;

beforeEach(async () => {
  scratch = makeScratch();
  server = createServer().listen(scratch.path('data.ctl'));
  await once(server, 'listening');
});
afterEach(() => {
  server.close();
  scratch.remove();
});

/** As somebody who is not root: root may use every socket. */
async function asNobody(work: () => Promise<void>): Promise<void> {
  const { geteuid, seteuid } = process;
  if (geteuid === undefined || seteuid === undefined) throw new Error('a system without users');
  const me = geteuid();
  if (me === 0) seteuid(NOBODY);
  try {
    await work();
  } finally {
    if (me === 0) seteuid(me);
  }
}

test('who may not use a mirror is told who may, in one line', async () => {
  const control = scratch.path('data.ctl');
  chmodSync(control, 0o000);
  const runDir = scratch.path('.');
  const why = `${control} may not be used by you; mirrors are for root and the group of ${runDir}`;
  await asNobody(async () => {
    const asked = ask('data', { command: 'status' }, { runDir });
    await expect(asked).rejects.toBeInstanceOf(CommandError);
    await expect(asked).rejects.toThrow(why);
    // It may run, for all that is known.
    expect(await isRunning('data', { runDir })).toBe(true);
  });
});
