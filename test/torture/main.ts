/** Tortures real programs for as long as it is told: npm run torture -- --help. */
import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { inWords, missingIn, sumOf, type Happened } from './happened.js';
import { canMakeHosts } from './hosts.js';
import { makeFolder } from './leftovers.js';
import { isMistake, MISTAKES } from './mistakes.js';
import { torture } from './torture.js';

const USAGE = `usage: npm run torture -- [options]
  --seconds N   go on for so long (120); longer runs change the seed every ten minutes
  --seed N      the first seed (by the clock)
  --keep        leave images and logs where they are, and say where
  --mistake M   have programs do something wrong, which must be found (${Object.keys(MISTAKES).join(', ')})
  --quiet       print only the result
`;
const LIFE_SECONDS = 600;
/** By then all kinds of trouble must have happened. */
const LONG_SECONDS = 1800;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '120' },
      seed: { type: 'string', default: String(Math.floor(Date.now() / 1000)) },
      keep: { type: 'boolean', default: false },
      mistake: { type: 'string' },
      quiet: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [seconds, firstSeed] = [Number(values.seconds), Number(values.seed)];
  const { mistake } = values;
  if (mistake !== undefined && !isMistake(mistake)) {
    process.stderr.write(USAGE);
    return 2;
  }
  if (!(seconds > 0) || !Number.isSafeInteger(firstSeed) || firstSeed < 0 || firstSeed >= 2 ** 32) {
    process.stderr.write(USAGE);
    return 2;
  }
  if (!canMakeHosts()) {
    process.stderr.write('torture: needs Linux, root, ip (iproute2), nsenter and setpriv (util-linux)\n');
    return 1;
  }
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt.abort());
  const tell = values.quiet ? null : say;
  let leftSeconds = seconds;
  let happened: Happened = {};
  for (let seed = firstSeed; leftSeconds > 0; seed++, leftSeconds -= LIFE_SECONDS) {
    const folder = makeFolder();
    const lifeSeconds = Math.min(leftSeconds, LIFE_SECONDS);
    const result = await torture({
      seed,
      seconds: lifeSeconds,
      folder,
      tell,
      mistake,
      signal: interrupt.signal,
    });
    if (result.problem !== null && values.quiet) for (const line of result.events) say(line);
    say(result.summary);
    happened = sumOf(happened, result.happened);
    if (values.keep) say(`kept in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
    if (result.problem === null) continue;
    say(`BROKEN: ${result.problem}`);
    say(`again, as far as chance allows: npm run torture -- --seconds ${lifeSeconds} --seed ${seed} --keep`);
    return 1;
  }
  const missing = missingIn(happened);
  if (seconds < LONG_SECONDS) return 0;
  say(`in all: ${inWords(happened)}`);
  if (missing.length > 0) say(`BROKEN: of this nothing has happened: ${missing.join(', ')}`);
  return missing.length > 0 ? 1 : 0;
}

process.exitCode = await main();
