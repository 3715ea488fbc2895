import { InvalidArgumentError } from 'commander';
import { parse, TomlDate, TomlError } from 'smol-toml';
import { CommandError, isExpected, UsageError } from '../errors.js';
import { type Kind, readFileValue } from '../mirrors/option-kinds.js';
import { tomlLines, type TomlPath } from './toml-lines.js';

export type TomlTable = Readonly<Record<string, unknown>>;

/** A key that a table may have. */
export interface KnownKey {
  readonly key: string;
  readonly kind: Kind<unknown>;
}

/** A TOML file that people write, and what is said of its mistakes: `FILE:LINE: key: what is wrong`. */
export class TomlDocument {
  readonly root: TomlTable;
  readonly #lineOf: (path: TomlPath) => number;

  /** Throws CommandError for what is no TOML. */
  constructor(
    private readonly file: string,
    text: string,
  ) {
    try {
      this.root = parse(text);
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      // Below its first line it draws the place.
      const what = error.message.split('\n')[0]?.replace(/^Invalid TOML document: /, '') ?? '';
      throw new CommandError(`${file}:${error.line}: ${what}`, { cause: error });
    }
    this.#lineOf = tomlLines(text);
  }

  wrong(at: TomlPath, what: string, options?: ErrorOptions): CommandError {
    const key = at.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('');
    return new CommandError(`${this.file}:${this.#lineOf(at)}: ${key.replace(/^\./, '')}: ${what}`, options);
  }

  /** Throws CommandError unless it is a table. */
  table(at: TomlPath, value: unknown): TomlTable {
    const isTable = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isTable && !(value instanceof TomlDate)) return value as TomlTable;
    throw this.wrong(at, 'expected a table');
  }

  /**
   * Reads every key of a table. Throws CommandError for those that are none of `known`, and for bad values. `others` may
   * be beside them; they have been taken out.
   */
  values(
    at: TomlPath,
    table: TomlTable,
    known: readonly KnownKey[],
    others: readonly string[],
  ): Map<string, unknown> {
    const given = new Map<string, unknown>();
    for (const [key, value] of Object.entries(table)) {
      const found = known.find((one) => one.key === key);
      if (found === undefined) {
        const names = [...others, ...known.map((one) => one.key)].join(', ');
        throw this.wrong([...at, key], `no such key; there are ${names}`);
      }
      given.set(
        key,
        this.attempt([...at, key], () => readFileValue(found.kind, value)),
      );
    }
    return given;
  }

  /** What `read` throws over something that people wrote is told as a mistake at this place. */
  attempt<Result>(at: TomlPath, read: () => Result): Result {
    try {
      return read();
    } catch (error) {
      const isTheirs = error instanceof InvalidArgumentError || error instanceof UsageError;
      if (!isTheirs && !isExpected(error)) throw error;
      throw this.wrong(at, error.message, { cause: error });
    }
  }
}
