import type { Happened } from './happened.js';
import type { Mistake } from './mistakes.js';

export interface TortureOptions {
  readonly seed: number;
  readonly seconds: number;
  /** An empty one, which is the caller's to remove. */
  readonly folder: string;
  /** Gets each event as it happens. */
  readonly tell: ((line: string) => void) | null;
  /** To show that it is found. */
  readonly mistake?: Mistake | undefined;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

export interface TortureResult {
  /** What was wrong; null if nothing was. */
  readonly problem: string | null;
  readonly summary: string;
  /** How often each kind of trouble has happened, and what came of it. */
  readonly happened: Happened;
  readonly events: readonly string[];
}
