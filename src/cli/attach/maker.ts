import type { System } from './system.js';

/** A running mirror, as far as it matters here. */
export interface Target {
  readonly name: string;
  readonly sectorSizeBytes: number;
  /** Where its NBD server listens. */
  readonly nbdPath: string;
  /** Where its ggate server listens without TLS, which ggatec doesn't speak; null if it doesn't. */
  readonly ggate: { readonly host: string; readonly port: number } | null;
}

/** What `attach` has made, or is about to remove. */
export interface Made {
  readonly device: string;
  /** AttachRecord's. */
  readonly pid: number | null;
}

/** One way to make a block device of a mirror. All reject with CommandError. */
export interface Maker {
  /** If it fails, nothing is left behind. */
  make(system: System, target: Target): Promise<Made>;
  /** Whether something of it is there still. */
  isThere(system: System, made: Made): Promise<boolean>;
  /** Whether it still could reach its mirror. */
  isAlive(system: System, made: Made): Promise<boolean>;
  /** Refused when it is in use, unless `isLazy`; then it is gone as soon as nobody uses it. What is gone already is fine. */
  remove(system: System, made: Made, isLazy: boolean): Promise<void>;
}
