#!/usr/bin/env node
import { startDetached } from './daemon/detach.js';
import { failureOf } from './errors.js';
import { GGATED_USAGE, parseGgatedCommandLine } from './ggated/options.js';
import { runGgated } from './ggated/run.js';

/** What an administrator gets in place of FreeBSD's ggated: its command line, its messages, its way to the background. */
async function main(): Promise<number> {
  const commandLine = parseGgatedCommandLine(process.argv.slice(2), process.cwd());
  if (commandLine.kind === 'usage') {
    if (commandLine.message !== null) complain(commandLine.message);
    process.stderr.write(GGATED_USAGE);
    return 1;
  }
  if (commandLine.kind === 'invalid') {
    complain(commandLine.message);
    return 1;
  }
  const { options } = commandLine;
  if (options.verbose) await runGgated(options, () => undefined);
  else await startDetached(new URL('ggated/child.js', import.meta.url), options);
  return 0;
}

function complain(message: string): void {
  process.stderr.write(`ggated: ${message}\n`);
}

try {
  process.exit(await main());
} catch (error) {
  const { exitCode, message } = failureOf(error);
  if (message !== null) complain(message);
  process.exit(exitCode);
}
