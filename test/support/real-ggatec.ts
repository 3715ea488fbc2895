import { existsSync, statSync } from 'node:fs';
import { familyOf, start, untilGone, type Running } from './processes.js';
import type { Scratch } from './scratch.js';
import { until } from './until.js';

/** A ggate unit of the real ggatec. */
export interface Ggatec {
  /** Reads and writes of whole sectors go through the real client. */
  readonly devicePath: string;
  /** Destroys the unit and waits until it is gone. May be called twice. */
  stop(): Promise<void>;
}

export interface GgatecOptions {
  readonly program: string;
  readonly scratch: Scratch;
  readonly port: number;
  /** The export. */
  readonly path: string;
  readonly access?: 'ro' | 'wo' | 'rw';
}

/**
 * Creates a unit. On FreeBSD it is /dev/ggateN. Elsewhere the program is expected to stay in the foreground until a
 * SIGTERM and to offer the unit as the file that GGATEC_DEVICE names. Throws with what it said if it ends early.
 */
export async function createUnit(options: GgatecOptions): Promise<Ggatec> {
  return process.platform === 'freebsd' ? await createOnFreebsd(options) : await createElsewhere(options);
}

const createArguments = ({ port, path, access = 'rw' }: GgatecOptions): string[] => [
  'create',
  '-o',
  access,
  '-p',
  String(port),
  '127.0.0.1',
  path,
];

async function createOnFreebsd(options: GgatecOptions): Promise<Ggatec> {
  const creating = start(options.program, createArguments(options));
  const unit = await until('the name of the unit', () => /ggate(\d+)/.exec(creating.output())?.[1]);
  const devicePath = `/dev/ggate${unit}`;
  await until(devicePath, () => existsSync(devicePath));
  return {
    devicePath,
    async stop() {
      if (!existsSync(devicePath)) return;
      const destroying = start(options.program, ['destroy', '-f', '-u', unit]);
      const code = await destroying.ended;
      if (code !== 0) throw new Error(`ggate${unit} was not destroyed: ${destroying.output()}`);
    },
  };
}

async function createElsewhere(options: GgatecOptions): Promise<Ggatec> {
  const devicePath = options.scratch.path(`unit-${options.port}`);
  const client = start(options.program, createArguments(options), { GGATEC_DEVICE: devicePath });
  try {
    await until(devicePath, () => {
      if (client.child.exitCode !== null)
        throw new Error(`ggatec ended with ${client.child.exitCode}: ${client.output()}`);
      return isReady(devicePath);
    });
  } catch (cause) {
    await client.stop();
    throw cause;
  }
  return { devicePath, stop: () => stopAll(client) };
}

/** A file is there before it stands for the unit: then it is empty. A disk of another kind has no size here. */
function isReady(devicePath: string): boolean {
  const facts = statSync(devicePath, { throwIfNoEntry: false });
  return facts !== undefined && (!facts.isFile() || facts.size > 0);
}

async function stopAll(client: Running): Promise<void> {
  if (client.child.exitCode !== null || client.child.signalCode !== null) return;
  const family = familyOf(client.pid);
  await client.stop();
  await untilGone(family);
}
