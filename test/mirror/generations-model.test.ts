import { describe, expect, test } from 'vitest';
import { AssembleError, type AssembledMirror } from '../../src/mirror/start/assembled.js';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import { comeBack, componentOf, MemberWorld, untilComplete } from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';
import { SeededRandom } from '../support/seeded-random.js';

const REGIONS = 12;
const NAMES = ['a', 'b'] as const;
type Name = (typeof NAMES)[number];
const otherOf = (name: Name): Name => (name === 'a' ? 'b' : 'a');

/**
 * Two disks, and what a person who wrote everything down would know of them: which of them went on without the other since
 * they were the same, and what has to be on each. Each step starts a mirror in some way and ends it, or crashes.
 */
class Model {
  readonly counts = { splits: 0, copies: 0, arrivals: 0 };
  /** By region: what was written last and flushed. */
  readonly #data: Record<Name, number[]> = { a: zeroes(), b: zeroes() };
  readonly #wentOn = new Set<Name>();
  /** They were lost, or their run crashed, with extents in the log: nobody else may have what is there, so a start alone goes on from it. */
  readonly #unclean = new Set<Name>();
  #value = 0;

  constructor(
    readonly world: MemberWorld,
    private readonly random: SeededRandom,
  ) {}

  async step(): Promise<void> {
    if (this.random.chance(0.5)) await this.#alone(this.random.pick(NAMES));
    else if (this.random.chance(0.3)) await this.#arrival(this.random.pick(NAMES));
    else await this.#both();
  }

