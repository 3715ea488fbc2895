import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { describe, expect, test } from 'vitest';
import { CommandError, failureOf, InterruptedError, UsageError } from '../../src/cli/errors.js';
import { DeviceError } from '../../src/device/block-device.js';
import { ProtocolError } from '../../src/protocol/errors.js';

function systemError(): unknown {
  try {
    return readFileSync('/does/not/exist');
  } catch (error) {
    return error;
  }
}

describe('an error that reaches the top', () => {
  test.each([
    { what: 'of a person', error: new CommandError('no'), exitCode: 1, message: 'no' },
    { what: 'of the command line', error: new UsageError('no'), exitCode: 2, message: 'no' },
    { what: 'of a device', error: new DeviceError('DEVICE_IO', 'EIO', 'no'), exitCode: 1, message: 'no' },
    { what: 'of a format', error: new ProtocolError('PROTOCOL_FORMAT', 'no'), exitCode: 1, message: 'no' },
    { what: 'from a signal', error: new InterruptedError('no', 2), exitCode: 130, message: 'no' },
    { what: 'that commander printed', error: new CommanderError(1, 'x', 'no'), exitCode: 2, message: null },
    { what: 'that is a call for help', error: new CommanderError(0, 'x', ''), exitCode: 0, message: null },
    {
      what: 'of the system',
      error: systemError(),
      exitCode: 1,
      message: "ENOENT: no such file or directory, open '/does/not/exist'",
    },
  ])('$what is told in one line', ({ error, exitCode, message }) => {
    expect(failureOf(error)).toEqual({ exitCode, message });
  });

  test.each([new TypeError('x is not a function'), new Error('bug: never')])(
    'that nobody expected is called a bug and shows where it was: %s',
    (error) => {
      const failure = failureOf(error);
      expect(failure.exitCode).toBe(1);
      expect(failure.message).toMatch(/^this is a bug, please report it\n/);
      expect(failure.message).toContain('errors.test.ts');
    },
  );

  test('that is no error at all is a bug, too', () => {
    expect(failureOf('text').message).toMatch(/bug.*\ntext$/);
  });
});
