import type { SeededRandom } from '../support/seeded-random.js';
import type { Backup } from './backup.js';
import type { EventLog } from './event-log.js';
import type { HostClock } from './host-clock.js';
import { CABLE_TROUBLES } from './hosts.js';
import type { Primary } from './primary.js';
import { SPOILS, type Spoil } from './spoil.js';

/** Something that goes wrong, and is made good again some time later. */
export interface Trouble {
  readonly kind: string;
  /** What it gives, or a promise of it, is false if there was nothing that it could have happened to. */
  readonly begin: () => unknown;
  /** False in the same way if nobody has noticed anything of it. */
  readonly end: () => unknown;
  readonly lastsMsMax: number;
}

/** Whom trouble happens to, one at a time. */
export interface Victim {
  readonly name: string;
  readonly troubles: readonly Trouble[];
}

/** Twice what happens often. */
export function backupVictim(backup: Backup, mediaSizeBytes: number, random: SeededRandom): Victim {
  const kill = {
    kind: 'kill server',
    lastsMsMax: 4000,
    begin: () => backup.kill(),
    end: () => backup.serve(),
  };
  const pause = {
    kind: 'pause server',
    lastsMsMax: 6000,
    begin: () => backup.pause(),
    end: () => backup.resume(),
  };
  const spoil = (what: Spoil): Trouble => ({
    kind: `spoil ${what}`,
    lastsMsMax: 2000,
    begin: async () => {
      await backup.kill();
      return backup.spoil(what, mediaSizeBytes, random);
    },
    end: () => backup.serve(),
  });
  const killSession = {
    kind: 'kill session',
    lastsMsMax: 1000,
    begin: () => backup.killSession(random),
    end: nothing,
  };
  return {
    name: backup.name,
    troubles: [kill, kill, kill, pause, pause, pause, killSession, killSession, ...SPOILS.map(spoil)],
  };
}

/** A disk that is full is noticed only by who needs more of it. */
export function diskVictim(backup: Backup): Victim {
  const full = {
    kind: 'disk full',
    lastsMsMax: 6000,
    begin: () => backup.fillDisk(),
    end: () => backup.clearDisk(),
  };
  return { name: `disk of ${backup.name}`, troubles: [full] };
}

export function cableVictim({ name, cable }: Backup): Victim {
  const troubles = CABLE_TROUBLES.map((trouble) => ({
    kind: `cable ${trouble}`,
    lastsMsMax: 6000,
    begin: () => cable.break(trouble),
    end: () => cable.heal(),
  }));
  return { name: `cable to ${name}`, troubles };
}

/** Of these any one block may go bad while nobody uses the only component that has everything. */
const OWN_SPOILS = ['superblock', 'log', 'bitmap'] as const;

export function mirrorVictim(mirror: Primary, mediaSizeBytes: number, random: SeededRandom): Victim {
  const spoilOwn = (what: Spoil): Trouble => ({
    kind: `spoil own ${what}`,
    lastsMsMax: 1000,
    begin: async () => {
      await mirror.stop();
      return mirror.spoil(what, mediaSizeBytes, random);
    },
    end: () => mirror.start(),
  });
  const killDevice = {
    kind: 'kill nbdfuse',
    lastsMsMax: 1000,
    begin: () => mirror.loseDevice(),
    end: () => mirror.findDevice(),
  };
  return {
    name: 'mirror',
    troubles: [
      { kind: 'kill mirror', lastsMsMax: 2000, begin: () => mirror.kill(), end: () => mirror.start() },
      { kind: 'kill mirror', lastsMsMax: 1, begin: () => mirror.kill(), end: () => mirror.start() },
      { kind: 'pause mirror', lastsMsMax: 5000, begin: () => mirror.pause(), end: () => mirror.resume() },
      { kind: 'stop mirror', lastsMsMax: 1000, begin: () => mirror.stop(), end: () => mirror.start() },
      ...(mirror.hasFileSystem ? [killDevice] : []),
      ...OWN_SPOILS.map(spoilOwn),
    ],
  };
}

