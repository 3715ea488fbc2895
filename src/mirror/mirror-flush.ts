import type { BlockIo } from '../device/block-device.js';
import { DeviceError } from '../device/block-device.js';
import { FlushTurns } from '../device/flush-turns.js';
import { isFlushDenial } from '../device/request.js';
import type { Component, ComponentIo } from './component.js';
import type { MirrorOptions } from './mirror-options.js';
import { RegionBitmap } from './area/region-bitmap.js';

const FLUSH = { op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 } as const;

/**
 * Flushes one component. What it had not flushed when this began is flushed when it resolves; on a failure it still is
 * not, and the caller drops the component or doubts it. A component that can't flush keeps everything as not flushed; one
 * that only now says so is such a component from then on.
 */
export function flushComponent(component: Component): Promise<DeviceError | null> {
  if (!component.can.flush) return Promise.resolve(null);
  const covered = component.unflushed;
  const { doubts } = component;
  component.unflushed = new RegionBitmap(component.mediaSizeBytes);
  return new Promise((resolve) => {
    const io: ComponentIo = {
      ...FLUSH,
      answered(_component, error) {
        if (error !== null) component.unflushed.union(covered);
        // lose() or doubt() has run meanwhile, and has not seen what this flush covered.
        const isLost = error !== null && !component.isConnected;
        if (isLost || component.doubts !== doubts) component.missing.union(covered);
        const isDenied = isFlushDenial(error) && !isLost;
        if (isDenied) component.denyFlush();
        resolve(isDenied ? null : error);
      },
    };
    component.start(io);
  });
}

interface Waiter {
  readonly answer: (error: DeviceError | null) => void;
  /** Not the mirror's own. */
  readonly isCaller: boolean;
  /** What it fails with if it does not fail by itself. */
  owed: DeviceError | null;
}

/**
 * What becomes of a caller's flush: a component in step does it; or none can, and it fails; or none can, and it is
 * answered as good, as the administrator has it.
 */
export type FlushPromise = 'kept' | 'refused' | 'unsafe';

export interface FlushFacts {
  readonly options: Pick<MirrorOptions, 'isUnsafeFlushWanted'>;
  readonly active: readonly Component[];
}

export function flushPromiseOf({ options, active }: FlushFacts): FlushPromise {
  // A mirror that has ended breaks no promise.
  const isOver = !active.some(({ isConnected }) => isConnected);
  if (isOver || active.some(({ can }) => can.flush)) return 'kept';
  return options.isUnsafeFlushWanted === true ? 'unsafe' : 'refused';
}

const notKept = (): DeviceError =>
  new DeviceError(
    'DEVICE_IO',
    'EOPNOTSUPP',
    'no component in step can flush, so nothing tells that writes are safe',
  );

export interface FlushHost {
  readonly options: Pick<MirrorOptions, 'events' | 'isUnsafeFlushWanted'>;
  readonly targets: readonly Component[];
  /** A loss is not recorded yet; until then nothing is answered. */
  readonly mustWait: boolean;
  /** See Mirror.drop(). */
  drop(component: Component, error: DeviceError): boolean;
  /** For the last ACTIVE one, which has failed. */
  doubt(component: Component): void;
  /** Resolves when every loss so far is recorded. */
  lossesRecorded(): Promise<void>;
}

/** The caller's flushes, and the mirror's own. */
export class MirrorFlush {
  readonly #turns = new FlushTurns<Waiter>({
    begin: () => this.#begin(),
    answer: (waiters, error) => this.#answer(waiters, error),
  });
  /**
   * A flush of the mirror's own has failed where there was no other component. Systems tell of lost writes once, so the
   * next flush may succeed although they are gone: the caller's next flush fails in its place.
   */
  #owed: DeviceError | null = null;
  /** A component that was in step at the end of the last flush has done it. */
  #isKept = false;

  constructor(private readonly host: FlushHost) {}

  start(io: BlockIo): void {
    const answer = (told: DeviceError | null): void => {
      if (this.host.mustWait) this.#answerWhenRecorded(io, told);
      else io.done(told);
    };
    this.#turns.add({ answer, isCaller: true, owed: null });
  }

  /** Not for run(): the journal itself waits for that one. */
  #answerWhenRecorded(io: BlockIo, told: DeviceError | null): void {
    this.host.lossesRecorded().then(
      () => io.done(told),
      (error: unknown) => io.done(told ?? (error as DeviceError)),
    );
  }

  /** A component failed outside of flushes. If it has the only good copy, nobody else has been told. True then. */
  owe(component: Component, error: DeviceError): boolean {
    if (component.state !== 'ACTIVE') return false;
    this.#owed ??= error;
    this.host.doubt(component);
    return true;
  }

  /** The mirror has ended, and no flush will come that could fail in place of one of the mirror's own: throws that. */
  tellAtEnd(): void {
    const owed = this.#owed;
    this.#owed = null;
    if (owed !== null) throw owed;
  }

  /** Of the mirror's own. Those that can't flush do not fail it: what they were sent stays noted as not flushed. */
  async run(): Promise<void> {
    const error = await new Promise<DeviceError | null>((resolve) => {
      this.#turns.add({ answer: resolve, isCaller: false, owed: null });
    });
    if (error !== null) throw error;
  }

  #begin(): void {
    this.#flush().then(
      (error) => this.#turns.ended(error),
      (error: unknown) => this.#turns.ended(error as DeviceError),
    );
  }

  #answer(waiters: readonly Waiter[], error: DeviceError | null): void {
    const callers = waiters.filter(({ isCaller }) => isCaller);
    const owed = this.#owed;
    if (callers.length === 0) this.#owed ??= error;
    else {
      this.#owed = null;
      // Whoever has asked by now may count on the same writes.
      for (const asked of [...callers, ...this.#turns.running]) if (asked.isCaller) asked.owed ??= owed;
    }
    const isVain = !this.#isKept && this.host.options.isUnsafeFlushWanted !== true;
    for (const waiter of waiters) {
      const told = error ?? waiter.owed;
      waiter.answer(told === null && waiter.isCaller && isVain ? notKept() : told);
    }
  }

  async #flush(): Promise<DeviceError | null> {
    const { host } = this;
    const targets = [...host.targets];
    const able = targets.filter(({ can }) => can.flush);
    const errors = await Promise.all(targets.map(flushComponent));
    const failures = targets.flatMap((component, index) => {
      const error = errors[index] ?? null;
      return error === null ? [] : [{ component, error }];
    });
    const good = targets.filter(({ state }, index) => errors[index] === null && state === 'ACTIVE');
    this.#isKept = good.some(({ can }) => can.flush);
    const denied = able.filter(({ isConnected, can }) => isConnected && !can.flush);
    for (const component of denied)
      host.options.events.changed('unable to flush', component, component.trouble);
    for (const { component, error } of failures) this.#failed(component, error);
    if (good.length > 0) return null;
    return (
      failures[0]?.error ?? new DeviceError('DEVICE_LOST', 'ENXIO', 'the mirror has no ACTIVE component')
    );
  }

  #failed(component: Component, error: DeviceError): void {
    const { host } = this;
    if (!component.isConnected || host.drop(component, error)) return;
    host.doubt(component);
    // Not waited for: the journal may wait for this flush itself.
    host.lossesRecorded().catch(() => undefined /* nothing is answered until it is recorded */);
  }
}
