import { parse } from 'smol-toml';

/** Where a key or an element is: ['mirror', 'sites', 'components', 1, 'timeout']. */
export type TomlPath = readonly (string | number)[];

/**
 * Finds the lines of keys in a TOML document, for messages: a parser that gives values does not give their places. Only
 * for text that has been parsed without an error.
 */
export function tomlLines(text: string): (path: TomlPath) => number {
  const lines = new LineScan(text).run();
  return (path) => {
    // What has no line of its own, such as a missing key, is told at the line of what it should be in.
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(keyOf(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  };
}

const keyOf = (path: TomlPath): string => JSON.stringify(path);

/** Reads tables, keys, arrays and inline tables, and goes over all other values without looking at them. */
class LineScan {
  readonly #lines = new Map<string, number>();
  /** How many tables `[[NAME]]` there were so far. */
  readonly #arrayTables = new Map<string, number>();
  #at = 0;
  #line = 1;

  constructor(private readonly text: string) {}

  run(): ReadonlyMap<string, number> {
    let table: TomlPath = [];
    this.#skipBlank();
    while (this.#at < this.text.length) {
      if (this.#peek() === '[') table = this.#readHeader();
      else this.#readPair(table);
      this.#skipBlank();
    }
    return this.#lines;
  }

  /** `[a.b]` or `[[a.b]]`. */
  #readHeader(): TomlPath {
    const line = this.#line;
    const isArray = this.text.startsWith('[[', this.#at);
    this.#at += isArray ? 2 : 1;
    const path = this.#readKey(']');
    this.#at += isArray ? 2 : 1;
    let table = this.#inLastElements(path);
    if (isArray) {
      const index = this.#arrayTables.get(keyOf(table)) ?? 0;
      this.#arrayTables.set(keyOf(table), index + 1);
      table = [...table, index];
    }
    this.#note([], table, line);
    return table;
  }

  /** `[a.b]` below `[[a]]` is of the last one. */
  #inLastElements(path: readonly string[]): TomlPath {
    let found: TomlPath = [];
    for (const [index, part] of path.entries()) {
      found = [...found, part];
      const count = this.#arrayTables.get(keyOf(found));
      if (count !== undefined && index < path.length - 1) found = [...found, count - 1];
    }
    return found;
  }

  #readPair(table: TomlPath): void {
    const line = this.#line;
    const path = this.#readKey('=');
    this.#at += 1;
    this.#note(table, path, line);
    this.#readValue([...table, ...path]);
  }

  /** A key up to `end`, which follows. */
  #readKey(end: string): string[] {
    const from = this.#at;
    while (this.#at < this.text.length && this.#peek() !== end) {
      if (this.#isQuote()) this.#skipString();
      else this.#at += 1;
    }
    // The parser knows how parts are quoted: it is given the key alone.
    const parts: string[] = [];
    let value: unknown = parse(`${this.text.slice(from, this.#at)} = 0`);
    while (typeof value === 'object' && value !== null) {
      const [part, inner] = Object.entries(value)[0] as [string, unknown];
      parts.push(part);
      value = inner;
    }
    return parts;
  }

  #readValue(path: TomlPath): void {
    this.#skipBlank();
    if (this.#isQuote()) this.#skipString();
    else if (this.#peek() === '[') this.#readList(']', (index) => this.#readElement(path, index));
    else if (this.#peek() === '{') this.#readList('}', () => this.#readPair(path));
    else this.#skipBare();
  }

  /** A number, a word or a date, which may have a blank before its time. */
  #skipBare(): void {
    const bare = /(?:\d{4}-\d\d-\d\d (?=\d))?[^\s,\]}#]+/y;
    bare.lastIndex = this.#at;
    this.#at += bare.exec(this.text)?.[0].length ?? 1;
  }

  #readElement(path: TomlPath, index: number): void {
    this.#note(path, [index], this.#line);
    this.#readValue([...path, index]);
  }

  #readList(end: string, readItem: (index: number) => void): void {
    this.#at += 1;
    for (let index = 0; ; index++) {
      this.#skipBlank();
      if (this.#peek() === end || this.#at >= this.text.length) break;
      readItem(index);
      this.#skipBlank();
      if (this.#peek() === ',') this.#at += 1;
    }
    this.#at += 1;
  }

  /** White space, line ends and comments. */
  #skipBlank(): void {
    for (;;) {
      const one = this.#peek();
      if (one === '#') while (this.#at < this.text.length && this.#peek() !== '\n') this.#at += 1;
      else if (one === '\n') {
        this.#line += 1;
        this.#at += 1;
      } else if (one !== '' && ' \t\r'.includes(one)) this.#at += 1;
      else return;
    }
  }

  #isQuote(): boolean {
    return this.#peek() === '"' || this.#peek() === "'";
  }

  #skipString(): void {
    const quote = this.#peek();
    const isLong = this.text.startsWith(quote.repeat(3), this.#at);
    const end = isLong ? quote.repeat(3) : quote;
    this.#at += end.length;
    while (this.#at < this.text.length && !this.text.startsWith(end, this.#at)) {
      if (this.#peek() === '\\' && quote === '"') this.#at += 1;
      if (this.#peek() === '\n') this.#line += 1;
      this.#at += 1;
    }
    this.#at += end.length;
    // A long string may end with quotes of its own.
    while (isLong && this.#peek() === quote) this.#at += 1;
  }

  /** The text of one UTF-16 unit, '' at the end. */
  #peek(): string {
    return this.text.charAt(this.#at);
  }

  #note(table: TomlPath, path: TomlPath, line: number): void {
    for (let length = 1; length <= path.length; length++) {
      const key = keyOf([...table, ...path.slice(0, length)]);
      if (!this.#lines.has(key)) this.#lines.set(key, line);
    }
  }
}
