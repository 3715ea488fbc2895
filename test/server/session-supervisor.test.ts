import { expect, test } from 'vitest';
import type { AttachRequest, PairedHalves } from '../../src/server/halves.js';
import { SessionSupervisor, type SupervisedSession } from '../../src/server/session-supervisor.js';
import { MemoryLog } from '../support/memory-log.js';
import { until } from '../support/until.js';

const requestFrom = (address: string): AttachRequest => ({
  peer: { address, port: 1, certificateName: null, certificateNames: [] },
  path: '/disk.img',
  access: 'rw',
  hello: null,
});

/** A writer whose client has gone: that is noticed between two looks at it, of which each takes as long as it likes. */
class FakeSession implements SupervisedSession {
  readonly identity = 'disk';
  readonly pid = 4711;
  isEnding = false;
  isGone = false;
  looks = 0;
  /** Whether the end of its client is noticed, and after how many looks. */
  noticedAfter = Infinity;
  readonly whenStarted = Promise.resolve();
  readonly whenGone = new Promise<void>(() => undefined);

  constructor(readonly request: AttachRequest) {}

  goneWithin(): Promise<boolean> {
    if (this.isEnding) this.isGone = true;
    this.looks += 1;
    if (this.looks === this.noticedAfter) this.isEnding = true;
    return Promise.resolve(this.isGone);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  silentMs(): Promise<number | null> {
    return Promise.resolve(0);
  }
}

async function withWriter(): Promise<[SessionSupervisor<FakeSession>, FakeSession]> {
  const supervisor = new SessionSupervisor<FakeSession>({
    log: new MemoryLog(),
    isShared: false,
    identityOf: () => Promise.resolve('disk'),
    begin: ({ request }) => new FakeSession(request),
  });
  supervisor.start({ request: requestFrom('10.0.0.1') } as PairedHalves);
  return [supervisor, await until('the session', () => supervisor.sessions[0])];
}

test('a writer whose end is noticed late is waited for, however long the daemon itself stood still', async () => {
  const [supervisor, writer] = await withWriter();
  writer.noticedAfter = 8;
  expect(await supervisor.refusalOf(requestFrom('10.0.0.1'))).toBeNull();
  expect(writer.isGone).toBe(true);
});

test('a writer that stays keeps others out after a few looks at it', async () => {
  const [supervisor, writer] = await withWriter();
  expect(await supervisor.refusalOf(requestFrom('10.0.0.2'))).toBe('EBUSY');
  expect(writer.looks).toBe(10);
});