  /** One is started without the other, and may be written to. */
  async #alone(name: Name): Promise<void> {
    const running = await this.#startAlone(name);
    await this.#write(running, [name]);
    await this.#end(running, [name]);
  }

  async #startAlone(name: Name): Promise<AssembledMirror> {
    const { world } = this;
    world.gone.add(otherOf(name));
    const running = await world.start('ab', { degraded: true });
    world.gone.clear();
    if (this.#unclean.has(name)) this.#wentOn.add(name);
    return running;
  }

  async #both(): Promise<void> {
    const { world } = this;
    if (this.#wentOn.size < 2) {
      const running = await world.start('ab');
      await this.#settled(running, this.#winner('a'));
      await this.#write(running, NAMES);
      await this.#end(running, NAMES);
      return;
    }
    this.counts.splits += 1;
    const before = NAMES.map((name) => Buffer.from(world.data(name, Infinity)));
    const refusal = await world.start('ab').catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(AssembleError);
    expect(refusal).toMatchObject({ code: 'ASSEMBLE_SPLIT_BRAIN' });
    expect(
      NAMES.map((name, index) => world.data(name, Infinity).equals(before[index] ?? Buffer.alloc(0))),
    ).toEqual([true, true]);
    if (this.random.chance(0.3)) return;
    const discard = this.random.pick(NAMES);
    const running = await world.start('ab', { discard: [discard] });
    await this.#settled(running, otherOf(discard));
    await this.#end(running, NAMES);
  }

  /** One runs alone when the other comes. */
  async #arrival(name: Name): Promise<void> {
    this.counts.arrivals += 1;
    const other = otherOf(name);
    const running = await this.#startAlone(name);
    await this.#write(running, [name]);
    const isBehind = !this.#wentOn.has(other);
    const outcome = await comeBack(running, other);
    if (isBehind) {
      expect(outcome).toBe('SYNCHRONIZING');
      await this.#settled(running, name);
    } else {
      expect(outcome).toBe(this.#wentOn.has(name) ? 'split brain' : 'newer');
      if (this.random.chance(0.5)) {
        componentOf(running, other).isDiscarded = true;
        expect(await comeBack(running, other)).toBe('SYNCHRONIZING');
        await this.#settled(running, name);
      } else {
        await this.#end(running, [name]);
        return;
      }
    }
    await this.#write(running, NAMES);
    await this.#end(running, NAMES);
  }

  #winner(fallback: Name): Name {
    return NAMES.find((name) => this.#wentOn.has(name)) ?? fallback;
  }

  /** Both have the winner's data. */
  async #settled(running: AssembledMirror, winner: Name): Promise<void> {
    const { world } = this;
    this.counts.copies += running.mirror.state === 'COMPLETE' ? 0 : 1;
    await untilComplete(running);
    await running.mirror.flushAll();
    this.#data[otherOf(winner)] = [...this.#data[winner]];
    for (const name of NAMES)
      expect(await contents(world, name), `${name}, as ${winner} had it`).toEqual(this.#data[winner]);
    const range = { offsetBytes: 0, lengthBytes: (REGIONS + 1) * REGION_SIZE_BYTES };
    const [one, two] = [await readBytes(world.device('a'), range), await readBytes(world.device('b'), range)];
    expect(one.equals(two)).toBe(true);
    this.#wentOn.clear();
    this.#unclean.clear();
  }

  async #write(running: AssembledMirror, names: readonly Name[]): Promise<void> {
    const writes = this.random.below(3);
    if (writes > 0 && names.length === 1) for (const name of names) this.#wentOn.add(name);
    for (let count = 0; count < writes; count++) {
      const region = this.random.below(REGIONS);
      const value = (this.#value = (this.#value % 250) + 1);
      await writeBytes(running.mirror, region * REGION_SIZE_BYTES, Buffer.alloc(4096, value));
      for (const name of names) this.#data[name][region] = value;
    }
    await running.mirror.flushAll();
    if (names.length < 2 || !this.random.chance(0.2)) return;
    // One is lost in the middle of it.
    const [loser, keeper] = this.random.chance(0.5) ? (['a', 'b'] as const) : (['b', 'a'] as const);
    if (running.mirror.log.size > 0) this.#unclean.add(loser);
    running.mirror.drop(componentOf(running, loser), lost(loser));
    await componentOf(running, loser).closing;
    await running.mirror.lossesRecorded();
    await this.#write(running, [keeper]);
  }

  async #end(running: AssembledMirror, names: readonly Name[]): Promise<void> {
    if (this.random.chance(0.6)) {
      await running.close();
      return;
    }
    if (this.random.chance(0.5)) {
      // Flushed by nobody, to a place that only has to be the same in the end.
      await writeBytes(
        running.mirror,
        REGIONS * REGION_SIZE_BYTES,
        Buffer.alloc(8192, this.random.below(256)),
      );
      const alone = running.mirror.active.length === 1 ? running.mirror.active[0]?.name : undefined;
      for (const name of names) if (alone === name) this.#wentOn.add(name);
    }
    if (running.mirror.log.size > 0)
      for (const name of NAMES) if (componentOf(running, name).state === 'ACTIVE') this.#unclean.add(name);
    this.world.crash(this.random.below(1000));
  }
}

const zeroes = (): number[] => new Array<number>(REGIONS).fill(0);

async function contents(world: MemberWorld, name: Name): Promise<number[]> {
  const bytes = await readBytes(world.device(name), {
    offsetBytes: 0,
    lengthBytes: REGIONS * REGION_SIZE_BYTES,
  });
  return zeroes().map((_, region) => bytes[region * REGION_SIZE_BYTES] ?? -1);
}

describe('two disks that are started alone, together and against each other in any order', () => {
  test('are never copied in the wrong direction, and split exactly when both went on', async () => {
    const sum = { splits: 0, copies: 0, arrivals: 0 };
    for (let seed = 1; seed <= 12; seed++) {
      const world = await new MemberWorld('ab').create('ab');
      const model = new Model(world, new SeededRandom(seed));
      try {
        for (let step = 0; step < 25; step++) await model.step();
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      for (const key of ['splits', 'copies', 'arrivals'] as const) sum[key] += model.counts[key];
    }
    expect(
      Object.values(sum).every((count) => count > 10),
      JSON.stringify(sum),
    ).toBe(true);
  });
});
