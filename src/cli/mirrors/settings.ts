import type { ComponentSpec } from '../../control/component-spec.js';
import type { MirrorServiceOptions } from '../../control/service-options.js';
import type { StartPolicy } from '../../control/start-policy.js';
import type { TlsFiles } from '../../server/tls-options.js';
import type { LogLevel } from '../daemon/log.js';

/** How ggate clients reach a mirror. */
export interface GgateSettings {
  /** 0 lets the system choose. */
  readonly port: number;
  /** Null for every address, or for loopback only if nobody else may come in. */
  readonly address: string | null;
  /** Each ADDRESS[/BITS][,ro|wo|rw]; this machine only if empty. */
  readonly allow: readonly string[];
  /** PEM files; the port speaks TLS then, and nothing else. Null for plain ggate. */
  readonly tls: TlsFiles | null;
}

/** What the service takes as it was said. */
type PlainOptions = Pick<
  MirrorServiceOptions,
  | 'name'
  | 'degraded'
  | 'source'
  | 'balance'
  | 'sliceBytes'
  | 'timeoutMs'
  | 'isAutosync'
  | 'resyncBytesPerSecond'
  | 'afterSplitBrain'
  | 'isUnsafeFlushWanted'
>;

/** Everything that a command line or the configuration file can say about a running mirror. Paths are absolute: a daemon lives in `/`. */
export interface MirrorSettings extends PlainOptions {
  /** Null for 'safe'; 'degraded' if `degraded` is true. */
  readonly startPolicy: StartPolicy | null;
  /** This and the next two: see MirrorServiceOptions. */
  readonly respectsUsers: boolean;
  readonly refusesDoubt: boolean;
  readonly allowsMixture: boolean;
  readonly components: readonly ComponentSpec[];
  readonly runDirectory: string;
  /** Null for the one in the run directory. */
  readonly nbdPath: string | null;
  /** Null for the Unix socket only. */
  readonly nbdTcp: {
    readonly host: string;
    readonly port: number;
    /** Null for NBD without TLS. */
    readonly tls: TlsFiles | null;
  } | null;
  /** Null for no ggate clients. */
  readonly ggate: GgateSettings | null;
  /** For components that are ggates:// exports; PEM files. */
  readonly remoteTls: { readonly tlsCa?: string; readonly tlsCert?: string; readonly tlsKey?: string };
  /** A program; null for none. */
  readonly hook: string | null;
  readonly logLevel: LogLevel;
}

/** What the process of a mirror in the background is told. */
export interface MirrorTask {
  readonly settings: MirrorSettings;
  /** If it has to wait for components it does so by itself; else whoever started it waits with it, and may end that. */
  readonly isLeftWaiting: boolean;
}
