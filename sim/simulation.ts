import { Budget } from './budget.js';
import { Chance } from './chance.js';
import { Client } from './client.js';
import { Cluster } from './cluster.js';
import { coverageProblem, type Image } from './coverage.js';
import { AT_HOME, Ending } from './ending.js';
import { disturb } from './disturb.js';
import { Alone } from './links/alone.js';
import { serveSessions } from './links/sessions.js';
import { guardProcess, type Trace } from './guard.js';
import { Operator } from './operator.js';
import type { Plan } from './plan.js';
import { Overwrites } from './overwrites.js';
import { Patience } from './patience.js';
import { Registers } from './registers.js';
import type { Restart, Step } from './steps.js';
import { watchLife } from './watchdog.js';
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
export async function simulate(plan: Plan, trace: Trace = null): Promise<RunResult> {
  const world = new World(trace);
  // What is thrown in a promise or a callback of a device ends a real process, too.
  const guard = guardProcess((error) => world.fail(error));
  const watch = watchLife(`seed ${plan.seed}, ${plan.wire}`);
  try {
    const simulation = await (plan.wire === 'alone' ? Alone : Simulation).make(plan, world);
    await simulation.run();
    const { counts } = simulation;
    return { failure: world.failure, simulatedMs: world.nowMs, eventCount: world.eventCount, counts };
  } finally {
    watch.release();
    guard.release();
  }
}

