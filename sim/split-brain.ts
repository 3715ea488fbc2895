import { AssembleError } from '../src/mirror/start/assemble.js';
import { Chance } from './chance.js';
import { Cluster } from './cluster.js';
import { Evidence, mustBeReadable } from './evidence.js';
import { guardProcess, type Trace } from './guard.js';
import { ZEROES } from './content.js';
import { serveSessions } from './links/sessions.js';
import type { Overwrite } from './registers.js';
import { Overwrites } from './overwrites.js';
import { Settling } from './settling.js';
import { DATA_BYTES, SETTINGS, Side } from './side.js';
import { watchLife } from './watchdog.js';
import { World } from './world.js';

/** Of a resync that is to be cut off in its middle. */
const SLOW_BYTES_PER_SECOND = 262_144;

/**
 * How two sides come to go their own ways: both are started and written; or one is lost in the middle of copying to the
 * other, which a person then starts by force although it is a mixture.
 */
export const SPLITS = ['both', 'forced'] as const;
export type Split = (typeof SPLITS)[number];

export interface SplitBrainOptions {
  readonly seed: number;
  readonly split: Split;
  readonly wire: 'queue' | 'sessions';
}

/**
 * A life in which both hosts start the mirror and write, without knowing of each other. When they meet that must be
 * found out, nothing may be copied, and once a person has given one side up all of the other must be everywhere.
 * Resolves with what is wrong; null if nothing is.
 */
export async function simulateSplitBrain(
  { seed, split, wire }: SplitBrainOptions,
  trace: Trace = null,
): Promise<Error | null> {
  const world = new World(trace);
  const guard = guardProcess((error) => world.fail(error));
  const watch = watchLife(`seed ${seed}, split brain (${split}), ${wire}`);
  try {
    const chance = new Chance(seed).fork('split brain');
    const diskSizeBytes = DATA_BYTES + 160 * 1024;
    const cluster = await Cluster.make(world, chance.fork('cluster'), { componentCount: 2, diskSizeBytes });
    if (wire === 'sessions') serveSessions(cluster, chance.fork('sessions'));
    await new SplitBrain(cluster, chance, split).run();
    return world.failure;
  } finally {
    watch.release();
    guard.release();
  }
}

class SplitBrain {
  readonly #one: Side;
  readonly #other: Side;

  readonly #looks: Chance;

  constructor(
    private readonly cluster: Cluster,
    private readonly chance: Chance,
    private readonly split: SplitBrainOptions['split'],
  ) {
    this.#looks = chance.fork('looks');
    const settings =
      split === 'both' ? SETTINGS : { ...SETTINGS, resyncBytesPerSecond: SLOW_BYTES_PER_SECOND };
    const [first, second] = cluster.hosts.map(
      (host) => new Side(cluster, host, chance.fork(host.name), settings),
    );
    if (first === undefined || second === undefined) throw new Error('two hosts');
    [this.#one, this.#other] = chance.happens(0.5) ? [first, second] : [second, first];
    this.#watchOverwrites();
  }

  /** Nothing newer of either side is overwritten with what is older of that side, until it is given up. */
  #watchOverwrites(): void {
    const { world, mediaSizeBytes, hosts } = this.cluster;
    const regress = (change: Overwrite): string | null => {
      for (const { registers, isGivenUp } of [this.#one, this.#other]) {
        const isOfIt = registers.knows(change.before);
        const knowsNew = change.after === ZEROES || registers.knows(change.after);
        const problem = !isGivenUp && isOfIt && knowsNew ? registers.regress(change) : null;
        if (problem !== null) return problem;
      }
      return null;
    };
    const overwrites = new Overwrites({
      ...{ registers: { regress }, mediaSizeBytes },
      nextOrder: () => world.nextOrder(),
      broken: (what) => world.fail(what),
      mustWait: () => false,
    });
    for (const { drive } of hosts) overwrites.watch(drive);
  }

  async run(): Promise<void> {
    const { cluster, chance } = this;
    const { world } = cluster;
    const isParted = this.split === 'both' ? await this.#part() : await this.#force();
    if (!isParted) {
      world.fail('both sides could not be started and written');
      return;
    }
    await mustBeReadable(cluster, this.#looks);
    await this.#meet();
    await mustBeReadable(cluster, this.#looks);
    if (world.failure !== null) return;
    await new Settling(cluster, chance, [this.#one, this.#other]).run();
    await mustBeReadable(cluster, this.#looks);
  }

  /**
   * The one copies to the other, and is gone in the middle of it. Nobody takes the mixture for a mirror's data, but for a
   * person who says so.
   */
  async #force(): Promise<boolean> {
    const { cluster, chance } = this;
    const [one, other] = [this.#one, this.#other];
    const { world, hosts } = cluster;
    const says = async (what: string): Promise<boolean> => {
      const isSaid = (): boolean => one.said.includes(`${other.host.name} ${what}`);
      await world.run(isSaid, world.nowMs + 60_000);
      return isSaid();
    };
    if ((await one.start({ isDegraded: false })) !== null) return false;
    await one.write(chance.between(0, 20));
    cluster.link(one.host, other.host)?.cut();
    await one.write(chance.between(15, 30));
    if (!(await says('disconnected'))) return false;
    cluster.heal();
    if (!(await says('rebuilding'))) return false;
    await world.run(() => false, world.nowMs + chance.delayMs(300));
    await mustBeReadable(cluster, this.#looks);
    if (one.said.includes(`${other.host.name} rebuilt`)) return false;
    await one.end(false);
    cluster.link(one.host, other.host)?.cut();
    await world.run(() => false, world.nowMs + 100);
    const evidence = new Evidence(cluster);
    const refused = await other.start({ isDegraded: true });
    if (!(refused instanceof AssembleError))
      world.fail(`half of a copy, ${other.host.name} is started: ${refused?.message ?? 'it runs'}`);
    evidence.mustStay([...hosts.keys()], 'a start was refused');
    if ((await other.start({ isDegraded: true, allowsMixture: true })) !== null) return false;
    await other.write(chance.between(0, 20));
    return true;
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
    const evidence = new Evidence(cluster);
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
    evidence.mustStay([...cluster.hosts.keys()], 'it is a split brain');
  }
}
