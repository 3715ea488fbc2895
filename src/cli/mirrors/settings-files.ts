import { accessSync, constants, statSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';
import type { ClientTls } from '../../client/options.js';
import { messageOf } from '../../protocol/errors.js';
import { loadTlsOptions } from '../../server/tls-options.js';
import { CommandError } from '../errors.js';
import { tlsOf } from '../remote-options.js';
import type { MirrorSettings } from './settings.js';

export interface SettingsFiles {
  readonly remoteTls: ClientTls;
  /** Null without TLS for NBD clients. */
  readonly nbdTls: TlsOptions | null;
}

/**
 * Reads the files that the settings name, and looks whether the hook can be called: one that can't would be missed only
 * when it is needed. Throws CommandError, ProtocolError or a system error, each with one line for people.
 */
export async function readSettingsFiles({ remoteTls, nbdTcp, hook }: MirrorSettings): Promise<SettingsFiles> {
  if (hook !== null) checkProgram(hook);
  const tls = nbdTcp?.tls ?? null;
  return { remoteTls: tlsOf(remoteTls), nbdTls: tls === null ? null : await loadTlsOptions(tls) };
}

function checkProgram(path: string): void {
  try {
    accessSync(path, constants.X_OK);
  } catch (error) {
    throw new CommandError(`the hook ${path} can't be called: ${messageOf(error)}`, { cause: error });
  }
  if (!statSync(path).isFile()) throw new CommandError(`the hook ${path} is no program`);
}
