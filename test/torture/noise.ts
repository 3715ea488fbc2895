import { SeededRandom } from '../support/seeded-random.js';
import type { EventLog } from './event-log.js';
import type { Primary } from './primary.js';
import type { Site } from './site.js';
import {
  backupVictim,
  cableVictim,
  clockVictim,
  diskVictim,
  mirrorVictim,
  Troublemaker,
  type Victim,
} from './troubles.js';

const NOISE_MS_MIN = 4000;
const NOISE_MS_MAX = 18_000;

export interface NoiseOptions {
  readonly site: Site;
  readonly primary: Primary;
  readonly log: EventLog;
  readonly random: SeededRandom;
  readonly broken: (what: string) => void;
}

/** Phases in which several things on several hosts have trouble at once. */
export class Noise {
  readonly #troublemaker: Troublemaker;
  #victims: readonly Victim[] = [];
  #plagues: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: NoiseOptions) {
    this.#troublemaker = new Troublemaker(options.log, options.broken);
  }

  /** All that there will be if it goes on for long enough. */
  get kinds(): string[] {
    return this.#victims.flatMap(({ troubles }) => troubles.map(({ kind }) => kind));
  }

  /** The mirror runs; it is still quiet. */
  begin(mediaSizeBytes: number): void {
    const { site, primary, log, random } = this.options;
    this.#victims = [
      ...site.backups.flatMap((backup) => [
        backupVictim(backup, mediaSizeBytes, random),
        cableVictim(backup),
        diskVictim(backup),
      ]),
      mirrorVictim(primary, mediaSizeBytes, random),
      ...site.clocks.all.map((clock) => clockVictim(clock, log)),
    ];
    const seed = random.below(1_000_000);
    this.#plagues = Promise.all(
      this.#victims.map((victim, index) => this.#troublemaker.plague(victim, new SeededRandom(seed + index))),
    );
  }

  /** One phase, of `lastsMsMax` at most. Whatever has happened is made good in the end. */
  async rise(lastsMsMax: number): Promise<void> {
    const { log, random } = this.options;
    const some = this.#victims.filter(() => random.chance(0.6));
    const noisy = some.length === 0 ? [random.pick(this.#victims)] : some;
    log.note(`noise: ${noisy.map(({ name }) => name).join(', ')}`);
    await this.#troublemaker.choose(noisy);
    const lastsMs = NOISE_MS_MIN + random.below(NOISE_MS_MAX - NOISE_MS_MIN);
    await this.#troublemaker.pass(Math.min(lastsMs, lastsMsMax));
    await this.#troublemaker.choose([]);
    log.note('calm');
  }

  /** Nothing is made good any more. */
  end(): void {
    this.#troublemaker.end();
  }

  /** Resolves when nothing happens any more. */
  async ended(): Promise<void> {
    await this.#plagues;
  }
}
