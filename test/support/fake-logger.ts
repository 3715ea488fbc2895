import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import type { Scratch } from './scratch.js';

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
/** Never reads, as if syslogd hung. */
export const HANG = 'exec sleep 1000';
