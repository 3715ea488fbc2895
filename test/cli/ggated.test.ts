import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeFakeLogger, type FakeLogger } from '../support/fake-logger.js';
import { connectOnce, freePort } from '../support/ports.js';
import {
  familyOf,
  killFamily,
  pauseFamily,
  readPidFile,
  start,
  untilGone,
  type Running,
} from '../support/processes.js';
import { RawClient } from '../support/raw-client.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

const GGATED = new URL('../../dist/cli/ggated.js', import.meta.url).pathname;
const EPERM = 1;

let scratch: Scratch;
let image: string;
let exportsFile: string;
let pidFile: string;
let running: Running[];
let logger: FakeLogger;

beforeEach(() => {
  scratch = makeScratch();
  image = scratch.path('image');
  exportsFile = scratch.path('gg.exports');
  pidFile = scratch.path('ggated.pid');
  writeFileSync(image, Buffer.alloc(65_536));
  writeFileSync(exportsFile, `127.0.0.1 RW ${image}\n`);
  running = [];
  logger = makeFakeLogger(scratch);
});

afterEach(async () => {
  for (const program of running) if (isRunning(program)) await killFamily(program.pid);
  const daemon = readPidFile(pidFile);
  if (daemon !== null) await killFamily(daemon);
  scratch.remove();
});

const isRunning = ({ child }: Running): boolean => child.exitCode === null && child.signalCode === null;
const isAlive = (pid: number): boolean => familyOf(pid).includes(pid);

/** The daemon's syslog goes to `logger`. */
function ggated(words: readonly (string | number)[], environment: Record<string, string> = {}): Running {
  const program = start(process.execPath, [GGATED, ...words.map(String)], {
    PATH: logger.searchPath,
    ...environment,
  });
  running.push(program);
  return program;
}

