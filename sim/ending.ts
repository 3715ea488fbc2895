import { readLabelSector } from '../src/mirror/area/component-store.js';
import { decodeLabel } from '../src/protocol/gmirror-label.js';
import type { Client } from './client.js';
import type { Cluster } from './cluster.js';
import { ImageDevice } from './coverage.js';
import { differingChunks } from './disk.js';
import type { Host } from './host.js';
import type { Operator } from './operator.js';
import { rangesOf } from './ranges.js';
import type { Registers } from './registers.js';
import type { Restart } from './steps.js';
import type { World } from './world.js';

export const AT_HOME: Restart = { host: 0, afterMs: 0, patienceMs: Infinity };
/** When everything works again the mirror must be whole within this time. */
const RECOVERY_MS = 400_000;

export interface EndingOptions {
  readonly world: World;
  readonly cluster: Cluster;
  readonly operator: Operator;
  readonly client: Client;
  readonly registers: Registers;
  /** A connection that was cut is noticed only when it is used for so long. */
  readonly timeoutMs: number;
}

/** The end of a life: everything works again, and then everything must be there. */
export class Ending {
  #wholeSinceMs = Infinity;

  constructor(private readonly options: EndingOptions) {}

  async run(): Promise<void> {
    const { world, cluster, operator } = this.options;
    await this.#recover();
    await this.#readEverything();
    await this.#stopAndCompare();
    // After a clean end nothing may depend on the caches.
    for (const host of cluster.hosts) {
      host.powerOff();
      host.powerOn();
    }
    this.#compare('after a loss of power behind a clean end', ({ isPlain }) => !isPlain);
    operator.want(AT_HOME);
    await world.run(() => operator.daemon !== null, world.nowMs + 60_000);
    if (world.failure !== null) return;
    // One that can't flush is copied to first.
    if (cluster.hosts.some(({ isPlain }) => isPlain))
      await world.run(() => this.#isWhole(), world.nowMs + RECOVERY_MS);
    const active = operator.daemon?.hostsIn('ACTIVE').length ?? 0;
    if (active !== cluster.hosts.length)
      world.fail(`after a clean end only ${active} components are in step`);
    await this.#readEverything();
    await this.#stopAndCompare();
  }

  /** The mirror must become whole by itself, or after one more start; who was taken out is put in again. */
  async #recover(): Promise<void> {
    const { world, cluster, client, operator } = this.options;
    world.say(() => '*** everything works again');
    cluster.heal();
    // What is still planned to be healed later does no harm.
    for (const { drive } of cluster.hosts) drive.disk.bad.clear();
    const untilMs = world.nowMs + RECOVERY_MS;
    const use = (): void => {
      if (world.nowMs >= untilMs) return;
      world.after(500, use);
      operator.restoreAll();
      const { daemon } = operator;
      if (daemon?.mirror && !daemon.isStopping)
        client.start(daemon.mirror, 'flush', { firstSector: 0, sectorCount: 0 });
    };
    use();
    const isWhole = (): boolean => this.#isWhole();
    await world.run(isWhole, untilMs - RECOVERY_MS / 2);
    if (!isWhole() && world.failure === null) {
      world.say(() => '*** it does not become whole by itself');
      operator.stop(AT_HOME);
      await world.run(isWhole, untilMs);
    }
    if (!isWhole()) world.fail('the mirror does not become whole again');
    await world.run(() => client.inFlight === 0, world.nowMs + 10_000);
  }

  #isWhole(): boolean {
    const { world, cluster, operator, timeoutMs } = this.options;
    const { daemon } = operator;
    const count = daemon === null || daemon.isStopping ? 0 : daemon.hostsIn('ACTIVE').length;
    if (count < cluster.hosts.length) this.#wholeSinceMs = Infinity;
    else this.#wholeSinceMs = Math.min(this.#wholeSinceMs, world.nowMs);
    return world.nowMs - this.#wholeSinceMs > timeoutMs + 2000;
  }

  async #readEverything(): Promise<void> {
    const { world, client, operator, registers } = this.options;
    const mirror = operator.daemon?.mirror ?? null;
    if (world.failure !== null || mirror === null) return;
    for (const range of rangesOf(registers.writtenSectors())) {
      let isDone = false;
      // Whoever is asked first and whoever is asked next must say the same.
      client.start(mirror, 'read', range);
      client.start(mirror, 'read', range, () => (isDone = true));
      await world.run(() => isDone && client.inFlight === 0, world.nowMs + 60_000);
    }
  }

  async #stopAndCompare(): Promise<void> {
    const { world, cluster, operator } = this.options;
    if (world.failure !== null) return;
    operator.stop({ ...AT_HOME, afterMs: Infinity });
    await world.run(() => operator.daemon === null, world.nowMs + 60_000);
    if (operator.daemon !== null) world.fail('the mirror does not stop although all is well');
    this.#compare('after a clean end');
    for (const host of cluster.hosts) {
      const problem = await labelProblem(host);
      if (problem !== null) world.fail(`after a clean end the label of ${host.name} ${problem}`);
    }
  }

  #compare(when: string, isCompared: (host: Host) => boolean = () => true): void {
    const { hosts, mediaSizeBytes } = this.options.cluster;
    const [first, ...others] = hosts.filter(isCompared);
    for (const other of others) {
      const differing = differingChunks(
        first?.drive.disk.chunks ?? new Map(),
        other.drive.disk.chunks,
        mediaSizeBytes,
      );
      if (differing.length > 0)
        this.options.world.fail(
          `${when} ${first?.name ?? ''} and ${other.name} differ in region ${differing.join(', ')}`,
        );
    }
  }
}

/** What a kernel that takes over now would not understand. */
async function labelProblem({ name, drive: { disk } }: Host): Promise<string | null> {
  const { diskFlags } = decodeLabel(
    await readLabelSector(new ImageDevice(name, disk.chunks, disk.sizeBytes)),
  );
  if (diskFlags.dirty) return 'is still DIRTY';
  return diskFlags.synchronizing ? 'is still SYNCHRONIZING' : null;
}
