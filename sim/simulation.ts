import { Chance } from './chance.js';
import { Client } from './client.js';
import { Cluster } from './cluster.js';
import { coverageProblem, type Image } from './coverage.js';
import { differingChunks } from './disk.js';
import { serveSessions } from './links/sessions.js';
import { Operator } from './operator.js';
import type { Plan, Restart, Step } from './plan.js';
import { Registers } from './registers.js';
import { World } from './world.js';

export interface RunResult {
  /** Null if every promise held. */
  readonly failure: Error | null;
  readonly simulatedMs: number;
  readonly eventCount: number;
  readonly counts: Counts;
}

export interface Counts {
  reads: number;
  writes: number;
  flushes: number;
  errors: number;
  kills: number;
  powerLosses: number;
  cuts: number;
  looks: number;
  faults: number;
}

/** Runs a plan to its end, or to the first promise that is broken. Never rejects for what the mirror does. */
export async function simulate(
  plan: Plan,
  trace: ((line: string) => void) | null = null,
): Promise<RunResult> {
  const world = new World(trace);
  // What is thrown in a promise or a callback of a device ends a real process, too.
  const guard = guardProcess((error) => world.fail(error));
  try {
    const simulation = await Simulation.make(plan, world);
    await simulation.run();
    return simulation.result();
  } finally {
    guard.release();
  }
}

/** Takes what nobody caught, instead of whoever else listens for it. */
function guardProcess(caught: (error: Error) => void): { release(): void } {
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  const others = events.map((event) => process.listeners(event as 'uncaughtException'));
  const take = (error: unknown): void => caught(error instanceof Error ? error : new Error(String(error)));
  for (const event of events) {
    process.removeAllListeners(event);
    process.on(event, take);
  }
  return {
    release: () => {
      events.forEach((event, index) => {
        process.removeListener(event, take);
        for (const other of others[index] ?? []) process.on(event as 'uncaughtException', other);
      });
    },
  };
}

const AT_HOME: Restart = { host: 0, afterMs: 0, patienceMs: Infinity };
/** When everything works again the mirror must be whole within this time. */
const RECOVERY_MS = 400_000;

class Simulation {
  readonly #registers = new Registers();
  readonly #client: Client;
  readonly #operator: Operator;
  readonly #chance: Chance;
  readonly #counts = { kills: 0, powerLosses: 0, cuts: 0, looks: 0, faults: 0 };

