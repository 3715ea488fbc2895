import { AssembleError } from '../src/mirror/start/assemble.js';
import type { Component } from '../src/mirror/component.js';
import { MembershipError } from '../src/mirror/members/membership-error.js';
import type { ByteRange } from '../src/protocol/geometry.js';
import type { Budget } from './budget.js';
import type { Chance } from './chance.js';
import type { Client } from './client.js';
import type { Cluster } from './cluster.js';
import type { Standing } from './coverage.js';
import { Daemon } from './daemon.js';
import { SECTOR_BYTES } from './disk.js';
import type { Host } from './host.js';
import type { MirrorSettings } from './plan.js';
import type { Overwrites } from './overwrites.js';
import { expectWithin, type Patience } from './patience.js';
import type { Registers, WriteRecord } from './registers.js';
import { Roster } from './roster.js';
import type { MemberCommand, Restart } from './steps.js';

export interface OperatorOptions {
  readonly cluster: Cluster;
  readonly settings: MirrorSettings;
  readonly chance: Chance;
  readonly client: Client;
  readonly registers: Registers;
  readonly budget: Budget;
  readonly overwrites: Overwrites;
  readonly patience: Patience;
  /** See Plan. */
  readonly isPeaceful: boolean;
}

const RETRY_MS = 1000;

/**
 * Starts the mirror, kills and stops it, and knows which components have all that was acknowledged: only from one of
 * those it starts without the others.
 */
export class Operator {
  #daemon: Daemon | null = null;
  #isUp = false;
  readonly roster: Roster;
  // Components are given by the index of their host.
  /** Those that are in step, or were when the mirror ended. */
  readonly #inStep = new Set<number>();
  /** Those that are copied to, or were when the mirror ended; and of them those whose resync was about to end then. */
  readonly #mixed = new Set<number>();
  #ending: readonly number[] = [];
  /** Since when they are attached, in the order of the world. */
  readonly #attachedAt = new Map<number, number>();
  /** Commands about them are under way. */
  readonly #commands = new Set<number>();
  /** Those under way. */
  readonly #repairs = new Set<WriteRecord>();
  /** A start was cut off: who was the source then is not known. */
  #needsAll = false;
  /** When the mirror ended every loss was on stable storage, but for those of `#unnoted`. */
  #wasSettled = true;
  #unnoted: readonly number[] = [];
  #restart: Restart | null = null;
  #wantedSinceMs = 0;
  #startCount = 0;
  /** What the log may say on disks; see Daemon. */
  #hotExtents: readonly number[] = [];

  constructor(private readonly options: OperatorOptions) {
    const { hosts } = options.cluster;
    this.roster = new Roster(hosts);
    for (const index of hosts.keys()) this.#inStep.add(index);
  }

  /** The mirror that runs, with its client; null if none does. */
  get daemon(): Daemon | null {
    return this.#isUp ? this.#daemon : null;
  }

