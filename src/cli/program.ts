import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { writeQuietly } from './output.js';

/** In the order of the help. Each loads what it needs and no more: that is most of the time of a short command. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./commands/serve.js')).serveCommand(),
  info: async () => (await import('./commands/info.js')).infoCommand(),
  copy: async () => (await import('./commands/copy.js')).copyCommand(),
  dump: async () => (await import('./commands/dump.js')).dumpCommand(),
  clear: async () => (await import('./commands/clear.js')).clearCommand(),
  label: async () => (await import('./commands/label.js')).labelCommand(),
  start: async () => (await import('./commands/start.js')).startCommand(),
  promote: async () => (await import('./commands/promote.js')).promoteCommand(),
  demote: async () => (await import('./commands/demote.js')).demoteCommand(),
  status: async () => (await import('./commands/status.js')).statusCommand(),
  list: async () => (await import('./commands/list.js')).listCommand(),
  configure: async () => (await import('./commands/configure.js')).configureCommand(),
  rebuild: async () => (await import('./commands/rebuild.js')).rebuildCommand(),
  resolve: async () => (await import('./commands/resolve.js')).resolveCommand(),
  verify: async () => (await import('./commands/verify.js')).verifyCommand(),
  insert: async () => (await import('./commands/members.js')).insertCommand(),
  remove: async () => (await import('./commands/members.js')).removeCommand(),
  deactivate: async () => (await import('./commands/members.js')).deactivateCommand(),
  activate: async () => (await import('./commands/members.js')).activateCommand(),
  forget: async () => (await import('./commands/members.js')).forgetCommand(),
  resize: async () => (await import('./commands/resize.js')).resizeCommand(),
  stop: async () => (await import('./commands/stop.js')).stopCommand(),
  destroy: async () => (await import('./commands/stop.js')).destroyCommand(),
  attach: async () => (await import('./commands/attach.js')).attachCommand(),
  detach: async () => (await import('./commands/attach.js')).detachCommand(),
  bench: async () => (await import('./commands/bench.js')).benchCommand(),
  demo: async () => (await import('./commands/demo.js')).demoCommand(),
};

/**
 * The command line: of the command that is called `wanted`, or the whole one if there is no such command. Parsing throws
 * CommanderError in place of ending the process.
 */
export async function createProgram(wanted = ''): Promise<Command> {
  const program = new Command('ggmirror')
    .description(
      "block devices over FreeBSD's ggate protocol: serve them, mirror them, copy them, measure them",
    )
    // No short form, and only before the command: bench has a -V of its own.
    .version(readVersion(), '--version')
    .enablePositionalOptions()
    .addHelpText('after', '\nStart with: ggmirror demo');
  const one = Object.hasOwn(COMMANDS, wanted) ? COMMANDS[wanted] : undefined;
  for (const load of one === undefined ? Object.values(COMMANDS) : [one]) program.addCommand(await load());
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
