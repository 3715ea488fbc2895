import type { BlockIo } from '../device/block-device.js';
import { DeviceError } from '../device/block-device.js';
import { assert } from '../protocol/errors.js';
import type { ByteRange } from '../protocol/geometry.js';
import type { ActivityLog } from './activity-log.js';
import { type BalanceOptions, ReadBalance, type ReadPiece } from './balance.js';
import type { Component } from './component.js';
import type { ComponentSet } from './component-set.js';
import type { Reading } from './mirror-options.js';
import { MirrorRead, type ReadHost } from './mirror-read.js';
import type { RangeHolder, RangeLocks } from './range-locks.js';

export interface MirrorReadsOptions extends Omit<BalanceOptions, 'components'> {
  readonly name: string;
  readonly components: ComponentSet;
  readonly locks: RangeLocks;
  readonly log: ActivityLog;
  readonly drop: (component: Component, error: DeviceError) => void;
  readonly repaired: (component: Component, what: string) => void;
}

/** Chooses who answers a read, goes to the next one if that fails, and repairs what could not be read. */
export class MirrorReads implements ReadHost {
  /** Its components are named by their index among all. */
  #balance: ReadBalance;

  constructor(private readonly options: MirrorReadsOptions) {
    this.#balance = this.#newBalance(options);
  }

  /** To be called when components came or went, or reads are to be answered in another way. */
  reset(how: Reading): void {
    this.#balance = this.#newBalance(how);
    this.statesChanged();
  }

