import type { ServerLog } from '../../src/server/server-log.js';

export interface LogLine {
  readonly level: keyof ServerLog;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** A log that can be looked at. It needs its `this`, as pino does. */
export class MemoryLog implements ServerLog {
  readonly lines: LogLine[] = [];

  debug(fields: LogLine['fields'], message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }
  info(fields: LogLine['fields'], message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }
  warn(fields: LogLine['fields'], message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }
  error(fields: LogLine['fields'], message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }

  at(level: keyof ServerLog): LogLine[] {
    return this.lines.filter((line) => line.level === level);
  }
}
