import { AssembleError } from '../src/mirror/start/assemble.js';
import { Budget } from './budget.js';
import { Chance } from './chance.js';
import { Client } from './client.js';
import { Cluster } from './cluster.js';
import { Daemon, type StartChoice } from './daemon.js';
import { differingChunks, type Chunks } from './disk.js';
import type { Host } from './host.js';
import { guardProcess, type Trace } from './guard.js';
import { Patience } from './patience.js';
import { Registers } from './registers.js';
import { watchSeed } from './watchdog.js';
import { World } from './world.js';

const MIB = 1_048_576;
const DATA_SECTORS = (12 * MIB) / 512;
const SETTINGS = {
  ...({ balance: 'prefer-local', idleMs: 1000, extentsMax: 3, resyncBytesPerSecond: 0 } as const),
  timeoutMs: 1500,
};

/** A mirror on one host, and who uses it. */
class Side {
  readonly registers = new Registers();
  readonly client: Client;
  readonly said: string[] = [];
  daemon: Daemon | null = null;
  #starts = 0;
  readonly #patience: Patience;

  constructor(
    private readonly cluster: Cluster,
    readonly host: Host,
    private readonly chance: Chance,
  ) {
    const { world } = cluster;
    this.#patience = new Patience(cluster, SETTINGS.timeoutMs);
    this.client = new Client({
      world,
      registers: this.registers,
      budget: new Budget(2),
      hangMs: (fromMs, inFlight) => this.#patience.allowedMs(fromMs, inFlight),
    });
  }

  /** Null when it runs; else why not. */
  async start(choice: StartChoice): Promise<Error | null> {
    const { cluster, host, said } = this;
    const { world } = cluster;
    this.#starts += 1;
    const daemon = new Daemon({
      ...{ cluster, host, settings: SETTINGS, named: cluster.hosts },
      chance: this.chance.fork(`start ${this.#starts}`),
      changed: (what, component) => {
        world.say(() => `mirror at ${host.name}: ${component.name} ${what}`);
        said.push(`${component.name} ${what}`);
        if (what === 'stale') this.#patience.arrived();
      },
    });
    const end: { isOver: boolean; error: Error | null } = { isOver: false, error: null };
    const over = (error: Error | null): void => void Object.assign(end, { isOver: true, error });
    daemon.start(choice).then(
      () => over(null),
      (error: unknown) => over(error as Error),
    );
    await world.run(() => end.isOver, world.nowMs + 60_000);
    if (!end.isOver) world.fail(`a start at ${host.name} does not end`);
    world.say(() => `start at ${host.name}: ${end.error?.message ?? 'it runs'}`);
    if (end.error === null) this.daemon = daemon;
    else daemon.process.kill();
    return end.error;
  }

  /** Writes, and waits until all is answered. Resolves with how many writes have succeeded. */
  async write(count: number): Promise<number> {
    const { cluster, client, chance, daemon } = this;
    const { world } = cluster;
    const before = client.counts.errors;
    for (let left = count; left > 0 && daemon?.mirror; left--) {
      const firstSector = chance.below(DATA_SECTORS - 64);
      client.start(daemon.mirror, 'write', { firstSector, sectorCount: chance.between(1, 64) });
      await world.run(() => false, world.nowMs + chance.delayMs(20));
    }
    await world.run(() => client.inFlight === 0, world.nowMs + 30_000);
    return count - (client.counts.errors - before);
  }

  async end(isClean: boolean): Promise<void> {
    const { daemon, cluster, client } = this;
    const { world } = cluster;
    this.daemon = null;
    if (daemon === null) return;
    let isOver = !isClean;
    if (isClean)
      daemon
        .stop()
        .finally(() => (isOver = true))
        .catch(() => undefined);
    await world.run(() => isOver, world.nowMs + 60_000);
    daemon.process.kill();
    client.forget();
  }
}

/**
 * A life in which both hosts start the mirror and write, without knowing of each other. When they meet that must be
 * found out, nothing may be copied, and once a person has given one side up all of the other must be everywhere.
 * Resolves with what is wrong; null if nothing is.
 */
export async function simulateSplitBrain(seed: number, trace: Trace = null): Promise<Error | null> {
  const world = new World(trace);
  const guard = guardProcess((error) => world.fail(error));
  const watch = watchSeed(seed);
  try {
    const chance = new Chance(seed).fork('split brain');
    const diskSizeBytes = 12 * MIB + 160 * 1024;
    const cluster = await Cluster.make(world, chance.fork('cluster'), { componentCount: 2, diskSizeBytes });
    await new SplitBrain(cluster, chance).run();
    return world.failure;
  } finally {
    watch.release();
    guard.release();
  }
}

class SplitBrain {
  readonly #one: Side;
  readonly #other: Side;

