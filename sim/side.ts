import { Budget } from './budget.js';
import type { Chance } from './chance.js';
import { Client } from './client.js';
import type { Cluster } from './cluster.js';
import { Daemon, type StartChoice } from './daemon.js';
import { ended } from './end.js';
import type { Host } from './host.js';
import { Patience } from './patience.js';
import type { MirrorSettings } from './plan.js';
import { Registers } from './registers.js';

const MIB = 1_048_576;
/** How large components are. */
export const DATA_BYTES = 12 * MIB;
const DATA_SECTORS = DATA_BYTES / 512;
/** More than a side ever writes. */
const NUMBERS_OF_A_SIDE = 1_000_000;
export const SETTINGS: MirrorSettings = {
  ...({ balance: 'prefer-local', idleMs: 1000, extentsMax: 3, resyncBytesPerSecond: 0 } as const),
  timeoutMs: 1500,
};

/** A mirror on one host, and who uses it. */
export class Side {
  readonly registers = new Registers();
  readonly client: Client;
  readonly said: string[] = [];
  daemon: Daemon | null = null;
  /** A person has given up what only it has. */
  isGivenUp = false;
  #starts = 0;
  readonly #patience: Patience;

  constructor(
    private readonly cluster: Cluster,
    readonly host: Host,
    private readonly chance: Chance,
    private readonly settings = SETTINGS,
  ) {
    const { world } = cluster;
    this.#patience = new Patience(cluster, SETTINGS.timeoutMs);
    this.client = new Client({
      world,
      registers: this.registers,
      budget: new Budget(2),
      firstNumber: cluster.hosts.indexOf(host) * NUMBERS_OF_A_SIDE,
      hangMs: (fromMs, inFlight) => this.#patience.allowedMs(fromMs, inFlight),
    });
  }

  /** Null when it runs; else why not. */
  async start(choice: StartChoice): Promise<Error | null> {
    const { host } = this;
    const { world } = this.cluster;
    const daemon = this.#newDaemon();
    const end = ended(daemon.start(choice));
    await world.run(() => end.isOver, world.nowMs + 60_000);
    if (!end.isOver) world.fail(`a start at ${host.name} does not end`);
    world.say(() => `start at ${host.name}: ${end.error?.message ?? 'it runs'}`);
    if (end.error === null) this.daemon = daemon;
    else daemon.process.kill();
    return end.error;
  }

  /** `resolve --discard` while no mirror runs, killed after so long if that is given. False if that was before its end. */
  async settle(discard: readonly string[], killAfterMs: number | null): Promise<boolean> {
    const { world } = this.cluster;
    const daemon = this.#newDaemon();
    const end = ended(daemon.settle(discard));
    if (killAfterMs !== null) world.after(killAfterMs, () => daemon.process.kill());
    await world.run(() => end.isOver || !daemon.process.isAlive, world.nowMs + 60_000);
    daemon.process.kill();
    if (killAfterMs === null && !end.isOver) world.fail('to resolve it does not end');
    if (end.error !== null) world.fail(`to resolve it is refused: ${end.error.message}`);
    return end.isOver;
  }

  #newDaemon(): Daemon {
    const { cluster, host, said, settings } = this;
    this.#starts += 1;
    return new Daemon({
      ...{ cluster, host, settings, named: cluster.hosts },
      chance: this.chance.fork(`start ${this.#starts}`),
      changed: (what, component) => {
        cluster.world.say(() => `mirror at ${host.name}: ${component.name} ${what}`);
        said.push(`${component.name} ${what}`);
        if (what === 'stale') this.#patience.arrived();
      },
    });
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
    if (isClean) {
      const end = ended(daemon.stop());
      await world.run(() => end.isOver, world.nowMs + 60_000);
    }
    daemon.process.kill();
    client.forget();
  }
}
