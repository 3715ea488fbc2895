import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createImage } from '../../src/device/file-device.js';
import { runCli } from '../support/cli.js';
import { connectOnce, freePort } from '../support/ports.js';
import { isAlive, killFamily, readPidFile, start, untilGone, type Running } from '../support/processes.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { haveTools } from '../support/tools.js';
import { until } from '../support/until.js';

const ROOT = join(import.meta.dirname, '../..');
const UNITS = join(ROOT, 'etc/systemd');
const MIB = 1_048_576;

let scratch: Scratch;
let environment: Record<string, string>;
/** By pid: what is left of a test that failed is ended. */
let started: Set<number>;

beforeEach(() => {
  scratch = makeScratch();
  environment = { GGMIRROR_RUN_DIR: scratch.path('run') };
  started = new Set();
  for (const folder of ['bin', 'var']) mkdirSync(scratch.path(folder));
  for (const name of ['ggmirror', 'ggated']) {
    const program = join(ROOT, `dist/cli/${name}.js`);
    writeProgram(`bin/${name}`, `exec '${process.execPath}' '${program}' "$@"`);
  }
});
afterEach(async () => {
  for (const pid of started) if (isAlive(pid)) await killFamily(pid);
  scratch.remove();
});

function writeProgram(name: string, ...lines: readonly string[]): string {
  writeFileSync(scratch.path(name), ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(scratch.path(name), 0o755);
  return scratch.path(name);
}

/** What these files say of an installed system, as it is here. */
function asHere(text: string): string {
  const places: Readonly<Record<string, string>> = {
    '/usr/local/bin/node': process.execPath,
    '/usr/local/bin': scratch.path('bin'),
    '/run/ggmirror': scratch.path('run'),
    '/var/run': scratch.path('var'),
    '/run': scratch.path('var'),
    '/etc/gg.exports': scratch.path('gg.exports'),
  };
  return text.replace(
    /\/usr\/local\/bin\/node\b|\/usr\/local\/bin|(?:\/var)?\/run(?:\/ggmirror)?|\/etc\/gg\.exports/g,
    (place) => places[place] ?? place,
  );
}

/** The lines of a unit by their keys; `instance` is what stands for %i. */
function readUnit(name: string, instance = ''): (key: string) => string {
  const text = asHere(readFileSync(join(UNITS, name), 'utf8')).replaceAll('%i', instance);
  return (key) => {
    const lines = text.split('\n').filter((line) => line.startsWith(`${key}=`));
    expect(lines, `${name}: ${key}`).toHaveLength(1);
    return lines[0]?.slice(key.length + 1) ?? '';
  };
}

/** As systemd splits a line without quotes; what the unit's defaults do not tell is added. */
function run(line: string, ...added: readonly string[]): Running {
  const [program = '', ...words] = line.split(' ');
  const running = start(program, [...words, ...added], environment);
  started.add(running.pid);
  return running;
}

async function mainPid(pidFile: string): Promise<number> {
  const pid = await until('a pid file', () => (existsSync(pidFile) ? readPidFile(pidFile) : null));
  started.add(pid);
  expect(isAlive(pid)).toBe(true);
  return pid;
}

async function expectServed(port: number): Promise<void> {
  await until('a server', () => connectOnce(port));
  const { code, stdout, stderr } = await runCli([
    'info',
    `ggate://127.0.0.1:${port}${scratch.path('a.img')}`,
  ]);
  expect(code, stderr).toBe(0);
  expect(stdout).toContain('4,194,304');
}

async function makeExports(): Promise<number> {
  await createImage(scratch.path('a.img'), 4 * MIB);
  writeFileSync(scratch.path('gg.exports'), `127.0.0.1 RW ${scratch.path('a.img')}\n`);
  return await freePort();
}

describe('the units for systemd', () => {
  test.skipIf(!haveTools('systemd-analyze'))('are good in its own judgement', () => {
    mkdirSync(scratch.path('units'));
    for (const name of readdirSync(UNITS)) {
      const text = asHere(readFileSync(join(UNITS, name), 'utf8'));
      writeFileSync(scratch.path(`units/${name.replace('@.', '@sites.')}`), text);
      writeFileSync(scratch.path(`units/${name}`), text);
    }
    const names = readdirSync(UNITS).map((name) => scratch.path(`units/${name.replace('@.', '@sites.')}`));
    const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...names], {
      encoding: 'utf8',
    });
    const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes(scratch.path('units')));
    expect(said).toEqual([]);
  });

  test('serve the exports, read them again, and end in order', async () => {
    const port = await makeExports();
    const unit = readUnit('ggmirror-serve.service');
    expect(unit('Type')).toBe('exec');
    const server = run(unit('ExecStart'), '--port', String(port));
    await expectServed(port);
    writeFileSync(scratch.path('gg.exports'), `127.0.0.1 RO ${scratch.path('a.img')}\n`);
    const reload = run(unit('ExecReload').replace('$MAINPID', String(server.pid)));
    expect(await reload.ended).toBe(0);
    await until('the exports to be read again', () => server.output().includes('exports read again'));
    // SIGTERM, as KillMode=mixed has it.
    expect(unit('KillMode')).toBe('mixed');
    process.kill(server.pid, 'SIGTERM');
    expect(await server.ended).toBe(0);
  });

  test('run ggated behind its pid file', async () => {
    const port = await makeExports();
    const unit = readUnit('ggated.service');
    expect(unit('Type')).toBe('forking');
    const starting = run(unit('ExecStart').replace('ggated ', `ggated -p ${port} `));
    expect(await starting.ended, starting.output()).toBe(0);
    const pid = await mainPid(unit('PIDFile'));
    await expectServed(port);
    process.kill(pid, 'SIGTERM');
    await untilGone([pid]);
  });

  test('run a mirror of the configuration file behind its pid file, and stop it cleanly', async () => {
    const images = ['one.img', 'other.img'].map((name) => scratch.path(name));
    for (const image of images) await createImage(image, 4 * MIB);
    expect(await runCli(['label', 'sites', ...images])).toMatchObject({ code: 0 });
    writeFileSync(scratch.path('toml'), `[mirror.sites]\ncomponents = ${JSON.stringify(images)}\n`);
    const unit = readUnit('ggmirror@.service', 'sites');
    expect(unit('Type')).toBe('forking');
    const starting = run(unit('ExecStart'), '--config', scratch.path('toml'));
    // When it has ended the mirror can be used, and whoever comes after this unit is started.
    expect(await starting.ended, starting.output()).toBe(0);
    const pid = await mainPid(unit('PIDFile'));
    expect((await runCli(['status', 'sites'], environment)).stdout).toContain('COMPLETE');
    process.kill(pid, 'SIGTERM');
    await untilGone([pid]);
    expect(existsSync(unit('PIDFile'))).toBe(false);
    expect((await runCli(['dump', images[0] ?? ''])).stdout).not.toContain('DIRTY');

    // The device of a mirror that does not run is refused, for that reason, as is the end of one that is not there.
    const device = readUnit('ggmirror-attach@.service', 'sites');
    expect(device('Environment')).toBe('ATTACH_OPTIONS=');
    for (const line of [device('ExecStart').replace(' $ATTACH_OPTIONS', ''), device('ExecStop')]) {
      const refused = run(line);
      expect(await refused.ended, refused.output()).toBe(1);
      expect(refused.output()).toMatch(/sites/);
    }
  });
});

