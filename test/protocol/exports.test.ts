import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addressBlock,
  parseInetAddress,
  parseIpv6Address,
  type AddressBlock,
} from '../../src/protocol/addresses.js';
import { ProtocolError } from '../../src/protocol/errors.js';
import { parseExports } from '../../src/protocol/exports.js';

const block = (text: string, prefixBits: number): AddressBlock => {
  const address = parseInetAddress(text) ?? parseIpv6Address(text);
  if (address === null) throw new Error(`${text} is no address`);
  return addressBlock(address, prefixBits);
};

function errorOf(text: string): ProtocolError {
  try {
    parseExports(text, 'gg.exports');
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error('no error');
}

describe('a line of an exports file', () => {
  test.each([
    ['10.0.0.1 RW /disk', block('10.0.0.1', 32), 'rw', '/disk'],
    ['10.0.0.1/32 ro /disk', block('10.0.0.1', 32), 'ro', '/disk'],
    ['10.0.0.77/24 rd /disk', block('10.0.0.0', 24), 'ro', '/disk'],
    ['10.0.0.77/0 Wo /disk', block('0.0.0.0', 0), 'wo', '/disk'],
    ['10.1/8 rW /disk', block('10.0.0.0', 8), 'rw', '/disk'],
    ['0x0a.010.1 RD /disk', block('10.8.0.1', 32), 'ro', '/disk'],
    ['2001:db8::7 RW /disk', block('2001:db8::7', 128), 'rw', '/disk'],
    ['2001:db8::7/64 RW /disk', block('2001:db8::', 64), 'rw', '/disk'],
    ['::/0 RW /disk', block('::', 0), 'rw', '/disk'],
    ['::ffff:10.0.0.0/104 RW /disk', block('10.0.0.0', 8), 'rw', '/disk'],
    ['10.0.0.1/008 RW /disk', block('10.0.0.0', 8), 'rw', '/disk'],
    ['\t 10.0.0.1 \t RW\t\t/disk \t', block('10.0.0.1', 32), 'rw', '/disk'],
    ['10.0.0.1 RW /disk\r', block('10.0.0.1', 32), 'rw', '/disk'],
    ['10.0.0.1 RW not/absolute', block('10.0.0.1', 32), 'rw', 'not/absolute'],
    ['10.0.0.1 RW /a#b', block('10.0.0.1', 32), 'rw', '/a#b'],
    ['10.0.0.1 RW /ünï', block('10.0.0.1', 32), 'rw', '/ünï'],
    [`10.0.0.1 RW ${'x'.repeat(1023)}`, block('10.0.0.1', 32), 'rw', 'x'.repeat(1023)],
  ])('%j is read', (line, expected, access, path) => {
    expect(parseExports(line, 'f')).toEqual([
      { lineNumber: 1, host: { kind: 'block', block: expected }, access, path },
    ]);
  });

  test.each([
    ['localhost wo /d', { kind: 'name', name: 'localhost', prefixBits: 32 }],
    ['backup.example.org./24 wo /d', { kind: 'name', name: 'backup.example.org.', prefixBits: 24 }],
    ['10.example wo /d', { kind: 'name', name: '10.example', prefixBits: 32 }],
    ['tls:primary wo /d', { kind: 'certificate', name: 'primary' }],
    ['TLS:a/b@c wo /d', { kind: 'certificate', name: 'a/b@c' }],
  ])('%j names its host', (line, host) => {
    expect(parseExports(line, 'f')).toEqual([{ lineNumber: 1, host, access: 'wo', path: '/d' }]);
  });

  test.each([
    ['10.0.0.1', 'too few words'],
    ['10.0.0.1 RW', 'too few words'],
    ['10.0.0.1 RW /a b', "too many words, 'b' is one"],
    ['10.0.0.1 RW /a # why', "too many words, '#' is one"],
    ['10.0.0.1 R /a', "'R' is not an access mode"],
    ['10.0.0.1 constructor /a', "'constructor' is not an access mode"],
    ['10.0.0.1/33 RW /a', "'/33' is not a number of mask bits; use /0 to /32"],
    ['10.0.0.1/ RW /a', "'/' is not a number of mask bits"],
    ['10.0.0.1/-1 RW /a', "'/-1' is not a number of mask bits"],
    ['10.0.0.1/24x RW /a', "'/24x' is not a number of mask bits"],
    ['10.0.0.1/8/8 RW /a', "'/8/8' is not a number of mask bits"],
    ['10.0.0.1/4294967304 RW /a', "'/4294967304' is not a number of mask bits"],
    ['10.0.0.1/1e1 RW /a', "'/1e1' is not a number of mask bits"],
    ['::1/129 RW /a', "'/129' is not a number of mask bits; use /0 to /128"],
    ['localhost/64 RW /a', "'/64' is not a number of mask bits; use /0 to /32"],
    ['255.255.255.255 RW /a', "'255.255.255.255' is the address of no host"],
    ['255.255.255.255/8 RW /a', "'255.255.255.255' is the address of no host"],
    ['10.0.0.256 RW /a', "'10.0.0.256' is neither an address nor a host name"],
    ['10.0.0.08 RW /a', "'10.0.0.08' is neither an address nor a host name"],
    ['fe80::1%em0 RW /a', "'fe80::1%em0' is neither an address nor a host name"],
    ['-host RW /a', "'-host' is neither an address nor a host name"],
    ['a..b RW /a', "'a..b' is neither an address nor a host name"],
    ['/8 RW /a', "'' is neither an address nor a host name"],
    ['tls: RW /a', "'tls:' needs the name"],
    [`10.0.0.1 RW ${'x'.repeat(1024)}`, 'the path has 1024 bytes; at most 1023'],
    [`10.0.0.1 RW ${'ü'.repeat(512)}`, 'the path has 1024 bytes; at most 1023'],
    ['10.0.0.1 RW /a\0b', 'the path has a NUL byte'],
  ])('%j is an error that names file and line', (line, message) => {
    const error = errorOf(`# first\n${line}\n`);
    expect(error.code).toBe('PROTOCOL_FORMAT');
    expect(error.message).toContain(`gg.exports:2: ${message}`);
  });
});

describe('an exports file', () => {
  test('has comments and empty lines, which count as lines', () => {
    const text =
      '# comment\n\n \t \n  \t# another one, as long as it likes ' +
      'x'.repeat(5000) +
      '\n#\n1.1.1.1 RO /a\n\n2.2.2.2 RW /b';
    expect(parseExports(text, 'f').map(({ lineNumber, path }) => [lineNumber, path])).toEqual([
      [6, '/a'],
      [8, '/b'],
    ]);
  });

  test.each(['', '\n', '\n\n', '# only a comment', ' \t\n#x\n'])(
    '%j exports nothing, and that is an error',
    (text) => {
      expect(errorOf(text).message).toContain('gg.exports: there are no objects to export');
    },
  );

  test('with carriage returns reads like one without', () => {
    const text = '# a\n1.1.1.1 RO /a\n\n2.2.2.2 RW /b\n';
    expect(parseExports(text.replaceAll('\n', '\r\n'), 'f')).toEqual(parseExports(text, 'f'));
  });

  test('is read back as it was written, however it is spaced', () => {
    const blank = fc.string({ unit: fc.constantFrom(' ', '\t'), minLength: 1, maxLength: 4 });
    const word = fc.string({
      unit: fc.constantFrom(...Array.from('abc/#:.äé😀-')),
      minLength: 1,
      maxLength: 20,
    });
    const mode = fc.constantFrom('ro', 'RO', 'rd', 'Rd', 'wo', 'wO', 'rw', 'RW');
    const line = fc.tuple(blank, fc.ipV4(), blank, mode, blank, word, fc.constantFrom('', ' ', '\t', '\r'));
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), (lines) => {
        fc.pre(lines.every(([, address]) => address !== '255.255.255.255'));
        const text = lines.map((parts) => parts.join('')).join('\n');
        const expected = lines.map(([, address, , modeWord, , path], index) => ({
          lineNumber: index + 1,
          host: { kind: 'block', block: block(address, 32) },
          access: modeWord.toLowerCase().replace('d', 'o'),
          path,
        }));
        expect(parseExports(text, 'f')).toEqual(expected);
      }),
    );
  });

  test('of any content gives lines or an error with its name, and nothing else', () => {
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom(...Array.from(' \t\n\r/#.:0128xrwo')),
        fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
      ),
      maxLength: 200,
    });
    fc.assert(
      fc.property(text, (content) => {
        try {
          expect(parseExports(content, 'gg.exports').length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
          expect((error as Error).message).toMatch(/^gg\.exports:(\d+:)? /);
        }
      }),
    );
  });
});