const nothing = (): void => undefined;

/** A clock stays wrong until it jumps again. */
export function clockVictim(clock: HostClock, log: EventLog): Victim {
  const jump = {
    kind: 'clock jump',
    lastsMsMax: 4000,
    begin: () => {
      const before = clock.wrongByMs;
      clock.jump();
      log.note(`the clock of ${clock.host} is wrong by ${clock.wrongByMs / 1000} s`);
      return clock.wrongByMs !== before;
    },
    end: nothing,
  };
  return { name: `clock of ${clock.host}`, troubles: [jump] };
}

/** Between troubles of one victim. */
const PAUSE_MS_MAX = 5000;

/**
 * One after the other of what there is, in an order of chance, before any comes again: in a run that is long enough all
 * happen.
 */
export function* oneByOne<T>(all: readonly T[], random: SeededRandom): Generator<T, never> {
  for (;;) {
    const left = [...all];
    while (left.length > 0) yield* left.splice(random.below(left.length), 1);
  }
}

/** Makes trouble for its victims while it is noisy, each at its own pace. */
export class Troublemaker {
  #noisy = new Set<Victim>();
  #isEnding = false;
  /** Called to look again at what is wanted. */
  readonly #wakes = new Set<() => void>();
  #underWay = 0;

  constructor(
    private readonly log: EventLog,
    private readonly broken: (what: string) => void,
  ) {}

  /** Goes on until end(). Never rejects. */
  async plague(victim: Victim, random: SeededRandom): Promise<void> {
    for (const trouble of oneByOne(victim.troubles, random)) {
      await this.#wait(300 + random.below(PAUSE_MS_MAX), () => false);
      await this.#wait(Infinity, () => this.#noisy.has(victim));
      if (this.#isEnding) return;
      this.#underWay += 1;
      try {
        await this.#happen(victim, trouble, random.below(trouble.lastsMsMax));
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error);
        this.broken(`${trouble.kind}, ${victim.name}: ${said}`);
        return;
      } finally {
        this.#underWay -= 1;
        this.#wake();
      }
    }
  }

  /** Counts it if it has made a difference to anybody. */
  async #happen(victim: Victim, { kind, begin, end }: Trouble, lastsMs: number): Promise<void> {
    const what = `${kind}: ${victim.name}`;
    this.log.note(what);
    let hasHappened = (await begin()) !== false;
    try {
      await this.#wait(lastsMs, () => !this.#noisy.has(victim));
    } finally {
      // Whoever ends everything needs nothing made good.
      if (!this.#isEnding) hasHappened = (await end()) !== false && hasHappened;
    }
    if (hasHappened) this.log.count(kind);
    this.log.note(`over${hasHappened ? '' : ', and nothing has come of it'}: ${what}`);
  }

  /** Only these have trouble from now on. Resolves when nobody else has any more. */
  async choose(victims: readonly Victim[]): Promise<void> {
    this.#noisy = new Set(victims);
    this.#wake();
    if (victims.length === 0) await this.#wait(Infinity, () => this.#underWay === 0);
  }

  /** Lets things happen for so long, or until the end. */
  pass(lastsMs: number): Promise<void> {
    return this.#wait(lastsMs, () => false);
  }

  end(): void {
    this.#isEnding = true;
    this.#noisy.clear();
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#wakes]) wake();
  }

  /** So long, or until it is true, or until the end. */
  #wait(delayMs: number, isTrue: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#wakes.delete(look);
        resolve();
      };
      const look = (): void => {
        if (this.#isEnding || isTrue()) finish();
      };
      const timer = setTimeout(
        () => {
          if (Number.isFinite(delayMs)) finish();
        },
        Math.min(delayMs, 2_000_000_000),
      );
      this.#wakes.add(look);
      look();
    });
  }
}
