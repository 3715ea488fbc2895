#!/usr/bin/env node
import { failureOf, InterruptedError } from './errors.js';
import { createProgram } from './program.js';

/** What goes wrong ends here: one line for what the world did, more for our bugs. */
try {
  await (await createProgram(process.argv[2])).parseAsync(process.argv);
} catch (error) {
  const { exitCode, message } = failureOf(error);
  if (message !== null) process.stderr.write(`ggmirror: ${message}\n`);
  process.exitCode = exitCode;
  // Requests to a peer that does not answer would keep the process for some seconds more.
  if (error instanceof InterruptedError) process.exit(exitCode);
}
