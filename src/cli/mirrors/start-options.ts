import { type Command, Option } from 'commander';
import { defaultRunDirectory } from '../../control/paths.js';
import { BALANCE_ALGORITHMS } from '../../mirror/balance.js';
import { SPLIT_BRAIN_POLICIES, type SplitBrainPolicy } from '../../mirror/decide/split-brain-policy.js';
import { LOG_LEVELS, type LogLevel } from '../daemon/log.js';
import {
  ALLOW_RULES,
  integerFrom,
  type Kind,
  oneOf,
  PATH,
  SECONDS,
  SIZE,
  SLICE,
  START_POLICY,
  TEXT,
  YES_NO,
} from './option-kinds.js';

/** An option of `ggmirror start`, on the command line and, by the name of its long flag, in the configuration file. */
interface StartOption<Value, Fallback extends Value | null> {
  /** As commander reads them; `--no-NAME` is the key NAME in the file. */
  readonly flags: string;
  readonly says: string;
  readonly kind: Kind<Value>;
  /** What it is without the option; null if that is nothing, or if `fallbackSays` tells. */
  readonly fallback: Fallback;
  readonly fallbackSays?: string;
  /** It can't be the same for several mirrors, so the file may not give it for all of them. */
  readonly isForOne?: boolean;
  readonly environment?: string;
}

const option = <Value, Fallback extends Value | null>(
  fields: StartOption<Value, Fallback>,
): StartOption<Value, Fallback> => fields;

/**
 * By the name that commander gives them: the long flag in camel case. A new option is an entry here, its use in
 * settingsOf(), and a row in docs/configuration.md, which a test asks for.
 */
export const START_OPTIONS = {
  degraded: option({
    flags: '--degraded',
    says: 'start although components are missing',
    kind: YES_NO,
    fallback: false,
  }),
  startPolicy: option({
    flags: '--start-policy <policy>',
    says: 'what to do when components are missing: safe, complete, wait, degraded, or wait for some seconds',
    kind: START_POLICY,
    fallback: null,
    fallbackSays: 'safe: after a crash wait for who may have taken over, else refuse',
  }),
  balance: option({
    flags: '-b, --balance <algorithm>',
    says: 'who answers reads',
    kind: oneOf(BALANCE_ALGORITHMS),
    fallback: null,
    fallbackSays: 'what the labels say',
  }),
  slice: option({
    flags: '-s, --slice <bytes>',
    says: 'the split algorithm leaves reads up to this length in one piece',
    kind: SLICE,
    fallback: null,
    fallbackSays: 'what the labels say',
  }),
  nbdSocket: option({
    flags: '--nbd-socket <path>',
    says: 'where NBD clients connect',
    kind: PATH,
    fallback: null,
    fallbackSays: 'NAME.nbd in the run directory',
    isForOne: true,
  }),
  nbdPort: option({
    flags: '--nbd-port <port>',
    says: 'listen for NBD clients on this TCP port too',
    kind: integerFrom(0, 0xffff),
    fallback: null,
    isForOne: true,
  }),
  nbdAddress: option({
    flags: '--nbd-address <address>',
    says: 'with a port: listen here',
    kind: TEXT,
    fallback: '127.0.0.1',
  }),
  nbdTlsCert: option({
    flags: '--nbd-tls-cert <file>',
    says: 'with a port: certificate chain (PEM); clients there must speak TLS',
    kind: PATH,
    fallback: null,
  }),
  nbdTlsKey: option({
    flags: '--nbd-tls-key <file>',
    says: "the certificate's private key (PEM)",
    kind: PATH,
    fallback: null,
  }),
  nbdTlsCa: option({
    flags: '--nbd-tls-ca <file>',
    says: 'clients there must show a certificate signed by this one (PEM)',
    kind: PATH,
    fallback: null,
  }),
  ggatePort: option({
    flags: '--ggate-port <port>',
    says: 'serve the mirror to ggate clients on this port, as /dev/mirror/NAME',
    kind: integerFrom(0, 0xffff),
    fallback: null,
    isForOne: true,
  }),
  ggateAddress: option({
    flags: '--ggate-address <address>',
    says: 'with a port: listen here only',
    kind: TEXT,
    fallback: null,
    fallbackSays: 'everywhere, or loopback if only it may come in',
  }),
  allow: option({
    flags: '--allow <address[/bits][,ro|wo|rw]>',
    says: 'which ggate clients may use the mirror, and how (repeatable; rw by default)',
    kind: ALLOW_RULES,
    fallback: null,
    fallbackSays: 'this machine only',
  }),
  ggateTlsCert: option({
    flags: '--ggate-tls-cert <file>',
    says: 'certificate chain (PEM); ggate clients must speak TLS',
    kind: PATH,
    fallback: null,
  }),
  ggateTlsKey: option({
    flags: '--ggate-tls-key <file>',
    says: "the certificate's private key (PEM)",
    kind: PATH,
    fallback: null,
  }),
  ggateTlsCa: option({
    flags: '--ggate-tls-ca <file>',
    says: 'ggate clients must show a certificate signed by this one (PEM)',
    kind: PATH,
    fallback: null,
  }),
  timeout: option({
    flags: '--timeout <seconds>',
    says: 'drop a component that is silent for this long; to connect it has 10 s in any case',
    kind: SECONDS,
    fallback: 10,
  }),
  autosync: option({
    flags: '-n, --no-autosync',
    says: 'do not bring components that come back up to date by itself',
    kind: YES_NO,
    fallback: true,
  }),
  resyncRate: option({
    flags: '--resync-rate <bytes>',
    says: 'copy at most this much a second, 0 for no limit',
    kind: SIZE,
    fallback: 0,
  }),
  tlsCa: option({
    flags: '--tls-ca <file>',
    says: "for ggates://: trust the server's certificate by this one (PEM)",
    kind: PATH,
    fallback: null,
  }),
  tlsCert: option({
    flags: '--tls-cert <file>',
    says: 'for ggates://: show this certificate to the server (PEM)',
    kind: PATH,
    fallback: null,
  }),
  tlsKey: option({
    flags: '--tls-key <file>',
    says: "for ggates://: the certificate's private key (PEM)",
    kind: PATH,
    fallback: null,
  }),
  afterSplitBrain: option<SplitBrainPolicy, SplitBrainPolicy>({
    flags: '--after-split-brain <policy>',
    says: 'which side is given up when both were written alone; disconnect: neither, a person decides',
    kind: oneOf(SPLIT_BRAIN_POLICIES),
    fallback: 'disconnect',
  }),
  unsafeFlush: option({
    flags: '--unsafe-flush',
    says: 'answer flushes as good also while no component in step can flush; they fail otherwise',
    kind: YES_NO,
    fallback: false,
  }),
  hook: option({
    flags: '--hook <program>',
    says: 'call it when something happens to the mirror',
    kind: PATH,
    fallback: null,
  }),
  runDir: option({
    flags: '--run-dir <directory>',
    says: 'where running mirrors have their sockets',
    kind: PATH,
    fallback: defaultRunDirectory(process.platform),
    environment: 'GGMIRROR_RUN_DIR',
  }),
  logLevel: option<LogLevel, LogLevel>({
    flags: '--log-level <level>',
    says: 'log this and what is graver',
    kind: oneOf(LOG_LEVELS),
    fallback: 'info',
  }),
} as const;

