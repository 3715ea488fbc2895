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

test('a generation that could not begin is tried again, until somebody is lost who may have it', () => {
  const before = newUuid(systemRandom);
  const lostAt = Array.from({ length: SLOTS }, () => NO_UUID);
  const state = { current: before, history: [], lostAt, unheard: [], genid: 0, syncid: 1 };
  const generations = new Generations(state, systemRandom);
  const identity = { uuid: newUuid(systemRandom), slot: 1, name: 'b', priority: 0, isLocal: false };
  const lost = new Component(identity, 65_536, new FakeClock());
  const next = (): string => {
    generations.moveOn([lost], null);
    return generations.state.current;
  };
  const first = next();
  expect(next()).toBe(first);
  generations.noteLosses([lost]);
  const second = next();
  expect(second).not.toBe(first);
  expect(next()).toBe(second);
  generations.begun();
  expect(next()).not.toBe(second);
  expect(generations.state.history).toEqual([second, first, before]);
});
