import { CommanderError } from 'commander';
import { DeviceError } from '../device/block-device.js';
import { ProtocolError } from '../protocol/errors.js';

/** What a person has to know and nothing else: the request can't be carried out. Printed as one line, exit status 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** The command line itself is wrong. Printed as one line, exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The work was stopped by a signal, in good order. Exit status 128 plus the signal's number, as shells expect it. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
  constructor(
    message: string,
    readonly signalNumber: number,
  ) {
    super(message);
  }
}

/** What the process says and returns for an error that reached the top. */
export interface Failure {
  readonly exitCode: number;
  /** Without a line end; null when there is nothing left to say. */
  readonly message: string | null;
}

/**
 * Errors that the outside world causes get one line; everything else is a bug of ours and shows where it happened.
 * Commander has already printed its own usage errors (and `--help`).
 */
export function failureOf(error: unknown): Failure {
  if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2, message: null };
  if (error instanceof UsageError) return { exitCode: 2, message: error.message };
  if (error instanceof InterruptedError) {
    return { exitCode: 128 + error.signalNumber, message: error.message };
  }
  if (isExpected(error)) return { exitCode: 1, message: error.message };
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { exitCode: 1, message: `this is a bug, please report it\n${detail}` };
}

/** Whether the message alone tells what happened. Node's system errors carry the failed call and the path. */
export function isExpected(error: unknown): error is Error {
  if (error instanceof CommandError || error instanceof DeviceError || error instanceof ProtocolError) {
    return true;
  }
  return error instanceof Error && 'syscall' in error && 'code' in error;
}