type Table = typeof START_OPTIONS;
export type StartOptionName = keyof Table;
type ValueOf<Name extends StartOptionName> = Table[Name]['kind'] extends Kind<infer Value> ? Value : never;

/** What was said, on a command line or in a file. */
export type GivenOptions = { readonly [Name in StartOptionName]?: ValueOf<Name> };
/** What holds. */
export type StartOptions = {
  readonly [Name in StartOptionName]: ValueOf<Name> | Table[Name]['fallback'];
};

const NAMES = Object.keys(START_OPTIONS) as StartOptionName[];

/** An option as any other: without the type of its value. */
export interface AnyStartOption extends StartOption<unknown, unknown> {
  readonly name: StartOptionName;
  /** In the configuration file. */
  readonly key: string;
}

export const ALL_START_OPTIONS: readonly AnyStartOption[] = NAMES.map((name) => {
  const entry: StartOption<unknown, unknown> = START_OPTIONS[name];
  return { ...entry, name, key: new Option(entry.flags).name().replace(/^no-/, '') };
});

export function addStartOptions(command: Command): Command {
  for (const entry of ALL_START_OPTIONS) command.addOption(commanderOption(entry));
  return command;
}

function commanderOption({ flags, says, kind, fallback, fallbackSays, environment }: AnyStartOption): Option {
  const made = new Option(flags, fallbackSays === undefined ? says : `${says} (default: ${fallbackSays})`);
  if (made.required) {
    made.argParser((text, earlier: unknown) => {
      const value = kind.parse(text, 'command line');
      return kind.join === undefined || earlier === undefined ? value : kind.join([earlier, value]);
    });
  }
  // Only for --help: what holds is known when the configuration file has been read.
  if (made.required && fallback !== null) made.default(fallback);
  if (kind.choices !== undefined) made.argChoices = [...kind.choices];
  return environment === undefined ? made : made.env(environment);
}

/** What the command line (or the environment) says itself. */
export function givenOptions(command: Command): GivenOptions {
  const given = NAMES.filter((name) => ['cli', 'env'].includes(command.getOptionValueSource(name) ?? ''));
  return Object.fromEntries(given.map((name) => [name, command.getOptionValue(name) as unknown]));
}

/** The first that says something about an option decides. */
export function decideOptions(...given: readonly GivenOptions[]): StartOptions {
  const fallbacks = Object.fromEntries(NAMES.map((name) => [name, START_OPTIONS[name].fallback]));
  return Object.assign(fallbacks, ...[...given].reverse()) as StartOptions;
}
