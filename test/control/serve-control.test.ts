import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { askDaemon } from '../../src/control/control-client.js';
import { ControlError } from '../../src/control/control-error.js';
import type { ControlServer } from '../../src/control/control-server.js';
import {
  parseServeRequest,
  type ServedSessions,
  type ServeRequest,
} from '../../src/control/serve/requests.js';
import { startServeControl } from '../../src/control/serve/serve-control.js';
import { systemClock } from '../../src/device/clock.js';
import { ReleaseError, type Released } from '../../src/server/session-supervisor.js';
import { MemoryLog } from '../support/memory-log.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { PATIENCE_MS } from '../support/until.js';

const ASKING = { clock: systemClock, timeoutMs: PATIENCE_MS };
const SITES: Released = { path: '/sites.img', holder: 'mirror/sites' };

let scratch: Scratch;
let log: MemoryLog;
let server: ControlServer<ServeRequest> | null;
let asked: unknown[];

const sessions: ServedSessions = {
  released: [SITES],
  list: () => Promise.resolve([]),
  release(path, options) {
    asked.push({ path, isForced: options.isForced });
    if (!options.isForced) return Promise.reject(new ReleaseError('IN_USE', `${path} is in use by 10.0.0.1`));
    return Promise.resolve(true);
  },
  takeBack(holder, path) {
    asked.push({ holder, path });
    return Promise.resolve([SITES]);
  },
};

const start = (runDirectory: string): ReturnType<typeof startServeControl> =>
  startServeControl({ runDirectory, pid: process.pid, sessions, clock: systemClock, log });

const ask = (request: ServeRequest): Promise<unknown> =>
  askDaemon(scratch.path(`run/${process.pid}.serve`), request, ASKING);

beforeEach(() => {
  scratch = makeScratch();
  log = new MemoryLog();
  server = null;
  asked = [];
});

afterEach(async () => {
  await server?.close();
  scratch.remove();
});

test('a server is asked to let go of an image and to take it back, by its owner and a group only', async () => {
  server = await start(scratch.path('run'));
  expect(statSync(scratch.path(`run/${process.pid}.serve`)).mode % 0o1000).toBe(0o660);
  expect(await ask({ command: 'list' })).toEqual({ pid: process.pid, released: [SITES], sessions: [] });
  const release = { command: 'release', path: '/sites.img', holder: 'mirror/sites' } as const;
  expect(await ask({ ...release, isForced: true })).toEqual({ isNew: true });
  const refused = ask({ ...release, isForced: false });
  await expect(refused).rejects.toThrow(new ControlError('/sites.img is in use by 10.0.0.1'));
  expect(await ask({ command: 'take-back', holder: 'mirror/sites', path: null })).toEqual([SITES]);
  expect(asked).toEqual([
    { path: '/sites.img', isForced: true },
    { path: '/sites.img', isForced: false },
    { holder: 'mirror/sites', path: null },
  ]);
});

test('a server without a control socket serves all the same, and says what is not possible then', async () => {
  writeFileSync(scratch.path('run'), '');
  expect(await start(scratch.path('run'))).toBeNull();
  expect(log.lines).toMatchObject([{ level: 'info' }]);
});

test('sockets of servers that were killed are cleared away, and nothing else', async () => {
  mkdirSync(scratch.path('run'));
  // No system gives out such a number.
  const names = ['2147483646.serve', 'data.ctl', '1.serve', 'x.serve'];
  for (const name of names) writeFileSync(scratch.path(`run/${name}`), '');
  server = await start(scratch.path('run'));
  expect(names.filter((name) => existsSync(scratch.path(`run/${name}`)))).toEqual(names.slice(1));
});

test.each([
  '{"command":"stop"}',
  '{"command":"release","path":"/a"}',
  '{"command":"release","path":1,"holder":"x"}',
  '{"command":"take-back","holder":"x"}',
  '[]',
])('%s is no request to a server', (line) => {
  expect(() => parseServeRequest(line)).toThrow();
});
