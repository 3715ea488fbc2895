import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createImage } from '../../src/device/file-device.js';
import { HOOK_EVENTS } from '../../src/control/hooks.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { familyOf } from '../support/processes.js';
import { until } from '../support/until.js';

let world: MirrorWorld;
let hook: string;
let heard: string;

beforeEach(async () => {
  world = await MirrorWorld.make();
  hook = world.scratch.path('hook');
  heard = world.scratch.path('heard');
});
afterEach(async () => await world.close());

function writeHook(...lines: readonly string[]): void {
  const note = `printf '%s|%s|%s|%s|%s\\n' "$#" "$1" "$2" "$3" "$GGMIRROR_STATE" >> '${heard}'`;
  writeFileSync(hook, ['#!/bin/sh', note, ...lines, ''].join('\n'));
  chmodSync(hook, 0o755);
}

const events = (): string[] => (existsSync(heard) ? readFileSync(heard, 'utf8').trim().split('\n') : []);

const untilHeard = async (line: string): Promise<unknown> =>
  await until(`'${line}' in ${JSON.stringify(events())}`, () => events().includes(line));

describe("a mirror's hook", () => {
  test('hears of a lost backup, of its return, and of the end', async () => {
    writeHook();
    await world.startMirror('--hook', hook);
    await world.untilState('COMPLETE');
    await untilHeard('3|started|data||COMPLETE');
    const client = await world.attach();
    await world.killBackup();
    expect((await client.write(0, randomBytes(65_536))).errno).toBe(0);
    await untilHeard(`3|disconnected|data|${world.uri}|DEGRADED`);
    await untilHeard('3|degraded|data||DEGRADED');
    await world.serveBackup();
    await world.untilState('COMPLETE');
    await client.disconnect();
    await world.stopAndRead();
    await untilHeard('3|stopped|data||COMPLETE');
    expect(events().map((line) => line.split('|')[1])).toEqual([
      ...['started', 'disconnected', 'degraded', 'stale', 'rebuilding', 'rebuilt', 'complete', 'stopped'],
    ]);
  });

  test('hears of components that come, rest and go', async () => {
    writeHook();
    const third = world.scratch.path('third.img');
    await createImage(third, 32 * 1_048_576);
    await world.startMirror('--hook', hook);
    await world.untilState('COMPLETE');
    await world.succeed('insert', world.name, third);
    await world.untilState('COMPLETE');
    await world.succeed('deactivate', world.name, third);
    await world.succeed('activate', world.name, third);
    await world.untilState('COMPLETE');
    await world.succeed('remove', world.name, third);
    await untilHeard(`3|removed|data|${third}|COMPLETE`);
    const members = ['inserted', 'deactivated', 'activated', 'removed'];
    const heardOfMembers = events()
      .map((line) => line.split('|')[1] ?? '')
      .filter((one) => members.includes(one));
    expect(heardOfMembers).toEqual(members);
  });

  test('hears at the start that the mirror is degraded', async () => {
    writeHook();
    await world.startMirror();
    await world.untilState('COMPLETE');
    await world.stopAndRead();
    await world.killBackup();
    await world.succeed('start', 'data', world.local, world.uri, '--degraded', '--hook', hook);
    await world.untilState('DEGRADED');
    await untilHeard('3|degraded|data||DEGRADED');
  });

  test('hears of a start that fails', async () => {
    writeHook();
    const { code } = await world.run('start', 'data', world.local, world.backup, '--hook', hook);
    expect(code).toBe(1);
    await untilHeard('3|failed|data||');
  });

  test('that hangs holds up nobody', async () => {
    writeHook('exec sleep 1000');
    await world.startMirror('--hook', hook);
    await world.untilState('COMPLETE');
    await untilHeard('3|started|data||COMPLETE');
    const { pid } = await world.status();
    const client = await world.attach();
    await world.killBackup();
    expect((await client.write(0, randomBytes(65_536))).errno).toBe(0);
    await world.untilState('DEGRADED');
    expect(familyOf(pid).length).toBeGreaterThan(1);
    expect(events()).toHaveLength(1);
    client.destroy();
  });

  test('that fails is in the log, with its exit status, and so is an NBD port that anyone can use', async () => {
    writeHook('exit 7');
    await world.label();
    const words = [
      'start',
      'data',
      world.local,
      world.uri,
      '--foreground',
      '--hook',
      hook,
      '--nbd-port',
      '0',
    ];
    const run = world.start(...words);
    await until('the log', () => {
      run.expectRunning();
      return run.stdout().includes('exit status 7');
    });
    expect(run.stdout()).toMatch(
      /"level":40.*every user of this machine can read and overwrite mirror\/data/,
    );
    run.signal('SIGTERM');
    expect((await run.ended).code).toBe(0);
  });

  test('that can not be called is missed at once, not when it is needed', async () => {
    await world.label();
    const absent = await world.run('start', 'data', world.local, world.uri, '--hook', hook);
    expect(absent).toMatchObject({ code: 1, stdout: '' });
    expect(absent.stderr).toMatch(/^ggmirror: the hook .*\/hook can't be called: .*ENOENT[^\n]*\n$/);
    writeFileSync(hook, '', { mode: 0o644 });
    const noProgram = await world.run('start', 'data', world.local, world.uri, '--hook', hook, '--check');
    expect(noProgram.stderr).toContain("can't be called");
  });

  test('has each of its events in the documentation', () => {
    const text = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8').replace(
      / +/g,
      ' ',
    );
    for (const [event, when] of Object.entries(HOOK_EVENTS))
      expect(text).toContain(`| \`${event}\` | ${when} |`);
  });
});
