import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addressBits,
  addressBlock,
  isInBlock,
  parseInetAddress,
  parseIpv6Address,
  parsePeerAddress,
} from '../../src/protocol/addresses.js';

const ipv4 = (text: string): bigint =>
  text.split('.').reduce((value, part) => value * 256n + BigInt(part), 0n);

describe('IPv4 addresses', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['10.1', '10.0.0.1'],
    ['10.1.2', '10.1.0.2'],
    ['10.65535', '10.0.255.255'],
    ['2130706433', '127.0.0.1'],
    ['0', '0.0.0.0'],
    ['0x7f.1', '127.0.0.1'],
    ['0X7F000001', '127.0.0.1'],
    ['0177.0.0.01', '127.0.0.1'],
    ['010.8.8.8', '8.8.8.8'],
    ['00.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
  ])('%s is %s, as inet_addr has it', (text, plain) => {
    expect(parseInetAddress(text)).toEqual({ family: 4, value: ipv4(plain) });
  });

  test.each([
    '',
    '.',
    '1.',
    '.1',
    '1..2',
    '1.2.3.4.5',
    '256.0.0.1',
    '1.2.3.256',
    '1.2.65536',
    '1.16777216',
    '4294967296',
    '08.1',
    '0x',
    '0xg',
    '-1',
    '+1',
    '1.2.3.4 ',
    '1e3',
    'localhost',
    '::1',
  ])("'%s' is no IPv4 address", (text) => expect(parseInetAddress(text)).toBeNull());

  test('a dotted quad and its single number are the same address', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        expect(parseInetAddress(text)).toEqual(parseInetAddress(String(ipv4(text))));
        expect(parsePeerAddress(text)).toEqual(parseInetAddress(text));
      }),
    );
  });
});

describe('IPv6 addresses', () => {
  test.each([
    ['::', 0n],
    ['::1', 1n],
    ['1::', 2n ** 112n],
    ['2001:DB8::10', 0x2001_0db8_0000_0000_0000_0000_0000_0010n],
    ['1:2:3:4:5:6:7:8', 0x0001_0002_0003_0004_0005_0006_0007_0008n],
    ['1:2:3:4:5:6:7::', 0x0001_0002_0003_0004_0005_0006_0007_0000n],
    ['::2:3:4:5:6:7:8', 0x0000_0002_0003_0004_0005_0006_0007_0008n],
    ['::ffff:1.2.3.4', 0xffff_0102_0304n],
    ['64:ff9b::192.0.2.33', 0x0064_ff9b_0000_0000_0000_0000_c000_0221n],
  ])('%s is read', (text, value) => expect(parseIpv6Address(text)).toEqual({ family: 6, value }));

  test.each([
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '::1%lo',
    '1.2.3.4',
    '::1.2.3',
  ])("'%s' is no IPv6 address", (text) => expect(parseIpv6Address(text)).toBeNull());

  test('every way to write an address gives the same number', () => {
    const groups = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (parts) => {
        const value = parts.reduce((sum, part) => sum * 0x1_0000n + BigInt(part), 0n);
        const long = parts.map((part) => part.toString(16).padStart(4, '0')).join(':');
        // URL writes the shortest form.
        const short = new URL(`http://[${long}]/`).hostname.slice(1, -1);
        expect(parseIpv6Address(long)).toEqual({ family: 6, value });
        expect(parseIpv6Address(short)).toEqual({ family: 6, value });
      }),
    );
  });

  test('any text is read or refused, never an exception', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('0123456789abf:.%')) }), (text) => {
        parseIpv6Address(text);
        parsePeerAddress(text);
        parseInetAddress(text);
      }),
    );
  });
});

describe('addresses of peers', () => {
  test.each([
    ['::ffff:10.0.0.7', { family: 4, value: ipv4('10.0.0.7') }],
    ['::FFFF:10.0.0.7', { family: 4, value: ipv4('10.0.0.7') }],
    ['::ffff:a00:7', { family: 4, value: ipv4('10.0.0.7') }],
    ['fe80::1%eth0', { family: 6, value: 0xfe80n * 2n ** 112n + 1n }],
    ['::10.0.0.7', { family: 6, value: ipv4('10.0.0.7') }],
  ])('%s is the address that exports are written for', (text, address) => {
    expect(parsePeerAddress(text)).toEqual(address);
  });
});

describe('blocks of addresses', () => {
  const address = fc.constantFrom(4 as const, 6 as const).chain((family) =>
    fc.record({
      family: fc.constant(family),
      value: fc.bigInt({ min: 0n, max: 2n ** BigInt(addressBits(family)) - 1n }),
    }),
  );
  const bitsOf = ({ family, value }: { family: 4 | 6; value: bigint }): string =>
    value.toString(2).padStart(addressBits(family), '0');

  test('an address is in a block exactly if the first bits are the same', () => {
    fc.assert(
      fc.property(address, address, fc.nat(128), fc.nat(128), (one, random, bits, flip) => {
        const prefixBits = bits % (addressBits(one.family) + 1);
        const block = addressBlock(one, prefixBits);
        // A neighbour that differs in a single bit is the hard case.
        const bit = 2n ** BigInt(flip % addressBits(one.family));
        const neighbour = {
          ...one,
          value: (one.value / bit) % 2n === 0n ? one.value + bit : one.value - bit,
        };
        for (const other of [one, random, neighbour]) {
          const isSame =
            other.family === one.family &&
            bitsOf(other).slice(0, prefixBits) === bitsOf(one).slice(0, prefixBits);
          expect(isInBlock(block, other)).toBe(isSame);
        }
      }),
    );
  });

  test('a block of IPv4 addresses mapped into IPv6 means the IPv4 addresses', () => {
    const mapped = addressBlock({ family: 6, value: 0xffffn * 2n ** 32n + ipv4('10.0.0.9') }, 104);
    expect(mapped).toEqual({ family: 4, network: ipv4('10.0.0.0'), prefixBits: 8 });
  });

  test('every IPv6 address is in ::/0 and no IPv4 address is', () => {
    const block = addressBlock({ family: 6, value: 5n }, 0);
    expect(isInBlock(block, { family: 6, value: 2n ** 128n - 1n })).toBe(true);
    expect(isInBlock(block, { family: 4, value: 1n })).toBe(false);
  });
});
