import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatMilliseconds,
  formatSeconds,
  parseInteger,
  parseSeconds,
  parseSize,
} from '../../src/cli/units.js';

describe('numbers for people', () => {
  test.each([
    [0, '0 B'],
    [512, '512 B'],
    [1023, '1023 B'],
    [4096, '4 KiB'],
    [1_500_000, '1.43 MiB'],
    [500 * 2 ** 20, '500 MiB'],
    [123.4 * 2 ** 30, '123 GiB'],
    [2 ** 53, '8 PiB'],
  ])('%i bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    [0.4, '0 s'],
    [59.4, '59 s'],
    [60, '1 min 00 s'],
    [200, '3 min 20 s'],
    [7500, '2 h 05 min'],
    [273_600, '3 d 4 h'],
  ])('%d seconds are %s', (seconds, text) => expect(formatSeconds(seconds)).toBe(text));

  test.each([
    [0.0874, '87.4 us'],
    [1.317, '1.32 ms'],
    [2050, '2.05 s'],
  ])('%d milliseconds are %s', (ms, text) => expect(formatMilliseconds(ms)).toBe(text));
});

describe('numbers from people', () => {
  test.each([
    ['4096', 4096],
    ['4k', 4096],
    ['128K', 131_072],
    ['1M', 1_048_576],
    ['1.5GiB', 1_610_612_736],
    ['2tb', 2_199_023_255_552],
    ['512b', 512],
  ])('%s is %i bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(['', 'k', '-1', '4x', '1.3', '1e9', '99999999T', 'NaN'])('%s is no number of bytes', (text) =>
    expect(() => parseSize(text)).toThrow(/number of bytes/),
  );

  test.each(['', '-1', '1.5', '65536', '0x10', ' 1'])('%s is no whole number up to 65535', (text) =>
    expect(() => parseInteger(0, 65_535)(text)).toThrow(/from 0 to 65535/),
  );

  test('seconds are greater than nothing and may have a fraction', () => {
    expect(parseSeconds('0.5')).toBe(0.5);
    for (const bad of ['0', '-1', 'x', '1e3', '']) expect(() => parseSeconds(bad)).toThrow(/seconds/);
  });
});
