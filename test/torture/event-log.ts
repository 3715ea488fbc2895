import { appendFileSync } from 'node:fs';

/** What was done to whom, and when: printed when a run fails. */
export class EventLog {
  readonly #lines: string[] = [];
  readonly #counts = new Map<string, number>();
  readonly #startedMs = performance.now();

  /** `tell` gets each line as it comes. */
  constructor(
    private readonly path: string,
    private readonly tell: ((line: string) => void) | null,
  ) {}

  get seconds(): string {
    return ((performance.now() - this.#startedMs) / 1000).toFixed(2);
  }

  /** Something that is only told. */
  note(what: string): void {
    const line = `${this.seconds.padStart(8)} ${what}`;
    this.#lines.push(line);
    appendFileSync(this.path, `${line}\n`);
    this.tell?.(line);
  }

  /** A trouble of this kind has happened. */
  count(kind: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** How often there was which trouble. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }
}
