import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { endingSignal } from './ending.js';
import { ownCommand, type Server } from './processes.js';
import type { Work } from './work.js';

export type LoadName = 'ggload' | 'ggmirror bench';

/** What one load generator measured in one run. */
export interface Rate {
  readonly operationsPerSecond: number;
}

/** Runs one load generator an image at the same time. The rate is the sum. Throws if one of them met an error. */
export async function runLoad(
  load: { readonly name: LoadName; readonly program: string | null },
  work: Work,
  server: Server,
  images: readonly string[],
  seconds: number,
): Promise<Rate> {
  const runs = images.slice(0, work.clients).map((image) => {
    return load.name === 'ggload' && load.program !== null
      ? runGgload(load.program, work, server, image, seconds)
      : runOwn(work, server, image, seconds);
  });
  const rates = await Promise.all(runs);
  return { operationsPerSecond: rates.reduce((sum, rate) => sum + rate, 0) };
}

async function runGgload(
  program: string,
  work: Work,
  server: Server,
  image: string,
  seconds: number,
): Promise<number> {
  const words = ['-p', server.port, '-b', work.blockBytes, '-q', work.depth, '-t', seconds, '-m', work.mode];
  const output = await runLoadProgram(program, [
    ...words.map(String),
    ...(work.isSequential ? ['-s'] : []),
    '127.0.0.1',
    image,
  ]);
  const rate = /ops_per_s=(\d+)/.exec(output)?.[1];
  if (rate === undefined) throw new Error(`${program} printed no rate: ${output}`);
  return Number(rate);
}

async function runOwn(work: Work, server: Server, image: string, seconds: number): Promise<number> {
  const [program, words] = ownCommand([
    'bench',
    `ggate://127.0.0.1:${server.port}${image}`,
    ...['--json', '--force', '--mode', work.mode],
    ...['--block', String(work.blockBytes), '--depth', String(work.depth), '--time', String(seconds)],
    ...(work.isSequential ? ['--sequential'] : []),
  ]);
  const output = await runLoadProgram(program, words);
  const report = JSON.parse(output) as { readonly opsPerSecond?: unknown };
  if (typeof report.opsPerSecond !== 'number') throw new Error(`ggmirror bench printed no rate: ${output}`);
  return report.opsPerSecond;
}

/** Runs a load: as run(), but ended at once, and throwing, when the benchmark is to end. */
export async function runLoadProgram(program: string, words: readonly string[]): Promise<string> {
  endingSignal.throwIfAborted();
  try {
    return await run(program, words, {}, endingSignal);
  } catch (error) {
    endingSignal.throwIfAborted();
    throw error;
  }
}

/** Its standard output. Throws with what it said if it failed. Sends it a SIGTERM at `end`. */
export async function run(
  program: string,
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
  end?: AbortSignal,
): Promise<string> {
  const child = spawn(program, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const kill = (): void => void child.kill('SIGTERM');
  end?.addEventListener('abort', kill);
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  end?.removeEventListener('abort', kill);
  if (code !== 0)
    throw new Error(
      `${[program, ...words].join(' ')} ended with ${code ?? signal ?? '?'}: ${complaint}${output}`,
    );
  return output;
}
