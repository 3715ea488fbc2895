import { describe, expect, test } from 'vitest';
import { absoluteComponent, formatComponent, parseComponent } from '../../src/control/component-spec.js';

const NOTHING = { area: null, priority: null, timeoutMs: null };

describe('a component on a command line', () => {
  test.each([
    ['a.img', { provider: 'a.img' }],
    ['a,b.img', { provider: 'a,b.img' }],
    ['a.img,area=b,c.area', { provider: 'a.img', area: 'b,c.area' }],
    ['a.img,priority=7', { provider: 'a.img', priority: 7 }],
    ['ggate://h:1/a,timeout=0.5', { provider: 'ggate://h:1/a', timeoutMs: 500 }],
    ['a,timeout=5,area=/x,priority=255', { provider: 'a', timeoutMs: 5000, area: '/x', priority: 255 }],
  ])('%s', (text, fields) => {
    const spec = parseComponent(text);
    expect(spec).toEqual({ ...NOTHING, ...fields });
    expect(parseComponent(formatComponent(spec))).toEqual(spec);
  });

  test.each([
    [',area=x', 'is not of the form PROVIDER'],
    ['a,area=', 'is not of the form PROVIDER'],
    ['a,priority=256', 'expected a priority from 0 to 255'],
    ['a,priority=', 'expected a priority from 0 to 255'],
    ['a,timeout=0', 'expected a time-out in seconds greater than 0'],
    ['a,timeout=soon', 'expected a time-out in seconds greater than 0'],
    ['a,timeout=1,timeout=2', 'has timeout twice'],
    ['ggate://h/a,area=x', "can't have an area file"],
  ])('%s is refused', (text, message) => {
    expect(() => parseComponent(text)).toThrow(message);
  });

  test('has absolute paths for a daemon', () => {
    expect(absoluteComponent('a.img,area=b,priority=1')).toEqual({
      provider: `${process.cwd()}/a.img`,
      area: `${process.cwd()}/b`,
      priority: 1,
      timeoutMs: null,
    });
  });
});
