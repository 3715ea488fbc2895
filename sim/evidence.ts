import type { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import { coverageProblem } from './coverage.js';
import { differingChunks, type Chunks } from './disk.js';

/** What is on the disks, to be compared with what is there later. */
export class Evidence {
  readonly #chunks: readonly Chunks[];

  constructor(private readonly cluster: Cluster) {
    this.#chunks = cluster.hosts.map(
      ({ drive: { disk } }) => new Map([...disk.chunks].map(([index, chunk]) => [index, Buffer.from(chunk)])),
    );
  }

  /** Fails the world if the data of one of these hosts has changed since. */
  mustStay(indexes: readonly number[], why: string): void {
    const { world, mediaSizeBytes } = this.cluster;
    for (const index of indexes) {
      const host = this.cluster.host(index);
      const before = this.#chunks[index] ?? new Map<number, Buffer>();
      const [changed] = differingChunks(before, host.drive.disk.chunks, mediaSizeBytes);
      if (changed !== undefined) world.fail(`although ${why}, ${host.name} was written in region ${changed}`);
    }
  }
}

/** Fails the world if a label or a private area can't be read, or could not be after a loss of power. */
export async function mustBeReadable(
  { world, hosts, mediaSizeBytes }: Cluster,
  chance: Chance,
): Promise<void> {
  const members = [...hosts.keys()];
  const standing = { members, inStep: [], mixed: [], ending: [], plain: [], isSettled: false };
  for (const isLost of [false, true]) {
    const images = hosts.map(({ name, drive: { disk } }) => ({
      name: `the disk of ${name}`,
      chunks: isLost ? disk.crashImage(chance) : disk.chunks,
      sizeBytes: disk.sizeBytes,
    }));
    const problem = await coverageProblem(images, standing, mediaSizeBytes);
    if (problem !== null) world.fail(problem);
  }
}
