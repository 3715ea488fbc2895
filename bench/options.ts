import { parseArgs } from 'node:util';
import { tmpdir } from 'node:os';

/** What is measured, against whom, and for how long. */
export interface BenchOptions {
  /** Of one measurement. */
  readonly seconds: number;
  readonly rounds: number;
  readonly imageMiB: number;
  /** Where the images are made. A memory file system keeps write-back out of the numbers. */
  readonly directory: string;
  /** Only rows whose name contains it. */
  readonly only: string;
  /** A program, or its C source, which is then compiled; null leaves its columns empty. */
  readonly ggload: string | null;
  readonly ggceiling: string | null;
  readonly ggated: string | null;
  /** What `ggmirror serve` is started with besides its images, for comparing settings. */
  readonly serveArguments: readonly string[];
}

export const USAGE = `usage: npm run bench -- [options]
  --seconds N      length of one measurement (3)
  --rounds N       measurements of each cell; the median counts (5)
  --image-mib N    size of the image (256)
  --dir DIRECTORY  where the images are made (the system's temporary directory)
  --only TEXT      only rows whose name contains TEXT
  --ggload PATH    load generator, program or C source (GGLOAD); without it 'ggmirror bench' is the load
  --ggceiling PATH reference server, program or C source (GGCEILING)
  --ggated PATH    the real ggated (GGATED)
  --serve-arg ARG  one more argument of 'ggmirror serve'; may be repeated
`;

/** Throws an Error with one clear line. */
export function readOptions(words: readonly string[], environment: NodeJS.ProcessEnv): BenchOptions | null {
  const { values } = parseArgs({
    args: [...words],
    options: {
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '5' },
      'image-mib': { type: 'string', default: '256' },
      dir: { type: 'string', default: tmpdir() },
      only: { type: 'string', default: '' },
      ggload: { type: 'string', default: environment['GGLOAD'] ?? '' },
      ggceiling: { type: 'string', default: environment['GGCEILING'] ?? '' },
      ggated: { type: 'string', default: environment['GGATED'] ?? '' },
      'serve-arg': { type: 'string', multiple: true, default: [] },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  return {
    seconds: positive('--seconds', values.seconds),
    rounds: positive('--rounds', values.rounds),
    imageMiB: positive('--image-mib', values['image-mib']),
    directory: values.dir,
    only: values.only,
    ggload: values.ggload || null,
    ggceiling: values.ggceiling || null,
    ggated: values.ggated || null,
    serveArguments: values['serve-arg'],
  };
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${option} takes a number greater than 0, not '${text}'`);
  return value;
}
