import type { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.js';

const NAMES = (await createProgram()).commands.map((command) => command.name());

let program: Command;

beforeAll(async () => {
  program = await createProgram();
});

function helpOf(command: Command): string {
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  return help;
}

/** What follows the line 'Examples:', which is the end. */
function examplesOf(name: string): string[] {
  const command = program.commands.find((one) => one.name() === name);
  if (command === undefined) throw new Error(`no command ${name}`);
  const [, examples = ''] = helpOf(command).split('\nExamples:\n');
  return examples.trimEnd().split('\n');
}

/** The words of a line of shell, without what it pipes into and its quotes. */
const wordsOf = (line: string): string[] => (line.split(' | ')[0] ?? '').trim().split(/\s+/);

describe('the help', () => {
  test('has all commands', () => expect(NAMES.length).toBeGreaterThan(25));

  test.each(NAMES)(
    'of %s ends with examples of that command, which its own command line takes',
    async (name) => {
      const lines = examplesOf(name);
      const commandLines = lines.filter((line) => /^ {2}\S/.test(line));
      expect(commandLines.some((line) => line.startsWith(`  ggmirror ${name}`))).toBe(true);
      // Nothing but command lines and, indented further, what they do.
      expect(lines.filter((line) => !/^ {2}\S/.test(line) && !/^ {6}\S/.test(line))).toEqual([]);
      for (const line of commandLines) {
        const [first, ...words] = wordsOf(line);
        if (first !== 'ggmirror') continue;
        const parsed = await createProgram(words[0]);
        let isTaken = false;
        for (const command of parsed.commands) {
          command.action(() => {
            isTaken = true;
          });
        }
        await parsed.parseAsync(['node', 'ggmirror', ...words]);
        expect(isTaken, line).toBe(true);
      }
    },
  );
});
