import { pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { printable, type DaemonLog, type LogLevel, type TextOutput } from './log.js';

/** The log of `ggmirror serve`: a JSON line an event, or something for people where a person is looking. */
export function createServeLog(options: {
  readonly output: TextOutput;
  readonly isTerminal: boolean;
  readonly level: LogLevel;
}): DaemonLog {
  const { output, isTerminal, level } = options;
  const settings = { level, base: isTerminal ? null : { pid: process.pid } };
  if (!isTerminal) return pino({ ...settings, timestamp: pino.stdTimeFunctions.isoTime }, lines(output));
  // The factory formats on the spot. pino-pretty's stream would do it later, and lose the lines before an exit.
  const pretty = prettyFactory({
    colorize: true,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss',
    messageFormat: (entry, key) => printable(String(entry[key])),
  });
  return pino(settings, lines({ write: (line) => output.write(pretty(line)) }));
}

const lines = (output: TextOutput): { write(line: string): void } => ({
  write(line) {
    output.write(line);
  },
});
