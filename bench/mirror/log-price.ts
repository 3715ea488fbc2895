/** The price of activity log and bitmap on writes into a hot working set: the same mirror with and without them. */
import { join } from 'node:path';
import { type FioWork, runFio } from '../fio.js';
import { median } from '../report.js';
import { startTarget, stopAll, type Target } from '../target.js';
import type { RateOptions, Row } from './rates.js';
import { makeSparse } from './rig.js';

const NAME = 'writes into a hot working set, log and bitmap';

export async function measureLogPrice(options: RateOptions): Promise<Row[]> {
  if (!NAME.includes(options.only)) return [];
  const { scratch, imageMiB, rounds, seconds } = options;
  const work: FioWork = { name: NAME, rw: 'randwrite', blockBytes: 4096, depth: 32 };
  const targets: Target[] = [];
  const rates = { with: [] as number[], without: [] as number[] };
  try {
    for (const kind of ['with', 'without'] as const) targets.push(await startMirror(kind, scratch, imageMiB));
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < 2; turn++) {
        const index = (turn + round) % 2;
        const target = targets[index];
        if (target === undefined) continue;
        const rate = await runFio(work, { uri: target.uri, imageMiB: imageMiB - 8, seconds, scratch });
        rates[index === 0 ? 'with' : 'without'].push(rate);
      }
    }
  } finally {
    await stopAll(targets);
  }
  const [ours, free] = [median(rates.with) ?? 0, median(rates.without) ?? 0];
  process.stderr.write(`${NAME}: with ${Math.round(ours)}, without ${Math.round(free)}\n`);
  return [
    {
      name: NAME,
      ours: `${Math.round(ours).toLocaleString('en')} ops/s`,
      reference: `without them (${Math.round(free).toLocaleString('en')})`,
      ratio: ours / free,
      target: 0.9,
      isMet: ours / free >= 0.9,
    },
  ];
}

async function startMirror(kind: 'with' | 'without', scratch: string, imageMiB: number): Promise<Target> {
  const images = ['one', 'two'].map((name) => join(scratch, `log-${kind}-${name}.img`));
  for (const image of images) makeSparse(image, imageMiB);
  const socket = join(scratch, `log-${kind}.sock`);
  return await startTarget({
    name: `mirror ${kind} log`,
    program: process.execPath,
    words: [join(import.meta.dirname, 'serve.js'), kind, socket, ...images],
    socket,
  });
}
