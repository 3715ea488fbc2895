import { expect, test } from 'vitest';
import { getopt } from '../../src/cli/ggated/getopt.js';
import { parseGgatedCommandLine } from '../../src/cli/ggated/options.js';

test.each([
  {
    what: 'joined letters',
    words: ['-nv'],
    options: [
      ['n', null],
      ['v', null],
    ],
    operands: [],
  },
  { what: 'a value at its letter', words: ['-p3080'], options: [['p', '3080']], operands: [] },
  { what: 'a value in the next word', words: ['-p', '3080', 'x'], options: [['p', '3080']], operands: ['x'] },
  {
    what: 'a value behind joined letters',
    words: ['-nvp3'],
    options: [
      ['n', null],
      ['v', null],
      ['p', '3'],
    ],
    operands: [],
  },
  { what: 'a value that looks like an option', words: ['-p', '-v'], options: [['p', '-v']], operands: [] },
  { what: 'two dashes as the end', words: ['-n', '--', '-v'], options: [['n', null]], operands: ['-v'] },
  { what: 'no options behind an operand', words: ['x', '-v'], options: [], operands: ['x', '-v'] },
  { what: 'a lone dash as an operand', words: ['-'], options: [], operands: ['-'] },
])('getopt reads $what', ({ words, options, operands }) => {
  const expected = options.map(([letter, value]) => ({ letter, value }));
  expect(getopt(words, 'np:v')).toEqual({ options: expected, operands, error: null });
});

test.each([
  { words: ['-x'], error: 'illegal option -- x' },
  { words: ['-n:'], error: 'illegal option -- :' },
  { words: ['--port'], error: 'illegal option -- -' },
  { words: ['-n', '-p'], error: 'option requires an argument -- p' },
])('getopt says "$error"', ({ words, error }) => {
  expect(getopt(words, 'np:v').error).toBe(error);
});

test('ggated without a word on its command line does what the real one does', () => {
  expect(parseGgatedCommandLine([], '/home')).toEqual({
    kind: 'run',
    options: {
      noDelay: true,
      verbose: false,
      address: null,
      port: 3080,
      receiveBufferBytes: 0,
      sendBufferBytes: 0,
      pidFile: '/var/run/ggated.pid',
      exportsFile: '/etc/gg.exports',
    },
  });
});

test('every ggated option arrives, and relative paths become absolute', () => {
  const words = '-nv -a 10.0.0.1 -F run/pid -p3081 -R 65536 -S262144 my.exports'.split(' ');
  expect(parseGgatedCommandLine(words, '/home/me')).toEqual({
    kind: 'run',
    options: {
      noDelay: false,
      verbose: true,
      address: '10.0.0.1',
      port: 3081,
      receiveBufferBytes: 65_536,
      sendBufferBytes: 262_144,
      pidFile: '/home/me/run/pid',
      exportsFile: '/home/me/my.exports',
    },
  });
});

test.each([
  { words: ['-p', 'http'], message: 'Invalid port.' },
  { words: ['-p', '65536'], message: 'Invalid port.' },
  { words: ['-p', '-1'], message: 'Invalid port.' },
  { words: ['-p', ''], message: 'Invalid port.' },
  { words: ['-p', '3080x'], message: 'Invalid port.' },
  { words: ['-R', '0'], message: 'Invalid rcvbuf.' },
  { words: ['-R', '1e5'], message: 'Invalid rcvbuf.' },
  { words: ['-S', '4294967296'], message: 'Invalid sndbuf.' },
])('ggated $words is refused with "$message"', ({ words, message }) => {
  expect(parseGgatedCommandLine(words, '/')).toEqual({ kind: 'invalid', message });
});

test.each([
  { what: '-h', words: ['-h'], message: null },
  { what: 'an unknown letter', words: ['-z'], message: 'illegal option -- z' },
  { what: 'a second exports file', words: ['a', 'b'], message: 'only one exports file can be given' },
])('ggated shows its usage for $what', ({ words, message }) => {
  expect(parseGgatedCommandLine(words, '/')).toEqual({ kind: 'usage', message });
});
