import { describe, expect, test } from 'vitest';
import { AWAKE_MS, AwakeLoop, QUICK_MS } from '../../src/device/platform/awake-loop.js';
import type { Native } from '../../src/device/platform/native.js';

/** An event loop of the test's, at a time of the test's. */
class LoopRig {
  nowMs = 1000;
  yields = 0;
  readonly #turns: (() => void)[] = [];
  readonly loop: AwakeLoop;

  constructor(hasNative = true) {
    const native: Native = {
      system: 'linux',
      call: (name) => {
        expect(name).toBe('sched_yield');
        this.yields += 1;
        return 0;
      },
      callAsync: () => Promise.reject(new Error('not needed')),
      function: () => () => 0,
      failure: () => new Error('not needed'),
      addressOf: () => 0,
    };
    this.loop = new AwakeLoop(hasNative ? native : null, { nowMs: () => this.nowMs }, (run) =>
      this.#turns.push(run),
    );
  }

  get isAwake(): boolean {
    return this.#turns.length > 0;
  }

  /** One turn of the event loop; more than one at a time would be more than one loop. */
  turn(): void {
    expect(this.#turns.length).toBe(1);
    this.#turns.shift()?.();
  }

  request(afterMs: number): void {
    this.nowMs += afterMs;
    this.loop.cameAlone();
  }
}

describe('an event loop', () => {
  test('sleeps after the first request, for nobody knows yet whether its client is quick', () => {
    const rig = new LoopRig();
    rig.request(0);
    expect(rig.isAwake).toBe(false);
  });

  test('stays awake for a quick client, lets others have the processor in each turn, and sleeps again', () => {
    const rig = new LoopRig();
    rig.request(0);
    rig.request(QUICK_MS / 2);
    rig.turn();
    rig.turn();
    expect(rig.yields).toBe(2);
    rig.nowMs += AWAKE_MS;
    rig.turn();
    expect(rig.isAwake).toBe(false);
    expect(rig.yields).toBe(2);
  });

  test('is kept awake by each further request, with one loop for all', () => {
    const rig = new LoopRig();
    rig.request(0);
    for (let count = 0; count < 10; count++) {
      rig.request(AWAKE_MS / 2);
      rig.turn();
    }
    expect(rig.isAwake).toBe(true);
    rig.nowMs += AWAKE_MS;
    rig.turn();
    expect(rig.isAwake).toBe(false);
    rig.request(QUICK_MS);
    expect(rig.isAwake).toBe(false);
  });

  test('does not wait awake for a client that lets it wait', () => {
    const rig = new LoopRig();
    for (let count = 0; count < 5; count++) rig.request(QUICK_MS * 2);
    expect(rig.isAwake).toBe(false);
  });

  test('always sleeps where the C library is out of reach', () => {
    const rig = new LoopRig(false);
    for (let count = 0; count < 5; count++) rig.request(QUICK_MS / 2);
    expect(rig.isAwake).toBe(false);
  });
});
