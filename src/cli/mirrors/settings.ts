import type { ComponentSpec } from '../../control/component-spec.js';
import type { BalanceAlgorithm } from '../../mirror/balance.js';
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

/** Everything that a command line or the configuration file can say about a running mirror. Paths are absolute: a daemon lives in `/`. */
export interface MirrorSettings {
  readonly name: string;
  readonly components: readonly ComponentSpec[];
  readonly degraded: boolean;
  /** The provider whose data a person has chosen, for this start only; all others are overwritten. */
  readonly source: string | null;
  /** Null for what the label says, as for the slice. */
  readonly balance: BalanceAlgorithm | null;
  readonly sliceBytes: number | null;
  readonly timeoutMs: number;
  readonly isAutosync: boolean;
  /** 0 for as fast as it goes. */
  readonly resyncBytesPerSecond: number;
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
