import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { forgetCommand, insertCommand } from '../../src/control/commands/members.js';
import { ATTEMPT_MS_MAX, RECONNECT_FIRST_MS } from '../../src/control/limits.js';
import { Reconnect } from '../../src/control/reconnect.js';
import type { RunningMirror } from '../../src/control/running-mirror.js';
import { DeviceError } from '../../src/device/block-device.js';
import type { AssembledMirror } from '../../src/mirror/start/assemble.js';
import type { OpenedProvider, ProviderOpener } from '../../src/mirror/area/provider.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemberWorld, componentOf, statesOf, untilComplete } from '../support/member-world.js';
import { MemoryLog } from '../support/memory-log.js';
import { lost } from '../support/mirror-rig.js';
import { until } from '../support/until.js';

/** A server that lets one client write at a time. The next open() waits for `admit`. */
class OneWriter {
  #isTaken = false;
  opens = 0;
  admit: Promise<void> = Promise.resolve();

  constructor(private readonly opener: ProviderOpener) {}

  readonly guarded = (): ProviderOpener => ({ ...this.opener, open: () => this.#open() });

  async #open(): Promise<OpenedProvider> {
    this.opens += 1;
    if (this.#isTaken) throw new DeviceError('DEVICE_REFUSED', 'EBUSY', 'another client is writing to it');
    this.#isTaken = true;
    await this.admit;
    const opened = await this.opener.open();
    const { device } = opened;
    const close = device.close.bind(device);
    device.close = async () => {
      await close();
      this.#isTaken = false;
    };
    return opened;
  }
}

interface Scene {
  readonly running: AssembledMirror;
  readonly server: OneWriter;
  readonly clock: FakeClock;
  readonly ask: (command: typeof insertCommand | typeof forgetCommand) => Promise<unknown>;
  readonly close: () => Promise<void>;
}

/** A mirror of a and b that runs, whose b is on a server. */
async function begin(): Promise<Scene> {
  const world = await new MemberWorld('ab').create('ab');
  const server = new OneWriter(world.opener('b'));
  const clock = new FakeClock();
  let reconnect: Reconnect | null = null;
  const running = await world.start('ab', {
    providers: [world.opener('a'), server.guarded()],
    clock,
    events: { changed: (what, component) => reconnect?.changed(what, component) },
  });
  const { mirror, members } = running;
  reconnect = new Reconnect({
    mirror,
    reopen: (one) => running.reopen(one),
    look: (one) => running.look(one),
    clock,
    log: new MemoryLog(),
  });
  reconnect.start();
  const control = { name: 'm', mirror, members, reconnect, openerOf: server.guarded };
  const ask: Scene['ask'] = (command) =>
    command.run(control as unknown as RunningMirror, {
      provider: 'b',
      priority: 0,
      isInactive: false,
      isHardcoded: false,
      isForced: true,
    });
  const close = async (): Promise<void> => {
    await reconnect.stop();
    await running.close();
  };
  return { running, server, clock, ask, close };
}

/** Its b is lost, and the attempt to bring it back is let in only by what this resolves with. */
async function loseAndTry({ running, server, clock }: Scene): Promise<() => void> {
  let admit: () => void = () => undefined;
  server.admit = new Promise((resolve) => (admit = resolve));
  running.mirror.drop(componentOf(running, 'b'), lost('b'));
  const { opens } = server;
  await until('b to be tried again', () => {
    clock.advance(RECONNECT_FIRST_MS);
    return server.opens > opens;
  });
  return admit;
}

async function turns(): Promise<void> {
  for (let count = 0; count < 50; count++) await nextTurn();
}

test('a provider that is forgotten while it is tried again, and inserted at once, is opened by one at a time', async () => {
  const scene = await begin();
  const { running, ask } = scene;
  const admit = await loseAndTry(scene);
  await ask(forgetCommand);
  const inserted = ask(insertCommand);
  await turns();
  expect(statesOf(running)).toBe('a ACTIVE');
  admit();
  await inserted;
  await untilComplete(running);
  expect(statesOf(running)).toBe('a ACTIVE, b ACTIVE');
  await scene.close();
});

test('an attempt that hangs does not hold up insert for ever', async () => {
  const scene = await begin();
  const { ask, clock } = scene;
  const admit = await loseAndTry(scene);
  await ask(forgetCommand);
  const inserted = ask(insertCommand);
  inserted.catch(() => undefined);
  await turns();
  clock.advance(ATTEMPT_MS_MAX);
  await expect(inserted).rejects.toThrow('another client is writing to it');
  admit();
  await scene.close();
});