  get inStep(): readonly number[] {
    return [...this.#inStep].sort((one, other) => one - other);
  }

  /** What is to be found on the disks. In the middle of a start nobody knows who has what, but labels can be read. */
  standing(isStarting: boolean): Standing {
    if (isStarting)
      return { members: this.roster.certain, inStep: [], mixed: [], ending: [], plain: [], isSettled: false };
    const isSettled = this.#daemon === null ? this.#wasSettled : this.#daemon.mirror?.mustWait === false;
    const ending = this.#daemon === null ? this.#ending : this.#daemon.ending;
    const mixed = [...this.#mixed].filter((index) => !ending.includes(index));
    const plain = this.inStep.filter((index) => this.#isPlain(index));
    return { members: this.roster.certain, inStep: this.inStep, mixed, ending, plain, isSettled };
  }

  /** Whether the mirror's end now would be one in the middle of a start. */
  get isStarting(): boolean {
    return this.#daemon !== null && !this.#isUp;
  }

  /** Every disk is a component in step, and what it has not flushed will reach it. */
  get isWhole(): boolean {
    const active = this.daemon?.mirror?.active ?? [];
    return (
      active.length === this.options.cluster.hosts.length &&
      !active.some(({ isCacheDoubtful }) => isCacheDoubtful)
    );
  }

  /** Before that host loses its power: whether all that there is may go with it, flushed or not. */
  mayLoseAll(index: number): boolean {
    const isOnly = this.#inStep.has(index) && this.inStep.every((one) => this.#isPlain(one));
    return isOnly && !this.runsOn(this.options.cluster.host(index));
  }

  #isPlain(index: number): boolean {
    return this.options.cluster.host(index).isPlain;
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
    this.#crashed(daemon);
    this.#ended(restart);
  }

  /** Ends the mirror cleanly; nothing new is asked of it meanwhile. */
  stop(restart: Restart): void {
    const daemon = this.#daemon;
    const { client, registers, cluster, patience } = this.options;
    const { world } = cluster;
    if (daemon === null || !this.#isUp || daemon.isStopping) return;
    daemon.isStopping = true;
    const fromMs = world.nowMs;
    const hang = expectWithin(
      world,
      () => patience.allowedToStopMs(fromMs),
      () => {
        if (daemon.process.isAlive) world.fail('the mirror does not stop');
      },
    );
    const stop = async (): Promise<void> => {
      const startedAt = world.nextOrder();
      try {
        await daemon.stop();
        if (this.#daemon !== daemon) return;
        registers.flushed(startedAt);
        this.options.budget.flushed(startedAt);
        world.say(() => 'operator: the mirror is stopped');
      } catch (error) {
        if (this.#daemon !== daemon) return;
        world.say(() => `operator: the stop failed: ${(error as Error).message}`);
        registers.flushFailed(world.nextOrder());
        daemon.process.kill();
        this.#crashed(daemon);
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

  /** Does what is asked for if the mirror does; what it was cut off from is not known until the next start. */
  command(what: MemberCommand, index: number): void {
    const { roster } = this;
    const daemon = this.#daemon;
    const { world } = this.options.cluster;
    if (daemon === null || !this.#isUp || daemon.isStopping) return;
    this.#commands.add(index);
    const mayLeave = what === 'remove' || what === 'forget';
    // Nobody comes back by being forgotten once more.
    const touched = what === 'forget' ? roster.named : mayLeave || what === 'insert' ? [index] : [];
    roster.begins(touched);
    for (const one of touched) this.options.budget.wantsAll(one);
    const settle = (error: Error | null): void => {
      this.#commands.delete(index);
      if (this.#daemon !== daemon || !daemon.process.isAlive) return;
      world.say(() => `operator: ${what} ${index}: ${error?.message ?? 'done'}`);
      roster.ends(touched);
      this.#settleMembers(what, touched, error, daemon);
      if (mayLeave && error !== null) return;
      // Whoever is in step all the same misses nothing.
      for (const one of daemon.hostsIn('ACTIVE')) this.options.budget.inStep(one);
    };
    daemon.command(what, index).then(() => settle(null), settle);
  }

  /** A command about them has ended; refused, it has changed nothing, and who was in doubt still is. */
  #settleMembers(what: MemberCommand, touched: readonly number[], error: Error | null, daemon: Daemon): void {
    const { roster } = this;
    if (error instanceof MembershipError) return;
    const components = daemon.hostsIn();
    if (error === null) {
      for (const index of touched) if (components.includes(index)) roster.joined(index);
      return;
    }
    // What failed may be what the next start finds; but nobody leaves who is in step, nor joins unseen.
    const known = what === 'insert' ? components : daemon.hostsIn('ACTIVE');
    roster.doubt(touched.filter((index) => !known.includes(index)));
  }

  /** Whoever is no component, or out of use, comes back. */
  restoreAll(): void {
    const daemon = this.daemon;
    if (daemon === null || daemon.mirror === null || daemon.isStopping) return;
    for (const component of daemon.mirror.components)
      if (component.isInactive) this.command('activate', daemon.hostOf(component));
    const components = daemon.hostsIn();
    // One that nobody is can't come.
    const lost = daemon.mirror.components.find((one) => daemon.hostOf(one) < 0);
    if (lost !== undefined && components.length === 1) this.command('forget', components[0] ?? 0);
    for (const index of this.options.cluster.hosts.keys())
      if (!components.includes(index) && !this.#commands.has(index)) this.command('insert', index);
  }

  #crashed({ hotExtents: extents, sources: inStep, unnoted }: Daemon): void {
    this.#hotExtents = extents;
    this.options.budget.crashed({ extents, inStep, unnoted });
  }

  #ended(restart: Restart): void {
    const { cluster, client } = this.options;
    if (!this.#isUp) this.#needsAll = true;
    this.#wasSettled = this.#isUp && this.#daemon?.mirror?.mustWait === false;
    if (this.#isUp) this.#unnoted = this.#daemon?.unnoted ?? [];
    // What an earlier life was ending when it ended, it may still have ended after a start that was cut off.
    this.#ending = [...(this.#isUp ? [] : this.#ending), ...(this.#daemon?.ending ?? [])];
    cluster.world.say(() => `operator: the mirror has ended, in step: ${this.inStep.join(', ')}`);
    this.#daemon = null;
    this.#isUp = false;
    this.#commands.clear();
    this.roster.ended();
    client.forget();
    for (const repair of this.#repairs) repair.endedAt = cluster.world.nextOrder();
    this.#repairs.clear();
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
    const { named } = this.roster;
    const own = cluster.hosts.indexOf(host);
    const isSound = !host.isPlain || host.lostPowerAt <= (this.#attachedAt.get(own) ?? Infinity);
    // Where inserts failed one after the other, the last one in step may know of a component whose label is written over.
    const isLast = this.#inStep.has(this.roster.lastNamed ?? -1);
    const isDegraded =
      isLast || (isImpatient && !this.#needsAll && isSound && this.#inStep.has(own) && named.includes(own));
    // Nobody starts without the others from a disk that fails; the start would go on with what is left.
    if (isDegraded) host.drive.conduct.heal();
    this.#startCount += 1;
    const daemon = new Daemon({
      ...{ cluster, host, settings, named: named.map((index) => cluster.host(index)) },
      chance: chance.fork(`start ${this.#startCount}`),
      changed: (what, component, why) => this.#changed(what, component, why),
      // A start writes no log, and with the first write the superblock may be on a disk before the new log is.
      hotExtents: this.#hotExtents,
      repairing: (range, ended) => this.#repairing(range, ended),
    });
    this.#daemon = daemon;
    const startedAt = world.nextOrder();
    world.say(
      () => `operator: starts the mirror at ${host.name}${isDegraded ? ', degraded if it must' : ''}`,
    );
    daemon.start({ isDegraded }).then(
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
    const absent = daemon.hostsIn('DISCONNECTED');
    const present = this.inStep.filter((index) => !absent.includes(index));
    // One that can flush is the source before any other.
    const able = present.filter((index) => !this.#isPlain(index));
    // Of whom nobody has noted that it was given up, that one may be, if nothing was answered since.
    const unnoted = daemon.hostsIn('ACTIVE').filter((index) => this.#unnoted.includes(index));
    const sources = [...(able.length > 0 ? able : present), ...unnoted];
    const isLossy = sources.some(
      (index) => cluster.host(index).lostPowerAt > (this.#attachedAt.get(index) ?? Infinity),
    );
    // Whoever of them is the source now, it may have lost what was not flushed.
    if (isLossy) registers.powerLost();
    this.options.overwrites.settle();
    this.options.patience.inStep(daemon.hostsIn('ACTIVE'));
    this.#isUp = true;
    this.#needsAll = false;
    this.#inStep.clear();
    this.#mixed.clear();
    for (const index of daemon.hostsIn('SYNCHRONIZING')) this.#mixed.add(index);
    this.roster.started(daemon.hostsIn());
    for (const index of daemon.hostsIn()) this.#attachedAt.set(index, startedAt);
    // What is written from now on, flushed or not, those will miss that are not there.
    for (const index of absent) this.options.budget.lost(index);
    for (const index of daemon.hostsIn('ACTIVE')) {
      this.#inStep.add(index);
      this.options.budget.inStep(index);
    }
    world.say(
      () => `operator: the mirror runs, in step: ${this.inStep.join(', ')}${isLossy ? ' (lossy)' : ''}`,
    );
  }

  #failedToStart(daemon: Daemon, error: Error): void {
    const { world } = this.options.cluster;
    world.say(() => `operator: it does not start: ${error.message}`);
    daemon.process.kill();
    this.#crashed(daemon);
    this.#daemon = null;
    if (!(error instanceof AssembleError)) {
      this.#needsAll = true;
      return;
    }
    const [name = ''] = error.message.split(' ');
    if (error.code === 'ASSEMBLE_FOREIGN' && this.roster.deny(name)) return;
    // Those that are behind may not know of each other.
    const isKnown = daemon.opened.some((index) => this.#inStep.has(index));
    // Without the source there is no start; that is what the others say.
    if (error.code === 'ASSEMBLE_SPLIT_BRAIN' || (error.code === 'ASSEMBLE_FOREIGN' && isKnown))
      world.fail(`a start is refused without need: ${error.message}`);
  }

  /**
   * A mirror that runs goes on with a component that comes back without what it had not flushed, if no other one is in
   * step. To be called when a host has lost its power.
   */
  powerLost(): void {
    const { cluster, registers } = this.options;
    if (!this.#isUp) return;
    const isLost = (index: number): boolean =>
      cluster.host(index).lostPowerAt > (this.#attachedAt.get(index) ?? Infinity);
    if (!this.inStep.every(isLost)) return;
    for (const index of this.#inStep) this.#attachedAt.set(index, cluster.world.nextOrder());
    registers.powerLost(cluster.world.nextOrder());
  }

  /** Who repairs a range writes it, and until that is flushed it may have to be copied. */
  #repairing({ offsetBytes, lengthBytes }: ByteRange, ended: Promise<void>): void {
    const { budget, cluster } = this.options;
    const repair: WriteRecord = {
      ...{ firstSector: offsetBytes / SECTOR_BYTES, sectorCount: lengthBytes / SECTOR_BYTES },
      ...{ number: 0, value: 0, issuedAt: cluster.world.nextOrder(), endedAt: Infinity },
    };
    budget.wrote(repair);
    this.#repairs.add(repair);
    const end = (): void => {
      if (this.#repairs.delete(repair)) repair.endedAt = cluster.world.nextOrder();
    };
    ended.then(end, end);
  }

  #changed(what: string, component: Component, why: string | null): void {
    const { cluster, budget, overwrites, patience } = this.options;
    const { world, hosts } = cluster;
    const index = hosts.findIndex(({ name }) => name === component.name);
    const writtenBytes = (): number => overwrites.bytesTo(cluster.host(index).drive.disk);
    world.say(() => `mirror: ${component.name} ${what}${why === null ? '' : `: ${why}`}`);
    if (what === 'stale') patience.arrived();
    patience.inStep(this.#daemon?.hostsIn('ACTIVE') ?? []);
    if (what === 'stale' && this.#isUp) this.#attachedAt.set(index, world.nextOrder());
    if (what === 'rebuilding') {
      this.#mixed.add(index);
      const excess = budget.begins(index, component, {
        inStep: this.#daemon?.sources ?? [],
        ...{ now: world.nextOrder(), writtenBytes: writtenBytes() },
      });
      if (excess !== null) world.fail(excess);
    }
    if (what === 'disconnected' || what === 'rebuilt') {
      const excess = budget.ends(index, writtenBytes());
      if (excess !== null) world.fail(`${component.name}: ${excess}`);
    }
    if (what === 'disconnected') {
      if (why?.includes('is written anew') === true) budget.writtenAnew(component);
      const daemon = this.#daemon;
      if (!this.#mixed.has(index) || daemon === null) budget.lost(index);
      else budget.lostAsMixture(index, daemon.hotExtents, daemon.sources);
      // It may have become whole, and have said so, before the others heard of it.
      this.#mixed.delete(index);
    }
    if (what === 'rebuilt') {
      this.roster.joined(index);
      this.#inStep.add(index);
      budget.inStep(index);
      this.#mixed.delete(index);
    }
    if (what === 'disconnected' && this.options.isPeaceful)
      world.fail(`${component.name} is given up for nothing: ${why ?? ''}`);
    if (what === 'disconnected' && this.#isUp) {
      this.#inStep.delete(index);
      this.powerLost();
    }
    if (what === 'inserted') this.roster.joined(index);
    if (what === 'removed' || what === 'forgotten') this.roster.left(index);
    if (what === 'split brain' || what === 'newer' || what === 'foreign' || what === 'resized')
      world.fail(`${component.name} is refused without need: ${what}`);
  }
}
