/**
 * Socket buffers as the system sizes them. The 128 KiB that the real ggate programs ask for hold one large request, and
 * end the adapting.
 */
export const SYSTEM_BUFFERS = 0;

/** Above what disks take to spin up or to give up on a bad sector. */
export const DEFAULT_DISK_TIMEOUT_MS = 30_000;

/** Where the exports come from. Paths are absolute, so that they are still found from the daemon's directory. */
export type ExportsSource =
  | { readonly kind: 'file'; readonly path: string }
  /** Every image for everyone in `allow`, each `ADDRESS[/BITS][,ro|wo|rw]`; for this machine only if that is empty. */
  | { readonly kind: 'images'; readonly images: readonly string[]; readonly allow: readonly string[] };

export interface TlsSettings {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** Clients must show a certificate that it signed; null asks for none. */
  readonly caFile: string | null;
  readonly port: number;
}

/** Everything that a command line can say about the daemon. */
export interface DaemonSettings {
  readonly exports: ExportsSource;
  /** A numeric address or a name; null for every address, or for loopback only if the exports are for it alone. */
  readonly address: string | null;
  /** Of the plain listener, 0 lets the system choose; null for TLS only. */
  readonly port: number | null;
  readonly tls: TlsSettings | null;
  readonly noDelay: boolean;
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  /** Lets several sessions write to one file. */
  readonly isShared: boolean;
  /** How long a disk may take for one request; null for DEFAULT_DISK_TIMEOUT_MS. */
  readonly diskTimeoutMs: number | null;
  readonly pidFile: string | null;
  /** Where its control socket is made. */
  readonly runDirectory: string;
}
