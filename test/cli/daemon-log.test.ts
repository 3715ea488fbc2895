import { expect, test } from 'vitest';
import { createLineLog, renderLine } from '../../src/cli/daemon/log.js';
import { createServeLog } from '../../src/cli/daemon/serve-log.js';

test.each([
  { fields: {}, message: 'stopped', line: 'stopped' },
  {
    fields: { peer: '10.0.0.1:4711', bytes: 512 },
    message: 'attached',
    line: 'attached (peer=10.0.0.1:4711 bytes=512)',
  },
  { fields: { path: '/my image', none: undefined }, message: 'm', line: 'm (path="/my image")' },
  { fields: { err: new Error('disk is gone') }, message: 'm', line: 'm (err="disk is gone")' },
  {
    fields: { list: [1, 'a'], big: 2n ** 60n },
    message: 'm',
    line: 'm (list=[1,"a"] big="1152921504606846976")',
  },
  { fields: { path: 'a\nfake: line' }, message: 'm', line: 'm (path="a\\nfake: line")' },
  { fields: {}, message: 'a\nb\u001b[2Jc\u2028d', line: 'a\\u{a}b\\u{1b}[2Jc\\u{2028}d' },
])('a log line for syslog reads $line', ({ fields, message, line }) => {
  expect(renderLine(fields, message)).toBe(line);
});

test('a line log names the levels as ggated does', () => {
  const lines: string[] = [];
  const log = createLineLog((level, text) => lines.push(`${level}: ${text}`));
  log.debug({}, 'one');
  log.info({}, 'two');
  log.warn({}, 'three');
  log.error({}, 'four');
  log.fatal({}, 'five');
  expect(lines).toEqual(['debug: one', 'info: two', 'warning: three', 'error: four', 'error: five']);
});

test('without a terminal the log is one JSON object a line, from the chosen level on', () => {
  let text = '';
  const log = createServeLog({
    output: { write: (part) => (text += part) },
    isTerminal: false,
    level: 'info',
  });
  log.debug({ n: 1 }, 'hidden');
  log.info({ path: '/a\nb' }, 'attached');
  expect(text.endsWith('\n')).toBe(true);
  const lines = text.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 30,
    path: '/a\nb',
    msg: 'attached',
    pid: process.pid,
  });
});

test('on a terminal the log is text, is there when the call returns, and cannot command the terminal', () => {
  let text = '';
  const log = createServeLog({
    output: { write: (part) => (text += part) },
    isTerminal: true,
    level: 'info',
  });
  log.info({ path: '/a\u001b[2Jb' }, 'attached\u001b[2J');
  expect(text).toContain('attached\\u{1b}[2J');
  expect(text).not.toContain('\u001b[2J');
  expect(text.trimEnd().split('\n')).toHaveLength(1);
});
