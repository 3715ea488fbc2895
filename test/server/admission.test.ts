import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Admission, hostKey, type Seat } from '../../src/server/admission.js';
import { QuietLog } from '../../src/server/server-log.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryLog } from '../support/memory-log.js';

describe('what counts as one host', () => {
  test.each([
    ['10.0.0.1', '::ffff:10.0.0.1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['2001:db8::1', '2001:db8::ffff:1', true],
    ['2001:db8:0:1::1', '2001:db8:0:2::1', false],
    ['fe80::1%em0', 'fe80::2%em0', true],
    ['::1', '0.0.0.1', false],
  ])('%s and %s: %s', (one, other, isSame) => expect(hostKey(one) === hostKey(other)).toBe(isSame));
});

describe('the places of connections without a session', () => {
  function fill(perHostMax: number, totalMax: number): { admit: (host: string) => Seat; dropped: string[] } {
    const admission = new Admission(perHostMax, totalMax);
    const dropped: string[] = [];
    let count = 0;
    const admit = (host: string): Seat => {
      const name = `${host}${++count}`;
      return admission.admit(host, () => dropped.push(name));
    };
    return { admit, dropped };
  }

  test('go to the newest of a host that takes too many', () => {
    const { admit, dropped } = fill(3, 100);
    for (const host of ['a', 'b', 'a', 'a', 'a', 'a']) admit(host);
    expect(dropped).toEqual(['a1', 'a3']);
  });

  test('that are given back are free for others, once', () => {
    const { admit, dropped } = fill(2, 100);
    const seat = admit('a');
    admit('a');
    seat.leave();
    seat.leave();
    admit('a');
    expect(dropped).toEqual([]);
    admit('a');
    expect(dropped).toEqual(['a2']);
  });

  test('are taken from the busiest host when all are taken', () => {
    const { admit, dropped } = fill(10, 6);
    for (const host of ['a', 'b', 'b', 'b', 'c', 'c']) admit(host);
    admit('a');
    admit('d');
    expect(dropped).toEqual(['b2', 'a1']);
  });

  test('keep their limits, and never cost a quiet host its only one while another has two', () => {
    const step = fc.record({ host: fc.constantFrom('a', 'b', 'c', 'd', 'e'), leaves: fc.option(fc.nat()) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const admission = new Admission(4, 8);
        const inside: { host: string; seat: Seat }[] = [];
        let isEnding = false;
        const countOf = (host: string): number => inside.filter((one) => one.host === host).length;
        for (const { host, leaves } of steps) {
          const [leaving] = leaves === null ? [] : inside.splice(leaves % (inside.length + 1), 1);
          leaving?.seat.leave();
          const entry = { host, seat: { leave: (): void => undefined } };
          entry.seat = admission.admit(host, () => {
            const hosts = inside.map((one) => one.host);
            if (countOf(entry.host) === 1 && !isEnding) expect(new Set(hosts).size).toBe(hosts.length);
            expect(inside.find((one) => one.host === entry.host)).toBe(entry);
            inside.splice(inside.indexOf(entry), 1);
          });
          inside.push(entry);
          expect(admission.count).toBe(inside.length);
          expect(inside.length).toBeLessThanOrEqual(8);
          expect(countOf(host)).toBeLessThanOrEqual(4);
        }
        isEnding = true;
        admission.dropAll('end');
        expect([admission.count, inside.length]).toEqual([0, 0]);
      }),
    );
  });
});

describe('a log that is spared floods', () => {
  test('has a line a key and interval, and the number of those left out', () => {
    const log = new MemoryLog();
    const clock = new FakeClock();
    const quiet = new QuietLog(log, clock, 1_000);
    const write = (key: string): void => quiet.write(key, 'warn', { key }, 'noise');
    for (const key of ['a', 'a', 'b', 'a']) write(key);
    clock.advance(999);
    write('a');
    clock.advance(1);
    write('a');
    write('b');
    expect(log.lines.map(({ fields }) => fields)).toEqual([
      { key: 'a' },
      { key: 'b' },
      { key: 'a', suppressed: 3 },
      { key: 'b' },
    ]);
  });

  test('remembers a limited number of keys, and forgets the one that was logged longest ago', () => {
    const log = new MemoryLog();
    const quiet = new QuietLog(log, new FakeClock(), 1_000, 2);
    for (const key of ['a', 'b', 'c', 'b', 'c', 'a']) quiet.write(key, 'info', { key }, 'noise');
    expect(log.lines.map(({ fields }) => fields.key)).toEqual(['a', 'b', 'c', 'a']);
  });
});
