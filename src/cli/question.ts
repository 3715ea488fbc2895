import { createInterface } from 'node:readline';
import { CommandError, InterruptedError } from './errors.js';
import { type Interrupt, unlessInterrupted, withSignals } from './interrupt.js';

/** What a person is to say yes to. */
export interface Question {
  /** Whole lines that name what will be overwritten, and with what. */
  readonly says: readonly string[];
  /** For whoever is no person at a terminal: what is wrong, and how to have it done all the same. */
  readonly refusal: string;
}

interface Streams {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/**
 * Resolves when a person at the terminal has typed 'yes'. Everything else, and the end of input, is a no: CommandError; ctrl-C
 * is InterruptedError.
 */
export async function requireYes(
  { says, refusal }: Question,
  { input, output }: Streams = { input: process.stdin, output: process.stderr },
  interruptible: (
    work: (interrupt: Interrupt) => Promise<string | null>,
  ) => Promise<string | null> = withSignals,
): Promise<void> {
  if (input.isTTY !== true || output.isTTY !== true) throw new CommandError(refusal);
  output.write(`${says.join('\n')}\nType 'yes' to do that: `);
  const ask = (interrupt: Interrupt): Promise<string | null> =>
    unlessInterrupted(interrupt, readLine(input), 'interrupted; nothing was changed');
  const answer = await interruptible(ask).catch((error: unknown) => {
    if (error instanceof InterruptedError) output.write('\n');
    throw error;
  });
  if (answer === null) output.write('\n');
  if (answer?.trim() !== 'yes') throw new CommandError('nothing was changed');
}

/** Null at the end of input. */
async function readLine(input: NodeJS.ReadableStream): Promise<string | null> {
  const lines = createInterface({ input, terminal: false });
  try {
    return await new Promise((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve(null));
    });
  } finally {
    lines.close();
    // Or the process would wait for more of it.
    input.pause();
  }
}
