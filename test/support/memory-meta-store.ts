import type { LabelState, MetaStore, SuperblockChange } from '../../src/mirror/area/meta-store.js';
import { RegionBitmap } from '../../src/mirror/area/region-bitmap.js';
import type { Superblock } from '../../src/protocol/superblock.js';

/** What a component remembers, in memory: what was written, and what of that was flushed. */
export class MemoryMetaStore implements MetaStore {
  superblock: Superblock;
  log: readonly number[] = [];
  label: LabelState = { genid: 0, syncid: 1, isDirty: false, isSynchronizing: false };
  /** By slot: the marked regions. */
  readonly bitmaps = new Map<number, Set<number>>();
  /** What survives a loss of power. */
  durable: {
    superblock: Superblock;
    log: readonly number[];
    bitmaps: ReadonlyMap<number, ReadonlySet<number>>;
  };
  readonly steps: string[] = [];
  /** Called before each step, which waits for it; what it throws is the step's error. */
  before: (step: string) => void | Promise<void> = () => undefined;

  constructor(superblock: Superblock) {
    this.superblock = superblock;
    this.durable = { superblock, log: [], bitmaps: new Map() };
  }

  readLog(): readonly number[] {
    return this.log;
  }

  readBitmap(slot: number): Promise<RegionBitmap> {
    const bitmap = new RegionBitmap(this.superblock.mediaSizeBytes);
    for (const region of this.bitmaps.get(slot) ?? []) bitmap.markRegion(region);
    return Promise.resolve(bitmap);
  }

  writeSuperblock(change: SuperblockChange): Promise<void> {
    return this.#step('superblock', () => {
      this.superblock = { ...this.superblock, ...change, sequence: this.superblock.sequence + 1 };
    });
  }

  writeLog(extents: readonly number[]): Promise<void> {
    const copy = [...extents];
    return this.#step('log', () => {
      this.log = copy;
    });
  }

  writeBitmap(slot: number, bitmap: RegionBitmap): Promise<void> {
    const marked = new Set<number>();
    for (let region = bitmap.nextMarked(0); region >= 0; region = bitmap.nextMarked(region + 1))
      marked.add(region);
    return this.#step('bitmap', () => void this.bitmaps.set(slot, marked));
  }

  writeLabel(state: LabelState): Promise<void> {
    return this.#step('label', () => {
      this.label = state;
    });
  }

  flush(): Promise<void> {
    return this.#step('flush', () => {
      this.durable = { superblock: this.superblock, log: this.log, bitmaps: new Map(this.bitmaps) };
    });
  }

  async #step(name: string, run: () => void): Promise<void> {
    await Promise.resolve();
    await this.before(name);
    this.steps.push(name);
    run();
  }
}
