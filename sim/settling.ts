import { AssembleError } from '../src/mirror/start/assemble.js';
import type { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import { differingChunks } from './disk.js';
import { ended } from './end.js';
import { Evidence } from './evidence.js';
import type { Side } from './side.js';

/** How a person settles a split brain: with the next start, before it, or while the side that is kept runs. */
const WAYS = ['start', 'start', 'stopped', 'running'] as const;

/** A split brain that both sides know of is settled: one is given up, and must get all of the other. */
export class Settling {
  /** Apart from the rest, which is as it was before there was more than one way. */
  readonly #ways: Chance;

  constructor(
    private readonly cluster: Cluster,
    private readonly chance: Chance,
    private readonly sides: readonly [Side, Side],
  ) {
    this.#ways = chance.fork('ways');
  }

  async run(): Promise<void> {
    const { cluster, chance } = this;
    const { world, hosts } = cluster;
    const [one, other] = this.sides;
    const [winner, loser] = chance.happens(0.5) ? [one, other] : [other, one];
    const way = this.#ways.pick(WAYS);
    const at = chance.happens(0.5) || way === 'running' ? winner : loser;
    const isDiscard = chance.happens(0.5);
    const evidence = new Evidence(cluster);
    loser.isGivenUp = true;
    world.say(() => `*** ${loser.host.name} is given up (${way}, at ${at.host.name})`);
    if (way === 'start') {
      const choice = isDiscard ? { discard: [loser.host.name] } : { source: winner.host.name };
      await this.#start(at, choice);
    } else if (way === 'stopped') await this.#settleStopped(at, loser);
    else await this.#settleRunning(winner, loser);
    const isWhole = (): boolean => at.daemon?.hostsIn('ACTIVE').length === 2;
    await world.run(isWhole, world.nowMs + 120_000);
    if (!isWhole()) world.fail('settled, the mirror does not become whole');
    evidence.mustStay([hosts.indexOf(winner.host)], 'its data was to be kept');
    await this.#read(winner, at);
    await at.end(true);
    const [first, second] = hosts.map(({ drive: { disk } }) => disk.chunks);
    if (first === undefined || second === undefined) return;
    const differing = differingChunks(first, second, cluster.mediaSizeBytes);
    if (differing.length > 0) world.fail(`settled, both differ in region ${differing.join(', ')}`);
  }

  async #start(at: Side, choice: { discard?: string[]; source?: string }): Promise<void> {
    const refused = await at.start({ isDegraded: false, ...choice });
    const { world } = this.cluster;
    if (refused !== null) world.fail(`with ${JSON.stringify(choice)} it does not start: ${refused.message}`);
  }

  /** Before the next start. Whoever is killed over it has settled it, or has changed nothing. */
  async #settleStopped(at: Side, loser: Side): Promise<void> {
    const { world, hosts } = this.cluster;
    const discard = [loser.host.name];
    const killAfterMs = this.#ways.happens(0.5) ? this.#ways.delayMs(20) : null;
    const evidence = new Evidence(this.cluster);
    if (await at.settle(discard, killAfterMs)) {
      await this.#start(at, {});
      return;
    }
    const refused = await at.start({ isDegraded: false });
    if (refused === null) return;
    if (!(refused instanceof AssembleError && refused.code === 'ASSEMBLE_SPLIT_BRAIN'))
      world.fail(`after a kill while it was resolved a start says: ${refused.message}`);
    evidence.mustStay([...hosts.keys()], 'it still is a split brain');
    await at.settle(discard, null);
    await this.#start(at, {});
  }

  /** The winner runs when the loser comes; until somebody gives that one up, neither is touched. */
  async #settleRunning(winner: Side, loser: Side): Promise<void> {
    const { cluster } = this;
    const { world, hosts } = cluster;
    const evidence = new Evidence(cluster);
    const index = hosts.indexOf(loser.host);
    const refusal = `${loser.host.name} split brain`;
    cluster.link(winner.host, loser.host)?.cut();
    winner.said.length = 0;
    const refused = await winner.start({ isDegraded: true });
    if (refused !== null) world.fail(`alone ${winner.host.name} does not start: ${refused.message}`);
    cluster.heal();
    const isFound = (): boolean => winner.said.includes(refusal);
    await world.run(isFound, world.nowMs + 120_000);
    if (!isFound()) world.fail(`${loser.host.name} came to ${winner.host.name} and is no split brain`);
    evidence.mustStay([...hosts.keys()], 'it is a split brain');
    const end = ended(winner.daemon?.discard(index) ?? Promise.resolve());
    await world.run(() => end.isOver, world.nowMs + 60_000);
    if (!end.isOver) world.fail('to discard a component does not end');
    else if (end.error !== null) world.fail(end.error);
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
}
