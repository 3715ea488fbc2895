import { AssembleError } from '../src/mirror/assemble.js';
import type { Component } from '../src/mirror/component.js';
import type { Chance } from './chance.js';
import type { Client } from './client.js';
import type { Cluster } from './cluster.js';
import { Daemon, type MirrorSettings } from './daemon.js';
import type { Host } from './host.js';
import type { Restart } from './plan.js';
import type { Registers } from './registers.js';

export interface OperatorOptions {
  readonly cluster: Cluster;
  readonly settings: MirrorSettings;
  readonly chance: Chance;
  readonly client: Client;
  readonly registers: Registers;
}

const RETRY_MS = 1000;

/**
 * Starts the mirror, kills and stops it, and knows which components have all that was acknowledged: only from one of
 * those it starts without the others.
 */
export class Operator {
  #daemon: Daemon | null = null;
  #isUp = false;
  /** Slots of the components that are in step, or were when the mirror ended. */
  readonly #inStep = new Set<number>();
  /** By slot: since when it is attached, in the order of the world. */
  readonly #attachedAt = new Map<number, number>();
  /** A start was cut off: who was the source then is not known. */
  #needsAll = false;
  #restart: Restart | null = null;
  #wantedSinceMs = 0;
  #startCount = 0;

  constructor(private readonly options: OperatorOptions) {
    for (const [slot] of options.cluster.hosts.entries()) this.#inStep.add(slot);
  }

  /** The mirror that runs, with its client; null if none does. */
  get daemon(): Daemon | null {
    return this.#isUp ? this.#daemon : null;
  }