class Simulation {
  readonly #registers = new Registers();
  readonly #budget: Budget;
  readonly #client: Client;
  readonly #operator: Operator;
  readonly #patience: Patience;
  /** Nothing was promised for what comes. */
  #isOver = false;
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
    const budget = (this.#budget = new Budget(
      cluster.hosts.length,
      () => this.#operator.isWhole,
      plan.plainHost === undefined,
    ));
    const patience = (this.#patience = new Patience(cluster, plan.settings.timeoutMs));
    this.#client = new Client({
      world,
      registers,
      budget,
      hangMs: (fromMs, inFlight) => patience.allowedMs(fromMs, inFlight),
    });
    const overwrites = new Overwrites({
      ...{ registers, mediaSizeBytes: cluster.mediaSizeBytes },
      nextOrder: () => world.nextOrder(),
      broken: (what) => world.fail(what),
      mustWait: () => this.#operator.daemon === null,
    });
    this.#operator = new Operator({
      ...{ cluster, registers, budget, settings: plan.settings, client: this.#client },
      chance: chance.fork('operator'),
      ...{ overwrites, patience, isPeaceful: plan.isPeaceful === true },
    });
    for (const { drive } of cluster.hosts) overwrites.watch(drive);
  }

  static async make(plan: Plan, world: World): Promise<Simulation> {
    const chance = new Chance(plan.seed);
    const cluster = await Cluster.make(world, chance.fork('cluster'), plan);
    if (plan.wire === 'sessions') serveSessions(cluster, chance.fork('sessions'));
    return new Simulation(plan, world, cluster, chance);
  }

  get counts(): Counts {
    return { ...this.#client.counts, ...this.#counts };
  }

  async run(): Promise<void> {
    const { world, plan } = this;
    for (const { drive } of this.cluster.hosts) {
      drive.conduct.beforeFlush = () => {
        if (this.#chance.happens(plan.lookPart)) this.#look();
      };
      // The mirror may have asked for it, and then no client hears of it before its next one.
      drive.conduct.flushFailed = () => this.#budget.flushFailed();
    }
    this.#operator.want(AT_HOME);
    for (const { atMs, step } of plan.steps) world.after(atMs, () => this.#perform(step));
    const lastMs = plan.steps.at(-1)?.atMs ?? 0;
    await world.run(() => this.#isOver, lastMs + 10);
    if (world.failure !== null || this.#isOver) return;
    await new Ending({
      ...{ world, cluster: this.cluster, operator: this.#operator, client: this.#client },
      ...{ registers: this.#registers, timeoutMs: plan.settings.timeoutMs },
    }).run();
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
      case 'members':
        this.#operator.command(step.what, step.host % cluster.hosts.length);
        break;
      case 'verify':
        this.#verify(step.isRepairing);
        break;
      case 'jump':
        cluster.host(step.host).jumpClocks(step.byMs);
        this.#patience.heldUp();
        break;
      case 'doom':
        cluster.host(step.host).drive.conduct.failing.flush = 1;
        cluster.host(step.host).drive.conduct.doom = () => this.#doom(step);
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
      case 'misdirect':
        if (step.kind === 'cut' || step.kind === 'stall') this.#counts.cuts += 1;
        disturb(step, world, cluster);
    }
  }

  #kill(restart: Restart): void {
    this.#counts.kills += 1;
    const { isStarting } = this.#operator;
    this.#operator.kill(restart);
    this.#look(isStarting);
  }

  #doom({ who, host, restart }: Extract<Step, { kind: 'doom' }>): void {
    this.world.say(() => `*** the ${who} is killed in a flush of ${host} that failed`);
    if (who === 'mirror') this.#kill(restart);
    else this.cluster.host(host).restartServer();
  }

  #losePower(index: number, offMs: number, restart: Restart): void {
    const { world, cluster } = this;
    const host = cluster.host(index);
    if (!host.isOn) return;
    this.#counts.powerLosses += 1;
    if (this.#operator.mayLoseAll(index % cluster.hosts.length)) {
      world.say(() => `*** the only good copy can't flush, and loses its power`);
      this.#isOver = true;
      return;
    }
    const { isStarting } = this.#operator;
    if (this.#operator.runsOn(host)) this.#operator.kill(restart);
    host.powerOff();
    this.#budget.lost(index % cluster.hosts.length);
    this.#operator.powerLost();
    world.after(offMs, () => host.powerOn());
    this.#look(isStarting);
  }

  #rebuild(index: number): void {
    const { daemon } = this.#operator;
    if (daemon === null || daemon.isStopping) return;
    this.#budget.wantsAll(index);
    daemon
      .rebuild(index)
      .catch((error: unknown) => this.world.say(() => `rebuild: ${(error as Error).message}`));
  }

  /** Components in step do not differ, whatever happens to them meanwhile. */
  #verify(isRepairing: boolean): void {
    const { world } = this;
    const mirror = this.#operator.daemon?.mirror ?? null;
    if (mirror === null || this.#operator.daemon?.isStopping !== false) return;
    if (mirror.active.length < 2 || mirror.verification?.state === 'running') return;
    const verify = mirror.startVerify({ isRepairing, previous: null });
    const look = (): void => {
      if (this.#operator.daemon?.mirror !== mirror) return;
      const different = verify.findings.find(({ differentBytes }) => differentBytes > 0);
      if (different !== undefined)
        world.fail(
          `a verify found that ${different.component.name} differs at ${different.firstOffsetsBytes.join(', ')}`,
        );
      if (verify.state === 'running') world.after(500, look);
    };
    look();
  }

  /** What would be found after a loss of power everywhere, and what is there if only some were lost. */
  #look(isStarting = this.#operator.isStarting): void {
    const { cluster, world } = this;
    this.#counts.looks += 1;
    const image = (chunks: (index: number) => Image['chunks']): Image[] =>
      cluster.hosts.map(({ name, drive: { disk } }, index) => ({
        name: `the disk of ${name}`,
        chunks: chunks(index),
        sizeBytes: disk.sizeBytes,
      }));
    const standing = this.#operator.standing(isStarting);
    const now = image((index) => cluster.host(index).drive.disk.chunks);
    const crashed = image((index) => cluster.host(index).drive.disk.crashImage(this.#chance));
    const check = async (): Promise<void> => {
      for (const [when, images] of [
        ['now', now],
        ['after a loss of power everywhere', crashed],
      ] as const) {
        const problem = await coverageProblem(images, standing, cluster.mediaSizeBytes);
        if (problem !== null) world.fail(`${when}, ${problem}`);
      }
    };
    check().catch((error: unknown) => world.fail(error as Error));
  }
}
