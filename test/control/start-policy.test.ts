import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { START_POLL_MS } from '../../src/control/limits.js';
import { startPatiently, type StartPolicy } from '../../src/control/start-policy.js';
import { AssembleError } from '../../src/mirror/start/assemble.js';
import { FakeClock } from '../support/fake-clock.js';

const missing = (isAfterCrash: boolean): AssembleError =>
  new AssembleError('ASSEMBLE_MISSING', 'b is missing', undefined, isAfterCrash);

/** A start of a mirror; `isComplete` and `isAfterCrash` are its world, and change. */
class World {
  readonly clock = new FakeClock();
  readonly heard: string[] = [];
  isComplete = false;
  isInUse = false;
  why = 'b is missing';
  attempts = 0;
  end: () => void = () => undefined;
  outcome: string | null = null;
  readonly #ended = new Promise<void>((resolve) => (this.end = resolve));

  constructor(
    policy: StartPolicy,
    public isAfterCrash = true,
  ) {
    startPatiently({
      policy,
      attempt: (isDegradedAllowed, isTriedAgain) => {
        this.attempts += 1;
        if (this.isComplete) return Promise.resolve('complete');
        if (isDegradedAllowed && !this.isInUse) return Promise.resolve('degraded');
        const error =
          this.why === 'b is missing'
            ? missing(this.isAfterCrash)
            : new AssembleError('ASSEMBLE_SPLIT_BRAIN', this.why);
        this.heard.push(isTriedAgain(error) ? 'again' : 'end');
        return Promise.reject(error);
      },
      waits: (why) => {
        this.heard.push(`waits: ${why}`);
        return Promise.resolve();
      },
      ended: () => this.#ended,
      clock: this.clock,
    }).then(
      (started) => (this.outcome = started ?? 'ended'),
      (error: unknown) => (this.outcome = String(error)),
    );
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) await nextTurn();
  }

  async pass(delayMs: number): Promise<void> {
    await this.settle();
    this.clock.advance(delayMs);
    await this.settle();
  }
}

async function worldOf(policy: StartPolicy, { isAfterCrash = true } = {}): Promise<World> {
  const world = new World(policy, isAfterCrash);
  await world.settle();
  return world;
}

test('after a crash the safe policy waits for who was in step, for as long as it takes, and starts with it', async () => {
  const world = await worldOf('safe');
  for (let time = 0; time < 1000; time++) await world.pass(START_POLL_MS);
  expect(world.outcome).toBeNull();
  expect(world.attempts).toBe(1001);
  // It is said once.
  expect(world.heard.filter((line) => line !== 'again')).toEqual(['waits: b is missing']);
  world.isComplete = true;
  await world.pass(START_POLL_MS);
  expect(world.outcome).toBe('complete');
});

test('once it waits, the safe policy goes on also when it can not see the crash any more', async () => {
  const world = await worldOf('safe');
  world.isAfterCrash = false;
  await world.pass(START_POLL_MS);
  expect(world.outcome).toBeNull();
});

test.each([
  { what: 'safe, after an end in order', policy: 'safe', isAfterCrash: false },
  { what: 'complete, after a crash', policy: 'complete', isAfterCrash: true },
] as const)('$what refuses at once', async ({ policy, isAfterCrash }) => {
  const world = await worldOf(policy, { isAfterCrash });
  expect(world.heard).toEqual(['end']);
  expect(world.outcome).toContain('b is missing');
});

test('a number of seconds is waited for, and then it starts degraded', async () => {
  const world = await worldOf(5, { isAfterCrash: false });
  await world.pass(4_999);
  expect(world.outcome).toBeNull();
  await world.pass(START_POLL_MS);
  expect(world.outcome).toBe('degraded');
});

test('after those seconds it goes on waiting for what somebody else uses', async () => {
  const world = await worldOf(5, { isAfterCrash: false });
  world.isInUse = true;
  for (let time = 0; time < 10; time++) await world.pass(START_POLL_MS);
  expect(world.outcome).toBeNull();
  expect(world.attempts).toBeLessThanOrEqual(11);
  world.isInUse = false;
  await world.pass(START_POLL_MS);
  expect(world.outcome).toBe('degraded');
});

test('degraded waits for nobody', async () => {
  expect((await worldOf('degraded')).outcome).toBe('degraded');
});

test('what is no missing component ends the waiting, and is told', async () => {
  const world = await worldOf('wait');
  world.why = 'split brain';
  await world.pass(START_POLL_MS);
  expect(world.outcome).toContain('split brain');
  expect(world.heard.at(-1)).toBe('end');
});

test('it can be ended while it waits', async () => {
  const world = await worldOf('wait');
  world.end();
  await world.settle();
  expect(world.outcome).toBe('ended');
  await world.pass(10 * START_POLL_MS);
  expect(world.attempts).toBe(1);
});
