import { readFileSync } from 'node:fs';
import { Option, type Command } from 'commander';
import type { ClientTls } from '../client/options.js';
import { UsageError } from './errors.js';

/** The options of every command that talks to a server, as commander delivers them. */
export interface RemoteFlags {
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

export function addRemoteOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--tls-ca <file>', "for ggates://: trust the server's certificate by this one (PEM)"),
    )
    .addOption(new Option('--tls-cert <file>', 'for ggates://: show this certificate to the server (PEM)'))
    .addOption(new Option('--tls-key <file>', "for ggates://: the certificate's private key (PEM)"));
}

/** Reads the files. Throws UsageError for options that don't go together, and Node's errors for unreadable files. */
export function tlsOf(flags: RemoteFlags): ClientTls {
  const { tlsCa, tlsCert, tlsKey } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new UsageError('--tls-cert and --tls-key go together');
  }
  return {
    ...(tlsCa === undefined ? {} : { ca: readFileSync(tlsCa) }),
    ...(tlsCert === undefined ? {} : { cert: readFileSync(tlsCert) }),
    ...(tlsKey === undefined ? {} : { key: readFileSync(tlsKey) }),
  };
}
