import { endOnSignals } from './ending.js';
import { messageOf } from '../src/protocol/errors.js';

/** The whole of a benchmark: what it throws is one line, and exit status 1. */
export async function runMain(main: () => Promise<void>): Promise<void> {
  endOnSignals();
  try {
    await main();
  } catch (error) {
    process.stderr.write(`bench: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
