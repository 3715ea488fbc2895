import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { attachCommand, detachCommand } from './commands/attach.js';
import { benchCommand } from './commands/bench.js';
import { clearCommand } from './commands/clear.js';
import { configureCommand } from './commands/configure.js';
import { copyCommand } from './commands/copy.js';
import { demoteCommand } from './commands/demote.js';
import { demoCommand } from './commands/demo.js';
import { dumpCommand } from './commands/dump.js';
import { infoCommand } from './commands/info.js';
import { labelCommand } from './commands/label.js';
import { listCommand } from './commands/list.js';
import {
  activateCommand,
  deactivateCommand,
  destroyCommand,
  forgetCommand,
  insertCommand,
  removeCommand,
} from './commands/members.js';
import { promoteCommand } from './commands/promote.js';
import { rebuildCommand } from './commands/rebuild.js';
import { serveCommand } from './commands/serve.js';
import { startCommand } from './commands/start.js';
import { statusCommand } from './commands/status.js';
import { stopCommand } from './commands/stop.js';
import { verifyCommand } from './commands/verify.js';
import { writeQuietly } from './output.js';

/** The whole command line. Parsing throws CommanderError in place of ending the process. */
export function createProgram(): Command {
  const program = new Command('ggmirror')
    .description("block devices over FreeBSD's ggate protocol: serve them, copy them, measure them")
    // No short form, and only before the command: bench has a -V of its own.
    .version(readVersion(), '--version')
    .enablePositionalOptions()
    .addHelpText('after', '\nStart with: ggmirror demo');
  const onDevices = [serveCommand(), infoCommand(), copyCommand(), dumpCommand(), clearCommand()];
  const running = [
    startCommand(),
    promoteCommand(),
    demoteCommand(),
    statusCommand(),
    listCommand(),
    configureCommand(),
    rebuildCommand(),
    verifyCommand(),
    insertCommand(),
    removeCommand(),
    deactivateCommand(),
    activateCommand(),
    forgetCommand(),
    stopCommand(),
    destroyCommand(),
  ];
  const onMirrors = [labelCommand(), ...running, attachCommand(), detachCommand()];
  for (const command of [...onDevices, ...onMirrors, benchCommand(), demoCommand()])
    program.addCommand(command);
  // Commands that are added don't inherit settings, so each gets them.
  for (const command of [program, ...program.commands]) configure(command);
  return program;
}

function configure(command: Command): void {
  command
    .exitOverride()
    .showHelpAfterError(false)
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => writeQuietly(process.stdout, text),
      outputError: (text, write) => write(text.replace(/^error: /, 'ggmirror: ')),
    });
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