  get inStep(): readonly number[] {
    return [...this.#inStep].sort((one, other) => one - other);
  }

  /** Whether the mirror's end now would be one in the middle of a start. */
  get isStarting(): boolean {
    return this.#daemon !== null && !this.#isUp;
  }

  runsOn(host: Host): boolean {
    return this.#daemon?.host === host;
  }

  /** Keeps trying until the mirror runs. */
  want(restart: Restart): void {
    const { world } = this.options.cluster;
    this.#restart = restart;
    this.#wantedSinceMs = world.nowMs + restart.afterMs;
    world.after(restart.afterMs, () => {
      if (this.#restart === restart) this.#try(restart);
    });
  }

  /** The process ends this very moment. */
  kill(restart: Restart): void {
    const daemon = this.#daemon;
    if (daemon === null) return;
    daemon.process.kill();
    this.#ended(restart);
  }

  /** Ends the mirror cleanly; nothing new is asked of it meanwhile. */
  stop(restart: Restart): void {
    const daemon = this.#daemon;
    const { client, registers, cluster } = this.options;
    const { world } = cluster;
    if (daemon === null || !this.#isUp || daemon.isStopping) return;
    daemon.isStopping = true;
    const hang = world.after(this.#stopMs, () => {
      if (daemon.process.isAlive) world.fail('the mirror does not stop');
    });
    const stop = async (): Promise<void> => {
      const startedAt = world.nextOrder();
      try {
        await daemon.stop();
        if (this.#daemon !== daemon) return;
        registers.flushed(startedAt);
        world.say(() => 'operator: the mirror is stopped');
      } catch (error) {
        if (this.#daemon !== daemon) return;
        world.say(() => `operator: the stop failed: ${(error as Error).message}`);
        registers.flushFailed(world.nextOrder());
        daemon.process.kill();
      }
      this.#ended(restart);
    };
    const whenQuiet = (): void => {
      if (this.#daemon !== daemon) return;
      if (client.inFlight > 0) world.after(10, whenQuiet);
      else
        stop()
          .finally(() => hang.cancel())
          .catch((error: unknown) => world.fail(error as Error));
    };
    world.after(0, whenQuiet);
  }

  /** Of a stop: the time-outs of everything that may hang, one after another. */
  get #stopMs(): number {
    return 120_000 + 4 * this.options.settings.timeoutMs;
  }

  #ended(restart: Restart): void {
    const { cluster, client } = this.options;
    if (!this.#isUp) this.#needsAll = true;
    cluster.world.say(() => `operator: the mirror has ended, in step: ${this.inStep.join(', ')}`);
    this.#daemon = null;
    this.#isUp = false;
    client.forget();
    this.want(restart);
  }

  #try(restart: Restart): void {
    const { cluster, settings, chance } = this.options;
    const { world } = cluster;
    const host = cluster.host(restart.host);
    if (this.#daemon !== null) return;
    const again = (): void => {
      if (this.#restart === restart) this.#try(restart);
    };
    if (!host.isOn) {
      world.after(RETRY_MS / 2, again);
      return;
    }
    const isImpatient = world.nowMs - this.#wantedSinceMs >= restart.patienceMs;
    const isDegraded = isImpatient && !this.#needsAll && this.#inStep.has(cluster.hosts.indexOf(host));
    // Nobody starts without the others from a disk that fails; the start would go on with what is left.
    if (isDegraded) host.drive.conduct.heal();
    this.#startCount += 1;
    const daemon = new Daemon({
      ...{ cluster, host, settings },
      chance: chance.fork(`start ${this.#startCount}`),
      changed: (what, component, why) => this.#changed(what, component, why),
    });
    this.#daemon = daemon;
    const startedAt = world.nextOrder();
    world.say(
      () => `operator: starts the mirror at ${host.name}${isDegraded ? ', degraded if it must' : ''}`,
    );
    daemon.start(isDegraded).then(
      () => {
        if (this.#daemon === daemon) this.#started(daemon, startedAt);
      },
      (error: unknown) => {
        if (this.#daemon !== daemon) return;
        this.#failedToStart(daemon, error as Error);
        world.after(RETRY_MS, again);
      },
    );
  }

  #started(daemon: Daemon, startedAt: number): void {
    const { cluster, registers } = this.options;
    const { world } = cluster;
    const absent = daemon.slotsIn('DISCONNECTED');
    const isLossy = this.inStep.some(
      (slot) =>
        !absent.includes(slot) && cluster.host(slot).lostPowerAt > (this.#attachedAt.get(slot) ?? Infinity),
    );
    // Whoever of them is the source now, it may have lost what was not flushed.
    if (isLossy) registers.powerLost(world.nextOrder());
    this.#isUp = true;
    this.#needsAll = false;
    this.#inStep.clear();
    for (const slot of daemon.slotsIn('ACTIVE')) {
      this.#inStep.add(slot);
      this.#attachedAt.set(slot, startedAt);
    }
    world.say(
      () => `operator: the mirror runs, in step: ${this.inStep.join(', ')}${isLossy ? ' (lossy)' : ''}`,
    );
  }

  #failedToStart(daemon: Daemon, error: Error): void {
    const { world } = this.options.cluster;
    world.say(() => `operator: it does not start: ${error.message}`);
    daemon.process.kill();
    this.#daemon = null;
    if (!(error instanceof AssembleError)) {
      this.#needsAll = true;
      return;
    }
    // Without the source there is no start; that is what this error says.
    if (error.code === 'ASSEMBLE_SPLIT_BRAIN')
      world.fail(`a start is refused without need: ${error.message}`);
  }

  /**
   * A mirror that runs goes on with a component that comes back without what it had not flushed, if no other one is in
   * step. To be called when a host has lost its power.
   */
  powerLost(): void {
    const { cluster, registers } = this.options;
    if (!this.#isUp) return;
    const isLost = (slot: number): boolean =>
      cluster.host(slot).lostPowerAt > (this.#attachedAt.get(slot) ?? Infinity);
    if (!this.inStep.every(isLost)) return;
    for (const slot of this.#inStep) this.#attachedAt.set(slot, cluster.world.nextOrder());
    registers.powerLost(cluster.world.nextOrder());
  }

  #changed(what: string, component: Component, why: string | null): void {
    const { world } = this.options.cluster;
    const { slot } = component.identity;
    world.say(() => `mirror: ${component.name} ${what}${why === null ? '' : `: ${why}`}`);
    if (what === 'stale') this.#attachedAt.set(slot, world.nextOrder());
    if (what === 'rebuilt') this.#inStep.add(slot);
    if (what === 'disconnected' && this.#isUp) {
      this.#inStep.delete(slot);
      this.powerLost();
    }
    if (what === 'split brain' || what === 'newer' || what === 'foreign')
      world.fail(`${component.name} is refused without need: ${what}`);
  }
}