  private constructor(
    private readonly plan: Plan,
    private readonly world: World,
    private readonly cluster: Cluster,
    chance: Chance,
  ) {
    this.#chance = chance.fork('looks');
    const registers = this.#registers;
    this.#client = new Client({ world, registers, hangMs: () => 120_000 });
    this.#operator = new Operator({
      ...{ cluster, registers, settings: plan.settings, client: this.#client },
      chance: chance.fork('operator'),
    });
  }

  /** A failed flush of the only good copy is beyond a mirror (docs/simulator.md, "What it leaves out"). */
  #spareOnlyCopies(): void {
    for (const [slot, { drive }] of this.cluster.hosts.entries()) {
      drive.conduct.keepsOnFailure = () => {
        const { inStep, daemon } = this.#operator;
        return daemon === null || (inStep.includes(slot) && inStep.length === 1);
      };
    }
  }

  static async make(plan: Plan, world: World): Promise<Simulation> {
    const chance = new Chance(plan.seed);
    const cluster = await Cluster.make(world, chance.fork('cluster'), plan);
    if (plan.wire === 'sessions') serveSessions(cluster, chance.fork('sessions'));
    return new Simulation(plan, world, cluster, chance);
  }

  result(): RunResult {
    const { world } = this;
    const counts = { ...this.#client.counts, ...this.#counts };
    return { failure: world.failure, simulatedMs: world.nowMs, eventCount: world.eventCount, counts };
  }

  async run(): Promise<void> {
    const { world, plan } = this;
    this.#spareOnlyCopies();
    this.#operator.want(AT_HOME);
    for (const { atMs, step } of plan.steps) world.after(atMs, () => this.#perform(step));
    const lastMs = plan.steps.at(-1)?.atMs ?? 0;
    await world.run(() => false, lastMs + 10);
    if (world.failure !== null) return;
    await this.#recover();
    await this.#verify();
  }

  #perform(step: Step): void {
    const { world, cluster } = this;
    if (step.kind === 'io') {
      const daemon = this.#operator.daemon;
      const mirror = daemon?.mirror ?? null;
      if (daemon === null || mirror === null || daemon.isStopping) return;
      this.#client.start(mirror, step.op, step);
      return;
    }
    world.say(() => `*** ${JSON.stringify(step)}`);
    if (step.kind !== 'look') this.#counts.faults += 1;
    switch (step.kind) {
      case 'kill':
        this.#kill(step.restart);
        break;
      case 'stop':
        this.#operator.stop(step.restart);
        break;
      case 'power':
        this.#losePower(step.host, step.offMs, step.restart);
        break;
      case 'blackout':
        for (const host of cluster.hosts.keys()) this.#losePower(host, step.offMs, step.restart);
        break;
      case 'server':
        cluster.host(step.host).restartServer();
        break;
      case 'rebuild':
        this.#rebuild(step.host);
        break;
      case 'look':
        this.#look();
        break;
      case 'cut':
      case 'stall':
      case 'hang':
      case 'slow':
      case 'fail':
      case 'bad':
        this.#disturb(step);
    }
  }

  #disturb(step: Extract<Step, { kind: 'cut' | 'stall' | 'hang' | 'slow' | 'fail' | 'bad' }>): void {
    const { world, cluster } = this;
    const host = cluster.host(step.host);
    const { disk, conduct } = host.drive;
    if (step.kind === 'cut' || step.kind === 'stall') {
      const link = cluster.link(host, cluster.host(step.other));
      if (link === null) return;
      this.#counts.cuts += 1;
      if (step.kind === 'cut') link.cut(step.isOneWay === true ? host.name : null);
      else link.stall(host.name);
      world.after(step.forMs, () => link.heal());
    } else if (step.kind === 'hang') conduct.hungUntilMs = world.nowMs + step.forMs;
    else if (step.kind === 'slow') {
      conduct.latencyMs = step.latencyMs;
      world.after(step.forMs, () => (conduct.latencyMs = 0.3));
    } else if (step.kind === 'fail') conduct.failing[step.op] = step.count;
    else disk.bad.add(step.sector);
  }

  #kill(restart: Restart): void {
    this.#counts.kills += 1;
    const isStarting = this.#operator.isStarting;
    this.#operator.kill(restart);
    if (!isStarting) this.#look();
  }

  #losePower(index: number, offMs: number, restart: Restart): void {
    const { world, cluster } = this;
    const host = cluster.host(index);
    if (!host.isOn) return;
    this.#counts.powerLosses += 1;
    const { isStarting } = this.#operator;
    if (this.#operator.runsOn(host)) this.#operator.kill(restart);
    host.powerOff();
    this.#operator.powerLost();
    world.after(offMs, () => host.powerOn());
    if (!isStarting) this.#look();
  }

  #rebuild(slot: number): void {
    const { daemon } = this.#operator;
    if (daemon === null || daemon.isStopping) return;
    daemon
      .rebuild(slot)
      .catch((error: unknown) => this.world.say(() => `rebuild: ${(error as Error).message}`));
  }

  /** What would be found after a loss of power everywhere, and what is there if only some were lost. */
  #look(): void {
    const { cluster, world } = this;
    if (this.#operator.isStarting) return;
    this.#counts.looks += 1;
    const image = (chunks: (index: number) => Image['chunks']): Image[] =>
      cluster.hosts.map(({ name, drive: { disk } }, index) => ({
        name: `the disk of ${name}`,
        chunks: chunks(index),
        sizeBytes: disk.sizeBytes,
      }));
    const { inStep } = this.#operator;
    const now = image((index) => cluster.host(index).drive.disk.chunks);
    const crashed = image((index) => cluster.host(index).drive.disk.crashImage(this.#chance));
    const check = async (): Promise<void> => {
      for (const [when, images] of [
        ['now', now],
        ['after a loss of power everywhere', crashed],
      ] as const) {
        const problem = await coverageProblem(images, inStep, cluster.mediaSizeBytes);
        if (problem !== null) world.fail(`${when}, ${problem}`);
      }
    };
    check().catch((error: unknown) => world.fail(error as Error));
  }

  /** Everything works again; the mirror must become whole by itself, or after one more start. */
  async #recover(): Promise<void> {
    const { world, cluster, plan } = this;
    world.say(() => '*** everything works again');
    cluster.heal();
    // What is still planned to be healed later does no harm.
    for (const { drive } of cluster.hosts) drive.disk.bad.clear();
    // A connection that was cut is noticed only when it is used for as long as a time-out.
    const quietMs = plan.settings.timeoutMs + 2000;
    let wholeSinceMs = Infinity;
    const isWhole = (): boolean => {
      const { daemon } = this.#operator;
      const count = daemon === null || daemon.isStopping ? 0 : daemon.slotsIn('ACTIVE').length;
      if (count < plan.componentCount) wholeSinceMs = Infinity;
      else wholeSinceMs = Math.min(wholeSinceMs, world.nowMs);
      return world.nowMs - wholeSinceMs > quietMs;
    };
    const untilMs = world.nowMs + RECOVERY_MS;
    const use = (): void => {
      const { daemon } = this.#operator;
      if (world.nowMs >= untilMs) return;
      world.after(500, use);
      if (daemon?.mirror && !daemon.isStopping)
        this.#client.start(daemon.mirror, 'flush', { firstSector: 0, sectorCount: 0 });
    };
    use();
    await world.run(isWhole, untilMs - RECOVERY_MS / 2);
    if (!isWhole() && world.failure === null) {
      world.say(() => '*** it does not become whole by itself');
      this.#operator.stop(AT_HOME);
      await world.run(isWhole, untilMs);
    }
    if (!isWhole()) world.fail('the mirror does not become whole again');
    await world.run(() => this.#client.inFlight === 0, world.nowMs + 10_000);
  }

  async #verify(): Promise<void> {
    const { world, cluster } = this;
    await this.#readEverything();
    await this.#stopAndCompare();
    // After a clean end nothing may depend on the caches.
    for (const host of cluster.hosts) {
      host.powerOff();
      host.powerOn();
    }
    this.#compare('after a loss of power behind a clean end');
    this.#operator.want(AT_HOME);
    await world.run(() => this.#operator.daemon !== null, world.nowMs + 60_000);
    if (world.failure !== null) return;
    const active = this.#operator.daemon?.slotsIn('ACTIVE').length ?? 0;
    if (active !== cluster.hosts.length)
      world.fail(`after a clean end only ${active} components are in step`);
    await this.#readEverything();
    await this.#stopAndCompare();
  }

  async #readEverything(): Promise<void> {
    const { world } = this;
    const mirror = this.#operator.daemon?.mirror ?? null;
    if (world.failure !== null || mirror === null) return;
    for (const range of rangesOf(this.#registers.writtenSectors())) {
      let isDone = false;
      // Whoever is asked first and whoever is asked next must say the same.
      this.#client.start(mirror, 'read', range);
      this.#client.start(mirror, 'read', range, () => (isDone = true));
      await world.run(() => isDone && this.#client.inFlight === 0, world.nowMs + 60_000);
    }
  }

  async #stopAndCompare(): Promise<void> {
    const { world } = this;
    if (world.failure !== null) return;
    this.#operator.stop({ ...AT_HOME, afterMs: Infinity });
    await world.run(() => this.#operator.daemon === null, world.nowMs + 60_000);
    if (this.#operator.daemon !== null) world.fail('the mirror does not stop although all is well');
    this.#compare('after a clean end');
  }

  #compare(when: string): void {
    const { hosts, mediaSizeBytes } = this.cluster;
    const [first, ...others] = hosts;
    for (const other of others) {
      const differing = differingChunks(
        first?.drive.disk.chunks ?? new Map(),
        other.drive.disk.chunks,
        mediaSizeBytes,
      );
      if (differing.length > 0)
        this.world.fail(
          `${when} ${first?.name ?? ''} and ${other.name} differ in region ${differing.join(', ')}`,
        );
    }
  }
}

const READ_SECTORS_MAX = 256;

function rangesOf(sectors: readonly number[]): { firstSector: number; sectorCount: number }[] {
  const ranges: { firstSector: number; sectorCount: number }[] = [];
  for (const sector of sectors) {
    const last = ranges.at(-1);
    const isNext = last !== undefined && sector === last.firstSector + last.sectorCount;
    if (isNext && last.sectorCount < READ_SECTORS_MAX) last.sectorCount += 1;
    else ranges.push({ firstSector: sector, sectorCount: 1 });
  }
  return ranges;
}
