import { execFileSync } from 'node:child_process';
import { renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SeededRandom } from '../support/seeded-random.js';

const [SECOND_MS, HOUR_MS, DAY_MS] = [1000, 3_600_000, 86_400_000];
/** How far a clock is wrong: a little, hours, days, and as a machine without a battery or with a false one. */
const JUMPS_MS = [SECOND_MS, 90 * SECOND_MS, HOUR_MS, 5 * HOUR_MS, 3 * DAY_MS, 7000 * DAY_MS];
/** What a program may find that its machine has been up for when it starts, and more than 32 bits of milliseconds. */
const UPTIME_SECONDS_MAX = 20_000_000;

/** Takes the place of the wall clock in each thread of a program. It looks often how wrong the clock is just now. */
const shimOf = (path: string): string => `'use strict';
const { readFileSync } = require('node:fs');
const { performance } = require('node:perf_hooks');
const RealDate = Date;
const realNow = Date.now;
let wrongByMs = 0;
let lookAtMs = 0;
function now() {
  if (performance.now() >= lookAtMs) {
    wrongByMs = Number(readFileSync(${JSON.stringify(path)}, 'latin1'));
    lookAtMs = performance.now() + 20;
  }
  return realNow() + wrongByMs;
}
globalThis.Date = new Proxy(RealDate, {
  get: (target, key, receiver) => (key === 'now' ? now : Reflect.get(target, key, receiver)),
  construct: (target, words, maker) => Reflect.construct(target, words.length === 0 ? [now()] : words, maker),
  apply: () => new RealDate(now()).toString(),
});
`;

/**
 * The clocks of one host, as its programs see them: this machine's are left alone. The wall clock jumps while they run,
 * in every thread of theirs and whatever they start; the monotonic one is another one at each start, as after a reboot.
 */
export class HostClock {
  readonly #path: string;
  readonly #shimPath: string;
  #wrongByMs = 0;
  readonly #preloaded: string[] = [];

  constructor(
    folder: string,
    readonly host: string,
    private readonly random: SeededRandom,
  ) {
    this.#path = join(folder, `clock-${host}`);
    this.#shimPath = `${this.#path}.cjs`;
    this.#set(0);
    writeFileSync(this.#shimPath, shimOf(this.#path));
  }

  /** What a program of the host needs in its environment. */
  get environment(): Readonly<Record<string, string>> {
    return { NODE_OPTIONS: [`--require=${this.#shimPath}`, ...this.#preloaded].join(' ') };
  }

  /** Another option that Node.js is started with there from now on. */
  preload(option: string): void {
    this.#preloaded.push(option);
  }

  /** What a program's command line begins with to be started at another uptime. It becomes the program itself. */
  anUptime(): readonly string[] {
    if (!canShiftUptime()) return [];
    const seconds = String(this.random.below(UPTIME_SECONDS_MAX));
    return ['unshare', '--time', '--monotonic', seconds, '--boottime', seconds];
  }

  get wrongByMs(): number {
    return this.#wrongByMs;
  }

  /** How wrong it is changes, more often than not. */
  jump(): void {
    const sign = this.random.chance(0.5) ? 1 : -1;
    this.#set(this.random.chance(0.2) ? 0 : sign * this.random.pick(JUMPS_MS));
  }

  /** A file was written last at what is now on this host. */
  stamp(path: string): void {
    const seconds = (Date.now() + this.#wrongByMs) / 1000;
    utimesSync(path, seconds, seconds);
  }

  /** Under another name first: who looks must not find a part of it. */
  #set(wrongByMs: number): void {
    this.#wrongByMs = wrongByMs;
    writeFileSync(`${this.#path}.new`, String(wrongByMs));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

/** Those of all hosts, by their names. */
export class HostClocks {
  readonly #clocks: HostClock[] = [];

  constructor(
    private readonly folder: string,
    private readonly seed: number,
  ) {}

  get all(): readonly HostClock[] {
    return this.#clocks;
  }

  of(host: string): HostClock {
    const known = this.#clocks.find((clock) => clock.host === host);
    const random = new SeededRandom(this.seed + this.#clocks.length);
    const clock = known ?? new HostClock(this.folder, host, random);
    if (known === undefined) this.#clocks.push(clock);
    return clock;
  }
}

let isUptimeShiftable: boolean | null = null;

/** Not every kernel has time namespaces (Linux 5.6, util-linux 2.36). */
function canShiftUptime(): boolean {
  if (isUptimeShiftable === null) {
    try {
      execFileSync('unshare', ['--time', '--monotonic', '1', '--boottime', '1', 'true'], { stdio: 'ignore' });
      isUptimeShiftable = true;
    } catch {
      isUptimeShiftable = false;
    }
  }
  return isUptimeShiftable;
}
