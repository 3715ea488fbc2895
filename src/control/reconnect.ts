import { DeviceError } from '../device/block-device.js';
import { doneWithin, type Clock, type Timer } from '../device/clock.js';
import type { Component } from '../mirror/component.js';
import type { Arrival, Mirror } from '../mirror/mirror.js';
import { messageOf } from '../protocol/errors.js';
import type { ServerLog } from '../server/server-log.js';
import { RECONNECT_FIRST_MS, RECONNECT_MAX_MS } from './limits.js';

export interface ReconnectOptions {
  readonly mirror: Mirror;
  readonly reopen: (component: Component) => Promise<Arrival>;
  /** AssembledMirror's. */
  readonly look: (component: Component) => Promise<Arrival | null>;
  readonly clock: Clock;
  readonly log: ServerLog;
}

interface Effort {
  /** Of the next attempt; doubles with each one that leads to nothing. */
  delayMs: number;
  timer: Timer | null;
  attempt: Promise<void> | null;
  /** Neither side may be touched before a person has decided. */
  isHopeless: boolean;
  /** Somebody asked for a resync that would not begin by itself. */
  isResyncWanted: boolean;
  /** As it was logged last. */
  reason: string | null;
}

/**
 * Brings components back that went away. Invariant: a DISCONNECTED component that is not hopeless has a timer or an
 * attempt, from start() to stop().
 */
export class Reconnect {
  readonly #efforts = new Map<Component, Effort>();
  /** Those under way, also of components that were forgotten meanwhile. None rejects. */
  readonly #attempts = new Set<Promise<void>>();
  #isStopped = false;

  constructor(private readonly options: ReconnectOptions) {}

  start(): void {
    for (const component of this.options.mirror.components) {
      this.#effortOf(component).isHopeless = component.refused !== null;
      this.#schedule(component);
    }
  }

  /** For MirrorEvents.changed. */
  changed(what: string, component: Component): void {
    const effort = this.#effortOf(component);
    if (what === 'rebuilt') effort.delayMs = RECONNECT_FIRST_MS;
    if (what === 'disconnected') this.#schedule(component);
  }

  /** The next time that it comes it is resynced, also if that would not happen by itself; and that time is soon. */
  wantResync(component: Component): void {
    const effort = this.#effortOf(component);
    effort.isResyncWanted = true;
    effort.isHopeless = false;
    effort.delayMs = RECONNECT_FIRST_MS;
    effort.timer?.cancel();
    effort.timer = null;
    this.#schedule(component);
  }

  /** It may come back again, soon. */
  wake(component: Component): void {
    const effort = this.#effortOf(component);
    effort.isHopeless = false;
    effort.delayMs = RECONNECT_FIRST_MS;
    this.#schedule(component);
  }

  /**
   * Opens it now, and what was written to it without the mirror is given up. Resolves when it was taken in, or could not
   * be, which its state and trouble tell; then nothing of it was changed.
   */
  async discard(component: Component): Promise<void> {
    const effort = this.#effortOf(component);
    effort.timer?.cancel();
    effort.timer = null;
    await effort.attempt;
    if (this.#isStopped || component.isConnected || !component.isWanted) return;
    component.isDiscarded = true;
    effort.isResyncWanted = true;
    this.#begin(component, effort, () => {
      // What was said holds for what was seen then, not for what it becomes.
      if (!component.isConnected) [component.isDiscarded, effort.isResyncWanted] = [false, false];
    });
    await effort.attempt;
  }

  /** Resolves when no attempt is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const { timer } of this.#efforts.values()) timer?.cancel();
    await Promise.all(this.#attempts);
  }

  /**
   * Resolves when no attempt of now is under way any more, and nothing is open that it has opened; after `boundMs` also if
   * a disk hangs.
   */
  async attemptsOver(boundMs: number): Promise<void> {
    await doneWithin(Promise.all(this.#attempts), boundMs, this.options.clock);
  }

  #effortOf(component: Component): Effort {
    let effort = this.#efforts.get(component);
    if (effort === undefined) {
      effort = {
        delayMs: RECONNECT_FIRST_MS,
        timer: null,
        attempt: null,
        isHopeless: false,
        isResyncWanted: false,
        reason: null,
      };
      this.#efforts.set(component, effort);
    }
    return effort;
  }

  #schedule(component: Component): void {
    const effort = this.#effortOf(component);
    if (this.#isStopped || component.isConnected || effort.isHopeless) return;
    if (!component.isWanted || !this.options.mirror.components.includes(component)) {
      this.#efforts.delete(component);
      return;
    }
    if (effort.timer !== null || effort.attempt !== null) return;
    const { delayMs } = effort;
    effort.delayMs = Math.min(2 * delayMs, RECONNECT_MAX_MS);
    effort.timer = this.options.clock.after(delayMs, () => {
      effort.timer = null;
      if (component.isConnected || !component.isWanted) return;
      this.#begin(component, effort);
    });
  }

  #begin(component: Component, effort: Effort, ended: () => void = () => undefined): void {
    const attempt = this.#try(component, effort).finally(() => {
      this.#attempts.delete(attempt);
      effort.attempt = null;
      ended();
      this.#schedule(component);
    });
    this.#attempts.add(attempt);
    effort.attempt = attempt;
  }

  /** Never rejects. */
  async #try(component: Component, effort: Effort): Promise<void> {
    const { mirror, reopen, log } = this.options;
    try {
      const arrival = await reopen(component);
      if (this.#isStopped) {
        await arrival.media.close();
        return;
      }
      effort.isHopeless = await this.#arrive(component, arrival, effort);
      effort.reason = null;
    } catch (error) {
      const reason = messageOf(error);
      if (isBusy(error)) await this.#look(component);
      // What it was refused for says more, unless a person has settled that.
      if (!component.isConnected && (component.refused === null || component.isDiscarded))
        component.trouble = reason;
      // It may stay away for days; a line for each attempt would say nothing new.
      if (reason !== effort.reason)
        log.warn({ mirror: mirror.name, component: component.name, reason }, 'not back yet');
      effort.reason = reason;
    }
  }

  /** Somebody else uses it; if that is its own mirror, on another machine, it is to be known. Never rejects. */
  async #look(component: Component): Promise<void> {
    try {
      const seen = await this.options.look(component);
      if (this.#isStopped) await seen?.media.close();
      else if (seen !== null) await this.options.mirror.returns.look(component, seen);
    } catch {
      // Nobody can look; the next attempt may.
    }
  }

  /** True if only a person can help. */
  async #arrive(component: Component, arrival: Arrival, effort: Effort): Promise<boolean> {
    const { mirror } = this.options;
    let outcome: Awaited<ReturnType<Mirror['arrive']>>;
    try {
      outcome = await mirror.arrive(component, arrival);
    } catch (error) {
      if (!component.isConnected) await arrival.media.close().catch(() => undefined /* it is given up */);
      throw error;
    }
    if (outcome === 'STALE' && effort.isResyncWanted && component.state === 'STALE')
      await mirror.startResync(component);
    if (component.isConnected) effort.isResyncWanted = false;
    return component.refused !== null;
  }
}

const isBusy = (error: unknown): boolean => error instanceof DeviceError && error.errno === 'EBUSY';

/** What an administrator's rebuild drops a component with. */
export const droppedForRebuild = (component: Component): DeviceError =>
  new DeviceError('DEVICE_CLOSED', 'ENXIO', `${component.name} is to be rebuilt`);