  #newBalance({ algorithm, sliceBytes }: Reading): ReadBalance {
    const components = this.options.components.all.map(({ identity }) => identity);
    return new ReadBalance({ ...this.options, algorithm, sliceBytes, components });
  }

  /** To be called when a component's state has changed. */
  statesChanged(): void {
    this.options.components.all.forEach(({ state, takesWrites }, index) => {
      this.#balance.setState(index, state === 'ACTIVE' ? 'ACTIVE' : takesWrites ? 'CONNECTED' : 'ABSENT');
    });
  }

  /** The ACTIVE component that reads go to first, if it is not for load or turns to decide. */
  get preferred(): Component {
    const component = this.options.components.all[this.#balance.chooseOther(() => false)];
    assert(component !== undefined, `${this.options.name}: nobody to read from`);
    return component;
  }

  /** Starts a read or a checksum. io.done is called once, and never within this call. */
  start(io: BlockIo): void {
    if (io.op === 'checksum') {
      this.#send(
        io,
        this.options.components.active.find(({ can }) => can.checksum),
      );
      return;
    }
    const pieces = this.#balance.chooseRead(io.offsetBytes, io.lengthBytes);
    const [first] = pieces;
    if (pieces.length > 1)
      this.#startPieces(
        io,
        pieces.map((piece) => ({ ...piece })),
      );
    else this.#send(io, first === undefined ? undefined : this.options.components.all[first.component]);
  }

  #send(io: BlockIo, component: Component | undefined): void {
    if (component !== undefined) {
      new MirrorRead(this, io).start(component);
      return;
    }
    const error = new DeviceError(
      'DEVICE_LOST',
      'ENXIO',
      `${this.options.name} has no component that can ${io.op}`,
    );
    queueMicrotask(() => io.done(error));
  }

  /** The split algorithm: each component answers a part. */
  #startPieces(io: BlockIo, pieces: readonly ReadPiece[]): void {
    let waiting = pieces.length;
    let first: DeviceError | null = null;
    const done = (error: DeviceError | null): void => {
      first ??= error;
      waiting -= 1;
      if (waiting === 0) io.done(first);
    };
    for (const { component, offsetBytes, lengthBytes } of pieces) {
      const bufferAt = io.bufferAt + (offsetBytes - io.offsetBytes);
      const part = { op: io.op, offsetBytes, lengthBytes, buffer: io.buffer, bufferAt, done };
      this.#send(part, this.options.components.all[component]);
    }
  }

  // What a single read needs. See ReadHost.

  chooseOther(read: MirrorRead, failed: readonly Component[]): Component | null {
    const isFit = (component: Component): boolean =>
      !failed.includes(component) && (read.op !== 'checksum' || component.can.checksum);
    return this.options.components.active.find(isFit) ?? null;
  }

  readStarted(component: Component, read: MirrorRead): void {
    const { offsetBytes, lengthBytes } = read;
    this.#balance.readStarted({ component: this.#indexOf(component), offsetBytes, lengthBytes });
  }

  readDone(component: Component): void {
    this.#balance.readDone(this.#indexOf(component));
  }

  readFailed(component: Component, read: MirrorRead, error: DeviceError, isAnswered: boolean): void {
    // Not to be had anywhere: the last copy is as good as any, and stays.
    if (!isAnswered || !component.isConnected) return;
    if (read.op === 'read') this.heal(component, read, error).catch(() => undefined /* it never rejects */);
    else this.options.drop(component, error);
  }

  /**
   * A connected component could not read a range: it is rewritten from another one, or the component is dropped. Resolves
   * when that is over; never rejects.
   */
  async heal(component: Component, range: ByteRange, error: DeviceError): Promise<void> {
    const { drop } = this.options;
    if (error.code !== 'DEVICE_IO') drop(component, error);
    else await this.#repair(component, range, error).catch(() => drop(component, error));
  }

  /**
   * Writes good data over a range that could not be read. What can't be repaired is dropped. It is a write like any
   * other: the extents are hot until it is flushed, for a loss of power may leave the range as bad as it was.
   */
  async #repair(
    component: Component,
    { offsetBytes, lengthBytes }: ByteRange,
    why: DeviceError,
  ): Promise<void> {
    const request = { offsetBytes, lengthBytes, buffer: Buffer.alloc(lengthBytes), bufferAt: 0 };
    await this.#alone(request, async () => {
      const error = (await this.#readElsewhere(component, request)) ?? (await rewrite(component, request));
      if (error !== null) this.options.drop(component, why);
      if (!component.takesData) component.missing.mark(request);
      else if (error === null)
        this.options.repaired(component, `${lengthBytes} bytes at ${offsetBytes}: ${why.message}`);
    });
  }

  /** A read by another component than `component`. What fails in it is not repaired in turn. */
  #readElsewhere(component: Component, request: Rewrite): Promise<DeviceError | null> {
    return new Promise((resolve) => {
      const host: ReadHost = {
        chooseOther: (read, failed) => this.chooseOther(read, [component, ...failed]),
        readStarted: (source, read) => this.readStarted(source, read),
        readDone: (source) => this.readDone(source),
        readFailed: () => undefined,
      };
      const read = new MirrorRead(host, { ...request, op: 'read', done: resolve });
      const source = this.chooseOther(read, [component]);
      if (source === null)
        resolve(new DeviceError('DEVICE_LOST', 'ENXIO', `${this.options.name} has no other copy`));
      else read.start(source);
    });
  }

  /** With the range locked and in the activity log. Rejects if that can't be written. */
  async #alone(range: ByteRange, run: () => Promise<void>): Promise<void> {
    const { locks, log } = this.options;
    const { offsetBytes, lengthBytes } = range;
    const holder = await new Promise<RangeHolder>((resolve) => {
      const mine: RangeHolder = { offsetBytes, lengthBytes, granted: () => resolve(mine) };
      if (locks.acquire(mine)) resolve(mine);
    });
    try {
      await enterLog(log, range);
      await run().finally(() => log.leave(range));
    } finally {
      locks.release(holder);
    }
  }

  #indexOf(component: Component): number {
    const index = this.options.components.all.indexOf(component);
    assert(index >= 0, `${this.options.name}: a component of another mirror`);
    return index;
  }
}

function enterLog(log: ActivityLog, { offsetBytes, lengthBytes }: ByteRange): Promise<void> {
  return new Promise((resolve, reject) => {
    const entered = (error: DeviceError | null): void => (error === null ? resolve() : reject(error));
    if (log.enter({ offsetBytes, lengthBytes, entered })) resolve();
  });
}

type Rewrite = Pick<BlockIo, 'offsetBytes' | 'lengthBytes' | 'buffer' | 'bufferAt'>;

/** Null also if the component is not there any more, and has nothing left to be repaired. */
function rewrite(component: Component, request: Rewrite): Promise<DeviceError | null> {
  if (!component.takesData) return Promise.resolve(null);
  return new Promise((resolve) =>
    component.start({
      ...request,
      op: 'write',
      answered: (_component, error) => {
        if (error === null) component.unflushed.mark(request);
        resolve(error);
      },
    }),
  );
}
