import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import type { Scratch } from './scratch.js';
import { tellOnFailure } from './tell-on-failure.js';

/** A logger(1) that keeps what it is given. */
export interface FakeLogger {
  /** A PATH on which it comes first. */
  readonly searchPath: string;
  /** One line for each line that any of its processes got: its arguments, a bar, the line. */
  lines(): string[];
}

/** `behaviour` is shell code that gets the arguments as in logger(1) and lines on standard input. */
export function makeFakeLogger(scratch: Scratch, behaviour = KEEP_LINES): FakeLogger {
  const folder = scratch.path('fake-logger');
  const output = scratch.path('fake-logger.out');
  mkdirSync(folder);
  writeFileSync(`${folder}/logger`, `#!/bin/sh\noutput='${output}'\n${behaviour}\n`);
  chmodSync(`${folder}/logger`, 0o755);
  return {
    searchPath: `${folder}${delimiter}${process.env['PATH'] ?? ''}`,
    lines: () => (existsSync(output) ? readFileSync(output, 'utf8').split('\n').slice(0, -1) : []),
  };
}

const KEEP_LINES = 'while IFS= read -r line; do printf "%s|%s\\n" "$*" "$line" >> "$output"; done';
/** Takes one line and dies, as if someone had killed it. */
export const DIE_AFTER_ONE_LINE = 'IFS= read -r line; printf "%s|%s\\n" "$*" "$line" >> "$output"; exit 1';
/** Keeps the lines as they are. */
export const KEEP_ALL = 'exec cat >> "$output"';
/** Never reads, as if syslogd hung. */
export const HANG = 'exec sleep 1000';

/** What daemons have to be started with so that a test that fails tells what they have logged. */
export interface DaemonLogs {
  readonly environment: Readonly<Record<string, string>>;
  /** Before the folder is removed. */
  keep(): void;
}

export function keepDaemonLogs(scratch: Scratch): DaemonLogs {
  const logger = makeFakeLogger(scratch, KEEP_ALL);
  let kept: string[] = [];
  tellOnFailure('the daemons', () => kept.join('\n'));
  return { environment: { PATH: logger.searchPath }, keep: () => void (kept = logger.lines()) };
}
