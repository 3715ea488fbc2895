import { expect, test } from 'vitest';
import { systemRandom } from '../../src/device/random.js';
import { Component } from '../../src/mirror/component.js';
import { Generations } from '../../src/mirror/journal/generations.js';
import { newUuid } from '../../src/mirror/ids.js';
import { NO_UUID } from '../../src/protocol/superblock.js';
import { FakeClock } from '../support/fake-clock.js';

const SLOTS = 8;

test('a component that is lost after it has said that it is in step is lost at the generation that it has', () => {
  const before = newUuid(systemRandom);
  const old = newUuid(systemRandom);
  const lostAt = Array.from({ length: SLOTS }, () => NO_UUID).with(1, old);
  const state = { current: before, history: [old], lostAt, unheard: [], genid: 0, syncid: 1 };
  const generations = new Generations(state, systemRandom);
  const identity = { uuid: newUuid(systemRandom), slot: 1, name: 'b', priority: 0, isLocal: false };
  const component = new Component(identity, 65_536, new FakeClock());
  generations.claim(1);
  generations.claimed(1);
  expect(generations.noteLosses([component])).toBe(true);
  expect(generations.state.lostAt[1]).toBe(before);
});
