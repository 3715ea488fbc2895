import { isIP } from 'node:net';
import type { MirrorSettings } from './settings.js';

/** What a person should know of these settings before harm comes of them; each a sentence without its full stop. */
export function settingsWarnings({ name, nbdTcp }: MirrorSettings): string[] {
  if (nbdTcp === null || (nbdTcp.tls?.authority ?? null) !== null) return [];
  const { host, port, tls } = nbdTcp;
  const who = isLoopback(host) ? 'every user of this machine' : `everyone who reaches ${host}`;
  const where = port === 0 ? 'an NBD port' : `NBD port ${port}`;
  const but = tls === null ? 'NBD has no passwords' : 'TLS alone keeps nobody out';
  return [
    `${who} can read and overwrite mirror/${name} at ${where}, because ${but}; let clients show certificates ` +
      '(nbd-tls-ca), or leave the port out and use the Unix socket',
  ];
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