describe('the rc.d scripts for FreeBSD', () => {
  test('are good in the judgement of sh', () => {
    for (const name of readdirSync(join(ROOT, 'etc/rc.d')))
      execFileSync('sh', ['-n', join(ROOT, 'etc/rc.d', name)]);
  });

  test('serve the exports under daemon(8), which keeps the pid, read them again, and stop', async () => {
    const port = await makeExports();
    // What the script needs of rc.subr(8) and daemon(8), which tell of each line that they run.
    writeProgram(
      'bin/daemon',
      `echo "$@" >> ${scratch.path('lines')}`,
      'test "$1 $2 $3 $4" = "-S -T ggmirror -p" || exit 64',
      'pidfile=$5; shift 5',
      `"$@" > ${scratch.path('log')} 2>&1 &`,
      'echo $! > "$pidfile"',
    );
    writeFileSync(
      scratch.path('rc.subr'),
      [
        `load_rc_config() { ggmirror_serve_options='--port ${port}'; }`,
        'run_rc_command() {',
        '  test -f "$required_files" || exit 65',
        '  case $1 in',
        '  start) $command $command_args ;;',
        '  stop) kill -TERM "$(cat "$pidfile")" ;;',
        '  reload) kill -HUP "$(cat "$pidfile")" ;;',
        '  status) kill -0 "$(cat "$pidfile")" ;;',
        '  esac',
        '}',
      ].join('\n'),
    );
    const text = asHere(readFileSync(join(ROOT, 'etc/rc.d/ggmirror_serve'), 'utf8'))
      .replace('. /etc/rc.subr', `. ${scratch.path('rc.subr')}`)
      .replace('/usr/sbin/daemon', scratch.path('bin/daemon'))
      // Node runs the script that npm puts there; here it is one of the shell.
      .replace(scratch.path('bin/ggmirror'), join(ROOT, 'dist/cli/ggmirror.js'));
    writeFileSync(scratch.path('serve.rc'), text);
    const service = async (word: string): Promise<number> =>
      await run(`sh ${scratch.path('serve.rc')}`, word).ended;
    const log = (): string => readFileSync(scratch.path('log'), 'utf8');

    expect(await service('start')).toBe(0);
    const pid = await mainPid(scratch.path('var/ggmirror_serve.pid'));
    await expectServed(port);
    expect(readFileSync(scratch.path('lines'), 'utf8')).toContain(
      `serve --exports ${scratch.path('gg.exports')}`,
    );
    expect(await service('status')).toBe(0);
    expect(await service('reload')).toBe(0);
    await until('the exports to be read again', () => log().includes('exports read again'));
    expect(await service('stop')).toBe(0);
    await untilGone([pid]);
  });
});
