import { parseArgs } from 'node:util';
import type { Way } from './life.js';
import { TROUBLES, WIRES } from './plan.js';
import { type Planted, PLANTED } from './planted/all.js';
import { SPLITS } from './split-brain.js';

export const USAGE = `usage: npm run sim -- [options]
  --seed N            the first seed (1)
  --runs N            how many seeds (1; without an end if a time is given)
  --seconds N         go on for so long
  --hours N           go on for so long
  --trace             print everything that happens
  --wire KIND         queue, sessions or alone (docs/simulator.md); each seed is lived in all three if it is not given
  --plain             the server of one host can't flush, as a plain ggated
  --jumps             clocks go on by up to an hour at once
  --split-brain       both hosts start the mirror and write, without knowing of each other, or one by force
  --split KIND        of these lives only both, or forced
  --only KINDS        a life is all about these kinds of trouble: cut,power (--only ? says which there are)
  --minimise          leave out of a failing seed what it fails without, and print what is left
  --steps LIST        only these steps of a plan, as --minimise prints them: 3,7-9
  --plant NAME        with a mistake planted that must be found; any part of its name that no other one has
  --plants            print the names of all that can be planted
Exit status: 0 if every promise held, 1 if one was broken, 2 for options that make no sense.
`;

/** What a person asked for that makes no sense; `message` says so in one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Options {
  readonly firstSeed: number;
  readonly runsMax: number;
  readonly forMs: number;
  readonly isTraced: boolean;
  readonly isMinimised: boolean;
  readonly ways: readonly Way[];
  readonly steps: readonly number[] | undefined;
  readonly plant: Planted | undefined;
  /** Nothing is to be lived, and this be printed. */
  readonly print: string | null;
}

/** Throws UsageError. */
export function readOptions(args: readonly string[]): Options {
  const values = parse(args);
  const isTimed = values.seconds !== undefined || values.hours !== undefined;
  const seconds = numberOf('seconds', values.seconds ?? '0') + 3600 * numberOf('hours', values.hours ?? '0');
  const plant = values.plant === undefined ? undefined : findPlanted(values.plant);
  const names = PLANTED.map(({ name }) => `${name}\n`).join('');
  return {
    firstSeed: numberOf('seed', values.seed),
    runsMax: values.runs === undefined ? (isTimed ? Infinity : 1) : numberOf('runs', values.runs),
    forMs: isTimed ? seconds * 1000 : Infinity,
    isTraced: values.trace,
    isMinimised: values.minimise,
    ways: waysOf(values, plant),
    steps: values.steps === undefined ? undefined : parseSteps(values.steps),
    plant,
    print: values.help ? USAGE : values.plants ? names : null,
  };
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string', default: '1' },
        runs: { type: 'string' },
        seconds: { type: 'string' },
        hours: { type: 'string' },
        trace: { type: 'boolean', default: false },
        wire: { type: 'string' },
        'split-brain': { type: 'boolean', default: false },
        split: { type: 'string' },
        minimise: { type: 'boolean', default: false },
        steps: { type: 'string' },
        plant: { type: 'string' },
        plants: { type: 'boolean', default: false },
        only: { type: 'string' },
        plain: { type: 'boolean', default: false },
        jumps: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0)) throw new UsageError(`--${option} ${text}: that is no number`);
  return value;
}

interface WayWords {
  readonly wire?: string | undefined;
  readonly 'split-brain': boolean;
  readonly split?: string | undefined;
  readonly only?: string | undefined;
  readonly plain: boolean;
  readonly jumps: boolean;
}

/** What was not said is as the planted mistake is found, if there is one; else it is every way. */
function waysOf(words: WayWords, plant: Planted | undefined): readonly Way[] {
  const { wire, split, plain, jumps } = words;
  const isSplit = words['split-brain'] || split !== undefined;
  const only = words.only?.split(',').flatMap((text) => choose('only', text, TROUBLES));
  const isSaid = wire !== undefined || isSplit || plain || jumps || only !== undefined;
  if (plant !== undefined && !isSaid) return [plant.way];
  const wires = choose('wire', wire, WIRES);
  if (!isSplit)
    return wires.map((one) => ({ wire: one, plain, jumps, ...(only === undefined ? {} : { only }) }));
  const splits = choose('split', split, SPLITS);
  const remote = wires.filter((one) => one !== 'alone');
  return splits.flatMap((one) => remote.map((each) => ({ wire: each, split: one })));
}

/** All, if none is named. */
function choose<Kind extends string>(
  option: string,
  text: string | undefined,
  known: readonly Kind[],
): readonly Kind[] {
  if (text === undefined) return known;
  const chosen = known.filter((one) => one === text);
  if (chosen.length === 0) throw new UsageError(`--${option} ${text}: known are ${known.join(', ')}`);
  return chosen;
}

function findPlanted(text: string): Planted {
  const whole = PLANTED.filter(({ name }) => name === text);
  const [found, ...others] = whole.length > 0 ? whole : PLANTED.filter(({ name }) => name.includes(text));
  if (found === undefined || others.length > 0)
    throw new UsageError(
      `--plant ${text}: ${found === undefined ? 'no' : 'more than one'} name has that; --plants prints them`,
    );
  return found;
}

/** See runsTextOf(). */
function parseSteps(text: string): number[] {
  return text.split(',').flatMap((run) => {
    const match = /^(\d+)(?:-(\d+))?$/.exec(run);
    if (match === null) throw new UsageError(`--steps ${text}: steps are given as 3,7-9`);
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
