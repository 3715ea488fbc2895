import type { ServerLog } from '../../server/server-log.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
type SpokenLevel = Exclude<LogLevel, 'silent'>;
type LogCall = ServerLog['info'];

/** What the daemon and its server write their log to: fields first, message second. A pino logger is one. */
export interface DaemonLog extends ServerLog {
  readonly fatal: LogCall;
}

/** The part of a stream that a log needs. */
export interface TextOutput {
  write(text: string): unknown;
}

/** Standard output for a daemon: whoever reads our log may go away, and the sessions must not notice. */
export function standardOutput(): TextOutput {
  process.stdout.removeAllListeners('error').on('error', () => undefined);
  return process.stdout;
}

/** What ggated calls our levels; LOG_CRIT has no user there and is an error too. */
export type GgatedLevel = 'error' | 'warning' | 'info' | 'debug';

const GGATED_LEVELS = {
  debug: 'debug',
  info: 'info',
  warn: 'warning',
  error: 'error',
  fatal: 'error',
} as const satisfies Record<SpokenLevel, GgatedLevel>;

/** A log that gives each event from `least` on to `write` as one line of printable text: the message, then the fields as `key=value`. */
export function createLineLog(
  write: (level: GgatedLevel, text: string) => void,
  least: LogLevel = 'debug',
): DaemonLog {
  const call =
    (level: SpokenLevel): LogCall =>
    (fields, message) => {
      if (LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(least))
        write(GGATED_LEVELS[level], renderLine(fields, message));
    };
  return {
    debug: call('debug'),
    info: call('info'),
    warn: call('warn'),
    error: call('error'),
    fatal: call('fatal'),
  };
}

/** `attached (peer=192.168.1.100 path="/root/my image" bytes=512)`, without a line break whatever the fields hold. */
export function renderLine(fields: object, message: string): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]: [string, unknown]) => `${key}=${renderValue(value)}`);
  const text = pairs.length === 0 ? message : `${message} (${pairs.join(' ')})`;
  return printable(text);
}

function renderValue(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  if (typeof value === 'string' && /^[^\s"()=]+$/.test(value)) return value;
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? String(part) : part));
}

/** Paths come from the network, so they could hold line breaks and terminal commands. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
