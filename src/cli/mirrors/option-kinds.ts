import { isAbsolute, resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { messageOf } from '../../protocol/errors.js';
import type { StartPolicy } from '../../control/start-policy.js';
import { parseAllowRule } from '../../server/exports-file.js';
import { parseInteger, parseSeconds, parseSize } from '../units.js';

/** Where a value was written: paths of a command line are relative to where it was typed, a file has no such place. */
export type WrittenIn = 'command line' | 'file';

/** What an option's value may be, on the command line and in the configuration file. */
export interface Kind<Value> {
  /** The types that the configuration file may give it in. */
  readonly fileTypes: readonly ('string' | 'number' | 'boolean')[];
  /** Throws InvalidArgumentError with what was expected. */
  readonly parse: (text: string, writtenIn: WrittenIn) => Value;
  /** If there are only a few. */
  readonly choices?: readonly string[];
  /** If it may be given several times, in the file as a list: all that was said as one. */
  join?(values: readonly Value[]): Value;
}

/** Of the configuration file. Throws InvalidArgumentError with what was expected. */
export function readFileValue<Value>(kind: Kind<Value>, value: unknown): Value {
  const { fileTypes, parse } = kind;
  if (kind.join !== undefined && Array.isArray(value)) {
    return kind.join(value.map((one) => readFileValue(kind, one)));
  }
  if (!fileTypes.some((type) => typeof value === type)) {
    const names = fileTypes.map((type) => (type === 'boolean' ? 'true or false' : `a ${type}`));
    throw new InvalidArgumentError(`expected ${names.join(' or ')}`);
  }
  return parse(String(value), 'file');
}

export const YES_NO: Kind<boolean> = { fileTypes: ['boolean'], parse: (text) => text === 'true' };

export const SECONDS: Kind<number> = { fileTypes: ['number'], parse: parseSeconds };

export const SIZE: Kind<number> = { fileTypes: ['number', 'string'], parse: parseSize };

export const integerFrom = (min: number, max: number): Kind<number> => ({
  fileTypes: ['number'],
  parse: parseInteger(min, max),
});

export const TEXT: Kind<string> = {
  fileTypes: ['string'],
  parse: (text) => {
    if (text === '') throw new InvalidArgumentError('expected some text');
    return text;
  },
};

/** Absolute, whoever wrote it: a daemon lives in `/`. */
export const PATH: Kind<string> = {
  fileTypes: ['string'],
  parse: (text, writtenIn) => {
    if (text === '') throw new InvalidArgumentError('expected a path');
    if (writtenIn === 'file' && !isAbsolute(text))
      throw new InvalidArgumentError('expected a path from the root');
    return resolve(text);
  },
};

export const oneOf = <Choice extends string>(choices: readonly Choice[]): Kind<Choice> => ({
  fileTypes: ['string'],
  choices,
  parse: (text) => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new InvalidArgumentError(`expected one of ${choices.join(', ')}`);
    return found;
  },
});

const POLICIES = ['safe', 'complete', 'wait', 'degraded'] as const;

/** A word, or a number of seconds. */
export const START_POLICY: Kind<StartPolicy> = {
  fileTypes: ['string', 'number'],
  parse: (text) => {
    const word = POLICIES.find((policy) => policy === text);
    if (word !== undefined) return word;
    if (/^[0-9]/.test(text)) return parseSeconds(text);
    throw new InvalidArgumentError(`expected ${POLICIES.join(', ')} or a number of seconds`);
  },
};

/** Of the split algorithm, in bytes. */
export const SLICE: Kind<number> = {
  fileTypes: ['number', 'string'],
  parse: (text) => {
    const bytes = parseSize(text);
    if (bytes > 0 && bytes % 512 === 0 && bytes < 2 ** 32) return bytes;
    throw new InvalidArgumentError('expected a number of bytes, a multiple of 512 below 4 GiB');
  },
};

/** Who may come in: ADDRESS[/BITS][,ro|wo|rw], a name or tls:NAME in place of the address. */
export const ALLOW_RULES: Kind<readonly string[]> = {
  fileTypes: ['string'],
  join: (lists) => lists.flat(),
  parse: (text) => {
    try {
      parseAllowRule(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
    return [text];
  },
};