/** In the foreground, on a port of the system's choice. */
async function ggatedInForeground(...words: readonly string[]): Promise<Running & { readonly port: number }> {
  const program = ggated(['-v', '-a', '127.0.0.1', '-p', '0', '-F', pidFile, ...words, exportsFile]);
  const port = await until('the port in the log', () => {
    if (!isRunning(program)) throw new Error(`ggated ended: ${program.output()}`);
    return /^info: listening \(.*port=(\d+)/m.exec(program.output())?.[1];
  });
  await until('the pid file', () => readPidFile(pidFile) === program.pid);
  return { ...program, port: Number(port) };
}

describe('the command line of ggated', () => {
  test.each([
    { what: '-h', words: ['-h'], says: /^usage: ggated \[-nv\]/ },
    { what: 'an unknown option', words: ['-x'], says: /^ggated: illegal option -- x\nusage: ggated / },
    {
      what: 'a missing value',
      words: ['-p'],
      says: /^ggated: option requires an argument -- p\nusage: ggated /,
    },
    { what: 'a port that is none', words: ['-p', 'http'], says: /^ggated: Invalid port\.\n$/ },
  ])('ends with status 1 for $what', async ({ words, says }) => {
    const program = ggated(words);
    expect(await program.ended).toBe(1);
    expect(program.output()).toMatch(says);
  });

  test.each([{ mode: ['-v'] }, { mode: [] }])(
    'a bad exports file is named with its line, with status 1 and without a trace ($mode)',
    async ({ mode }) => {
      writeFileSync(exportsFile, `127.0.0.1 RW ${image}\n127.0.0.1 RX ${image}\n`);
      const program = ggated([...mode, '-a', '127.0.0.1', '-p', '0', '-F', pidFile, exportsFile]);
      expect(await program.ended).toBe(1);
      expect(program.output()).toBe(
        `ggated: ${exportsFile}:2: 'RX' is not an access mode; use RO, WO or RW\n`,
      );
      expect(existsSync(pidFile)).toBe(false);
    },
  );

  test('a port that is taken is named, with status 1', async () => {
    const { port } = await ggatedInForeground();
    const second = ggated(['-a', '127.0.0.1', '-p', port, '-F', scratch.path('second.pid'), exportsFile]);
    expect(await second.ended).toBe(1);
    expect(second.output()).toMatch(
      new RegExp(`^ggated: can't listen on 127\\.0\\.0\\.1 port ${port}: .*EADDRINUSE`),
    );
  });
});

describe('ggated in the foreground', () => {
  test('logs as `level: text`, ends with 0 at SIGTERM and takes its pid file along', async () => {
    const program = await ggatedInForeground();
    process.kill(program.pid, 'SIGTERM');
    expect(await program.ended).toBe(0);
    const lines = program.output().trimEnd().split('\n');
    expect(lines.filter((line) => !/^(error|warning|notice|info|debug): \S/.test(line))).toEqual([]);
    expect(lines).toContain(`info: exported (path=${image} host=127.0.0.1 mode=rw origin=${exportsFile}:1)`);
    expect(lines.at(-1)).toBe('info: stopped');
    expect(existsSync(pidFile)).toBe(false);
  });

  test('refuses a second instance with the same pid file and names the first', async () => {
    const { pid } = await ggatedInForeground();
    for (const mode of [['-v'], []]) {
      const second = ggated([...mode, '-a', '127.0.0.1', '-p', '0', '-F', pidFile, exportsFile]);
      expect(await second.ended).toBe(1);
      expect(second.output()).toBe(`ggated: Daemon already running, pid: ${pid}.\n`);
    }
    expect(readPidFile(pidFile)).toBe(pid);
  });

  test('starts again at once while a session process of a killed one is still there', async () => {
    const first = await ggatedInForeground();
    const client = await RawClient.mustAttach({ port: first.port, path: image });
    const session = await sessionOf(first);
    await pauseFamily(session);
    try {
      process.kill(first.pid, 'SIGKILL');
      await until('its end', () => !isRunning(first)); // not that of its output, which the session has too
      const second = await ggatedInForeground('-p', String(first.port));
      expect(second.port).toBe(first.port);
      expect(isAlive(session)).toBe(true);
    } finally {
      process.kill(session, 'SIGKILL');
      client.close();
    }
  });

  test('ends at once at a second SIGTERM, though a session hangs', async () => {
    const program = await ggatedInForeground();
    const client = await RawClient.mustAttach({ port: program.port, path: image });
    const session = await sessionOf(program);
    await pauseFamily(session);
    try {
      process.kill(program.pid, 'SIGTERM');
      await until('the first one to be heard', () => program.output().includes('info: stopping'));
      process.kill(program.pid, 'SIGTERM');
      await until('its end', () => !isRunning(program));
      expect(program.child.exitCode).toBe(0);
      expect(program.output()).toContain('warning: stopped at once');
      expect(isAlive(session)).toBe(true);
    } finally {
      process.kill(session, 'SIGKILL');
      client.close();
    }
  });

  test('reads its exports again at SIGHUP, and keeps the old ones if they are bad', async () => {
    const program = await ggatedInForeground();
    const other = scratch.path('other');
    writeFileSync(other, Buffer.alloc(65_536));
    expect(await RawClient.attach({ port: program.port, path: other })).toBe(EPERM);

    writeFileSync(exportsFile, `127.0.0.1 RW ${other}\nnonsense\n`);
    process.kill(program.pid, 'SIGHUP');
    const bad = await until(
      'the complaint',
      () => /^error: the exports stay.*$/m.exec(program.output())?.[0],
    );
    expect(bad).toContain(`${exportsFile}:2: too few words`);
    (await RawClient.mustAttach({ port: program.port, path: image })).close();

    writeFileSync(exportsFile, `127.0.0.1 RW ${other}\n`);
    process.kill(program.pid, 'SIGHUP');
    await until('the new list', () => program.output().includes('info: exports read again'));
    (await RawClient.mustAttach({ port: program.port, path: other })).close();
    expect(await RawClient.attach({ port: program.port, path: image })).toBe(EPERM);
  });

  test('ends at once and says so after an error that nobody expected, also beside a disk that hangs', async () => {
    const [bug, silent] = [scratch.path('bug.mjs'), scratch.path('silent')];
    execFileSync('mkfifo', [silent]);
    writeFileSync(
      bug,
      `import { open } from 'node:fs';
       process.on('SIGUSR2', () => { open('${silent}', 'r', () => {}); throw new Error('boom'); });`,
    );
    const program = ggated(['-v', '-a', '127.0.0.1', '-p', '0', '-F', pidFile, exportsFile], {
      NODE_OPTIONS: `--import=${bug}`,
    });
    await until('the pid file', () => readPidFile(pidFile) === program.pid);
    process.kill(program.pid, 'SIGUSR2');
    await program.ended;
    expect(program.child.signalCode).toBe('SIGKILL');
    expect(program.output()).toMatch(/^error: this is a bug, please report it: boom/m);
    expect(existsSync(pidFile)).toBe(false);
  });

  async function sessionOf({ pid }: Running): Promise<number> {
    return await until('the session process', () => familyOf(pid)[1]);
  }
});

describe('ggated in the background', () => {
  async function daemonise(): Promise<{ readonly pid: number; readonly port: number }> {
    const port = await freePort();
    const program = ggated(['-a', '127.0.0.1', '-p', port, '-F', pidFile, exportsFile]);
    expect(await program.ended).toBe(0);
    expect(program.output()).toBe('');
    const pid = readPidFile(pidFile);
    if (pid === null) throw new Error('ggated has returned without a pid file');
    return { pid, port };
  }

  test('returns when clients can connect and the pid file is written, and lives on', async () => {
    const { pid, port } = await daemonise();
    expect(await connectOnce(port)).toBe(true);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGTERM');
    await untilGone([pid]);
    expect(existsSync(pidFile)).toBe(false);
  });

  test('logs to syslog as the facility daemon, with its name and pid and without debug', async () => {
    const { pid, port } = await daemonise();
    process.kill(pid, 'SIGTERM');
    await until('the last line', () => logger.lines().some((line) => line.endsWith('|stopped')));
    const lines = logger.lines();
    expect(lines).toContain(
      `-t ggated[${pid}] -p daemon.info|listening (address=127.0.0.1 port=${port} tls=false)`,
    );
    expect(lines.filter((line) => line.includes('daemon.debug'))).toEqual([]);
  });

  test('finds an exports file with a relative name again at SIGHUP', async () => {
    const port = await freePort();
    const words = [GGATED, '-a', '127.0.0.1', '-p', String(port), '-F', 'ggated.pid', 'gg.exports'];
    const inFolder = [
      '-c',
      'cd "$1" && shift && exec "$@"',
      'sh',
      scratch.folder,
      process.execPath,
      ...words,
    ];
    const program = start('sh', inFolder, { PATH: logger.searchPath });
    running.push(program);
    expect(await program.ended, program.output()).toBe(0);
    const pid = await until('the pid file', () => readPidFile(pidFile));
    writeFileSync(exportsFile, `127.0.0.1 RO ${image}\n`);
    process.kill(pid, 'SIGHUP');
    await until('the new list', () => logger.lines().some((line) => line.includes('|exports read again')));
    expect(await RawClient.attach({ port, path: image, access: 'rw' })).toBe(EPERM);
  });
});