  constructor(
    private readonly cluster: Cluster,
    private readonly chance: Chance,
  ) {
    const [first, second] = cluster.hosts.map((host) => new Side(cluster, host, chance.fork(host.name)));
    if (first === undefined || second === undefined) throw new Error('two hosts');
    [this.#one, this.#other] = chance.happens(0.5) ? [first, second] : [second, first];
  }

  async run(): Promise<void> {
    const { world } = this.cluster;
    if (!(await this.#part())) {
      world.fail('both sides could not be started and written');
      return;
    }
    await this.#meet();
    if (world.failure === null) await this.#settle();
  }

  /** Both have answered writes that the other has not. */
  async #part(): Promise<boolean> {
    const { cluster, chance } = this;
    const [one, other] = [this.#one, this.#other];
    const { world } = cluster;
    if ((await one.start({ isDegraded: false })) !== null) return false;
    await one.write(chance.between(0, 20));
    const link = cluster.link(one.host, other.host);
    link?.cut();
    const lost = `${other.host.name} disconnected`;
    // Some go on before the other one is started, some at the same time.
    const isEarly = chance.happens(0.5);
    if (isEarly) await one.write(3);
    const isDead = isEarly && one.said.includes(lost) && chance.happens(0.4);
    const hasWritten = isDead && (await one.write(4)) > 0;
    if (isDead) await one.end(chance.happens(0.5));
    if ((await other.start({ isDegraded: true })) !== null) return false;
    const isOtherWritten = (await other.write(chance.between(1, 20))) > 0;
    if (isDead) return hasWritten && isOtherWritten;
    await world.run(() => false, world.nowMs + chance.delayMs(3000));
    await one.write(1);
    if (!one.said.includes(lost)) await world.run(() => one.said.includes(lost), world.nowMs + 30_000);
    return isOtherWritten && (await one.write(chance.between(1, 20))) > 0;
  }

  async #meet(): Promise<void> {
    const { cluster, chance } = this;
    const [one, other] = [this.#one, this.#other];
    const { world } = cluster;
    await other.end(chance.happens(0.5));
    const before = this.#data();
    cluster.heal();
    if (one.daemon !== null) {
      const isFound = (): boolean => one.said.includes(`${other.host.name} split brain`);
      await world.run(isFound, world.nowMs + 120_000);
      if (!isFound()) world.fail(`${other.host.name} came back to ${one.host.name} and is no split brain`);
      await one.end(chance.happens(0.5));
    }
    for (const side of chance.happens(0.5) ? [one, other] : [other, one]) {
      const refused = await side.start({ isDegraded: false });
      if (!(refused instanceof AssembleError && refused.code === 'ASSEMBLE_SPLIT_BRAIN'))
        world.fail(
          `both sides were written, and a start at ${side.host.name} says: ${refused?.message ?? 'it runs'}`,
        );
    }
    for (const [index, chunks] of this.#data().entries()) {
      const changed = differingChunks(before[index] ?? new Map(), chunks, cluster.mediaSizeBytes);
      if (changed.length > 0)
        world.fail(
          `although it is a split brain ${cluster.host(index).name} was written in region ${changed[0] ?? 0}`,
        );
    }
  }

  /** Somebody gives one side up. */
  async #settle(): Promise<void> {
    const { cluster, chance } = this;
    const { world } = cluster;
    const [winner, loser] = chance.happens(0.5) ? [this.#one, this.#other] : [this.#other, this.#one];
    const at = chance.happens(0.5) ? winner : loser;
    const isDiscard = chance.happens(0.5);
    const choice = isDiscard ? { discard: [loser.host.name] } : { source: winner.host.name };
    const refused = await at.start({ isDegraded: false, ...choice });
    if (refused !== null) world.fail(`with ${JSON.stringify(choice)} it does not start: ${refused.message}`);
    const isWhole = (): boolean => at.daemon?.hostsIn('ACTIVE').length === 2;
    await world.run(isWhole, world.nowMs + 120_000);
    if (!isWhole()) world.fail(`with ${JSON.stringify(choice)} the mirror does not become whole`);
    await this.#read(winner, at);
    await at.end(true);
    const [one = new Map<number, Buffer>(), other = new Map<number, Buffer>()] = this.#data();
    const differing = differingChunks(one, other, cluster.mediaSizeBytes);
    if (differing.length > 0) world.fail(`settled, both differ in region ${differing.join(', ')}`);
  }

  /** What the client of `winner` has written is found at `at`. */
  async #read(winner: Side, at: Side): Promise<void> {
    const { world } = this.cluster;
    for (const firstSector of winner.registers.writtenSectors()) {
      const mirror = at.daemon?.mirror ?? null;
      if (mirror === null || world.failure !== null) return;
      winner.client.start(mirror, 'read', { firstSector, sectorCount: 1 });
      if (winner.client.inFlight > 32)
        await world.run(() => winner.client.inFlight === 0, world.nowMs + 30_000);
    }
    await world.run(() => winner.client.inFlight === 0, world.nowMs + 30_000);
  }

  /** Copies, by host. */
  #data(): Chunks[] {
    return this.cluster.hosts.map(
      ({ drive: { disk } }) => new Map([...disk.chunks].map(([index, chunk]) => [index, Buffer.from(chunk)])),
    );
  }
}
