import { execFile } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = join(ROOT, 'dist/cli/ggmirror.js');

/** What the script needs of FreeBSD's rc.subr(8). */
const RC_SUBR = `
load_rc_config() { :; }
run_rc_command() { eval "\\$$1_cmd"; }
`;

let scratch: Scratch;
let environment: Record<string, string>;
beforeEach(() => {
  scratch = makeScratch();
  writeFileSync(scratch.path('rc.subr'), RC_SUBR);
  environment = { GGMIRROR_RUN_DIR: scratch.path('run') };
});
afterEach(() => scratch.remove());

interface Ended {
  readonly code: number;
  readonly output: string;
}

/** Runs etc/rc.d/ggmirror with `program` in place of ggmirror, and these lines in rc.conf. */
async function service(word: string, program: string, ...rcConf: readonly string[]): Promise<Ended> {
  const script = readFileSync(join(ROOT, 'etc/rc.d/ggmirror'), 'utf8').replace(
    '. /etc/rc.subr',
    [`. ${scratch.path('rc.subr')}`, `ggmirror_program=${program}`, ...rcConf].join('\n'),
  );
  writeFileSync(scratch.path('ggmirror.rc'), script);
  return await new Promise((resolve) => {
    const env = { ...process.env, ...environment };
    execFile('sh', [scratch.path('ggmirror.rc'), word], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

function makeProgram(name: string, ...lines: readonly string[]): string {
  const path = scratch.path(name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(path, 0o755);
  return path;
}

describe('the rc.d script for FreeBSD', () => {
  test('starts the mirrors of the configuration file, and stops them', async () => {
    const program = makeProgram('ggmirror', `exec '${process.execPath}' '${PROGRAM}' "$@"`);
    const images = ['one.img', 'other.img'].map((name) => scratch.path(name));
    for (const image of images) {
      writeFileSync(image, '');
      truncateSync(image, 4 * 1_048_576);
    }
    expect(await runCli(['label', 'data', ...images])).toMatchObject({ code: 0 });
    const config = scratch.path('ggmirror.toml');
    writeFileSync(config, `[mirror.data]\ncomponents = ${JSON.stringify(images)}\n`);
    try {
      const started = await service('start', program, `ggmirror_config=${config}`);
      expect(started).toMatchObject({
        code: 0,
        output: expect.stringContaining('mirror/data runs') as string,
      });
      expect((await service('status', program)).output).toContain('COMPLETE');
    } finally {
      expect(await service('stop', program)).toEqual({ code: 0, output: '' });
    }
    await until('the end of the mirror', () => !existsSync(scratch.path('run/data.pid')));
  });

  test('mounts after the start and unmounts before the stop, each in the order of the other', async () => {
    const calls = scratch.path('calls');
    const program = makeProgram(
      'recorder',
      `echo "$@" >> ${calls}`,
      'case $1 in status) printf "data COMPLETE /a\\ndata COMPLETE /b\\nmail DEGRADED /c\\n" ;; esac',
    );
    const rcConf = ['ggmirror_config=/conf', 'ggmirror_mounts="data:/srv/data mail:/var/mail"'];
    expect(await service('start', program, ...rcConf)).toEqual({ code: 0, output: '' });
    expect(await service('stop', program, ...rcConf)).toEqual({ code: 0, output: '' });
    expect(readFileSync(calls, 'utf8').trim().split('\n')).toEqual([
      'start --config /conf',
      'attach data --mount /srv/data',
      'attach mail --mount /var/mail',
      'detach mail',
      'detach data',
      'status -s -g',
      'stop data',
      'stop mail',
    ]);
  });

  test('goes on with the others when one fails, and says by its exit status that one has', async () => {
    const calls = scratch.path('calls');
    const program = makeProgram('failing', `echo "$@" >> ${calls}`, 'test "$2" != data');
    const rcConf = ['ggmirror_config=/conf', 'ggmirror_mounts="data:/srv/data mail:/var/mail"'];
    expect((await service('start', program, ...rcConf)).code).toBe(1);
    expect(readFileSync(calls, 'utf8')).toContain('attach mail');
  });
});
