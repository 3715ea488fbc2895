import { Registers, type ReadSnapshot, type SectorRange, type WriteRecord } from '../../sim/registers.js';
import { NBD_COMMAND } from '../../src/protocol/nbd.js';
import { headOf } from '../support/image-head.js';
import { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { fillSectors, readSector, SECTOR_BYTES, ZEROES } from './blocks.js';
import { Connection, ConnectionLost, RequestFailed } from './connection.js';

/** Clients of the mirror at a time, and what each has under way. */
const CLIENTS = 2;
const DEPTH = 4;
/** Most requests go to a few places, so that they meet. */
const PLACES = 12;
const PLACE_SECTORS = 256;
const REQUEST_SECTORS_MAX = 128;
const PAUSE_MS_MAX = 60;
const RECONNECT_MS = 50;
/** More than there ever are in a run. */
const FORK_WRITES = 10_000_000;
/** More than any request may take. */
const STOP_MS = 120_000;

export interface WorkloadOptions {
  readonly seed: number;
  readonly name: string;
  readonly nbdPath: string;
  readonly mediaSizeBytes: number;
  /** What is before it is somebody else's. */
  readonly fromBytes: number;
  /** Something is wrong with the mirror. */
  readonly broken: (what: string) => void;
  /** As the event log tells the time. */
  readonly seconds: () => string;
}

/**
 * Clients that read and write at random, and check that each sector says what a disk would say: the last write that was
 * answered, or one under way with it. Programs are killed, but no kernel is, so what was answered survives without a flush.
 */
export class Workload {
  readonly mediaSizeBytes: number;
  #nbdPath: string;
  #registers = new Registers();
  readonly #connections = new Set<Connection>();
  readonly #places: readonly number[];
  readonly #firstSector: number;
  readonly #sectorCount: number;
  #ended: Promise<unknown> = Promise.resolve();
  #isStopping = false;
  #mayFail = false;
  /** Orders everything that happens. */
  #now = 1;
  #writeNumber = 1;
  counts = { reads: 0, writes: 0, flushes: 0, lost: 0, failed: 0 };
  #slowestMs = 0;
  /** By their numbers. */
  #history = new Map<number, string>();

  constructor(private readonly options: WorkloadOptions) {
    this.mediaSizeBytes = options.mediaSizeBytes;
    this.#nbdPath = options.nbdPath;
    this.#firstSector = options.fromBytes / SECTOR_BYTES;
    this.#sectorCount = Math.floor(options.mediaSizeBytes / SECTOR_BYTES);
    const random = new SeededRandom(options.seed);
    this.#places = Array.from({ length: PLACES }, () => this.#place(random));
  }

  /** From now on clients connect there; those that are connected stay until they are sent away. */
  moveTo(nbdPath: string): void {
    this.#nbdPath = nbdPath;
  }

  /**
   * Nobody writes. The same clients on another mirror, which is what this one has been so far: from now on the two know
   * nothing of each other.
   */
  fork(nbdPath: string): Workload {
    const other = new Workload({ ...this.options, nbdPath });
    other.#registers = this.#registers.copy();
    other.#history = new Map(this.#history);
    other.counts = { ...this.counts };
    // What either writes is told apart, and done in another order.
    other.#writeNumber = this.#writeNumber + FORK_WRITES;
    other.#now = this.#now + FORK_WRITES;
    return other;
  }

  /** With `mayFail` a request may be answered with an error: nobody knows then whether it has happened. */
  start({ mayFail = false } = {}): void {
    this.#isStopping = false;
    this.#mayFail = mayFail;
    const clients = Array.from({ length: CLIENTS }, (_, index) =>
      this.#client(new SeededRandom(this.options.seed + 1000 * (index + 1) + this.#now)),
    );
    this.#ended = Promise.all(clients);
  }

  /** Resolves when no request is under way. Rejects if clients are neither let in nor sent away. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    let areOver = false;
    const ended = this.#ended.then(() => (areOver = true));
    await until('all clients to come to their end', () => areOver, STOP_MS);
    await ended;
  }

  get slowestMs(): number {
    return this.#slowestMs;
  }

  /** What is known of a write. */
  tell(number: number): string {
    return `write ${number}: ${this.#history.get(number) ?? 'none of ours'}`;
  }

  overdue(runningSinceMs: number, boundMs: number): string[] {
    return [...this.#connections].flatMap((one) => one.overdue(runningSinceMs, boundMs));
  }

  /** Gives up what is unanswered. */
  abandon(): void {
    this.#isStopping = true;
    for (const connection of this.#connections) connection.close();
  }

  /** Reads everything, alone, and flushes. */
  async readAll(): Promise<void> {
    const connection = await Connection.open(this.#nbdPath, this.options.name);
    this.#connections.add(connection);
    try {
      for (let firstSector = this.#firstSector; firstSector < this.#sectorCount; firstSector += 2048) {
        const sectorCount = Math.min(2048, this.#sectorCount - firstSector);
        await this.#read(connection, { firstSector, sectorCount });
      }
      await this.#flush(connection);
    } finally {
      this.#connections.delete(connection);
      connection.close();
    }
  }

  /** Nobody writes. Throws if an image has not what a mirror of it alone would have to say. */
  judge(image: string): void {
    const data = headOf(image, this.#sectorCount * SECTOR_BYTES);
    const range = { firstSector: this.#firstSector, sectorCount: this.#sectorCount - this.#firstSector };
    const snapshot = this.#registers.startRead(range, this.#now++);
    this.#expectPossible(snapshot, data.subarray(range.firstSector * SECTOR_BYTES), image);
  }

  /** Over one connection after the other, as each is lost with the daemon. */
  async #client(random: SeededRandom): Promise<void> {
    while (!this.#isStopping) {
      const connection = await Connection.open(this.#nbdPath, this.options.name).catch(() => null);
      if (connection === null) {
        await delay(RECONNECT_MS);
        continue;
      }
      this.#connections.add(connection);
      await Promise.all(Array.from({ length: DEPTH }, () => this.#work(connection, random)));
      this.#connections.delete(connection);
      this.#slowestMs = Math.max(this.#slowestMs, connection.slowestMs);
      connection.close();
    }
  }

  /** Until the connection is lost, or all is to end. */
  async #work(connection: Connection, random: SeededRandom): Promise<void> {
    while (!this.#isStopping && !connection.isLost) {
      try {
        await this.#step(connection, random);
      } catch (error) {
        if (error instanceof ConnectionLost) this.counts.lost += 1;
        else if (error instanceof RequestFailed && this.#mayFail) this.counts.failed += 1;
        else {
          this.#break(error instanceof Error ? error.message : String(error));
          return;
        }
      }
      await delay(random.below(PAUSE_MS_MAX));
    }
  }

  async #step(connection: Connection, random: SeededRandom): Promise<void> {
    const range = this.#range(random);
    const kind = random.below(100);
    if (kind < 45) await this.#write(connection, range, false);
    else if (kind < 50) await this.#write(connection, range, true);
    else if (kind < 92) await this.#read(connection, range);
    else await this.#flush(connection);
  }

  #range(random: SeededRandom): SectorRange {
    const isHot = random.chance(0.9);
    const place = isHot ? random.pick(this.#places) : this.#place(random);
    // Small ones are the rule; sectors of 4096 bytes, as file systems write them, more than others.
    const unit = random.chance(0.7) ? 8 : 1;
    const lengthMax = random.chance(0.8) ? 8 : REQUEST_SECTORS_MAX / unit;
    const sectorCount = unit * (1 + random.below(lengthMax));
    const firstSector = place + random.below(PLACE_SECTORS - sectorCount);
    return { firstSector: firstSector - (firstSector % unit), sectorCount };
  }

  #place(random: SeededRandom): number {
    const sectorCount = this.#sectorCount - this.#firstSector - PLACE_SECTORS;
    return this.#firstSector + random.below(sectorCount);
  }

  async #write(connection: Connection, range: SectorRange, isZeroes: boolean): Promise<void> {
    const number = this.#writeNumber++;
    const record: WriteRecord = {
      ...range,
      number,
      value: isZeroes ? ZEROES : number,
      issuedAt: this.#now++,
      endedAt: Infinity,
    };
    const [offsetBytes, lengthBytes] = [range.firstSector * SECTOR_BYTES, range.sectorCount * SECTOR_BYTES];
    this.#registers.issue(record);
    const { firstSector, sectorCount } = range;
    const issued = `${sectorCount} sectors from ${firstSector} on, issued at ${this.options.seconds()}`;
    this.#history.set(number, issued);
    try {
      if (isZeroes) await connection.request({ command: NBD_COMMAND.writeZeroes, offsetBytes, lengthBytes });
      else {
        const payload = Buffer.alloc(lengthBytes);
        fillSectors(payload, range.firstSector, number, this.options.seed);
        await connection.request({ command: NBD_COMMAND.write, offsetBytes }, payload);
      }
    } catch (error) {
      this.#registers.abort(record, this.#now++);
      this.#history.set(number, `${issued}, lost at ${this.options.seconds()}`);
      throw error;
    }
    this.#registers.acknowledge(record, this.#now++);
    this.#history.set(number, `${issued}, answered at ${this.options.seconds()}`);
    this.counts.writes += 1;
  }

  async #read(connection: Connection, range: SectorRange): Promise<void> {
    const [offsetBytes, lengthBytes] = [range.firstSector * SECTOR_BYTES, range.sectorCount * SECTOR_BYTES];
    const snapshot = this.#registers.startRead(range, this.#now++);
    const { data } = await connection.request({ command: NBD_COMMAND.read, offsetBytes, lengthBytes });
    this.#expectPossible(snapshot, data, 'read');
    this.counts.reads += 1;
  }

  #expectPossible(snapshot: ReadSnapshot, data: Buffer, where: string): void {
    for (let at = 0; at < snapshot.sectorCount; at++) {
      const sector = snapshot.firstSector + at;
      const said = readSector(data, at * SECTOR_BYTES, sector, this.options.seed);
      const wrong = typeof said === 'string' ? said : this.#registers.endRead(snapshot, at, said);
      if (wrong !== null) throw new Error(`${where}, sector ${sector}: ${wrong}`);
    }
  }

  async #flush(connection: Connection): Promise<void> {
    const startedAt = this.#now++;
    await connection.request({ command: NBD_COMMAND.flush });
    this.#registers.flushed(startedAt);
    this.counts.flushes += 1;
  }

  #break(what: string): void {
    this.#isStopping = true;
    this.options.broken(what);
  }
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
