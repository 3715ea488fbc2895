import { resolve } from 'node:path';
import { DEFAULT_PORT } from '../../protocol/handshake.js';
import { SYSTEM_BUFFERS } from '../daemon/settings.js';
import { getopt } from './getopt.js';

/** What ggated's command line can say. Paths are absolute: the daemon's working directory is `/`. */
export interface GgatedOptions {
  /** -n leaves Nagle's algorithm on. */
  readonly noDelay: boolean;
  /** -v stays in the foreground and logs everything to standard output. */
  readonly verbose: boolean;
  /** A numeric address or a name; null listens on every address. */
  readonly address: string | null;
  /** 0 to 65535; 0 lets the system choose. */
  readonly port: number;
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  readonly pidFile: string;
  readonly exportsFile: string;
}

/** `usage` asks for the usage text, after `message` if there is one; `invalid` is one line. Both end with exit code 1. */
export type GgatedCommandLine =
  | { readonly kind: 'run'; readonly options: GgatedOptions }
  | { readonly kind: 'usage'; readonly message: string | null }
  | { readonly kind: 'invalid'; readonly message: string };

export const GGATED_USAGE =
  'usage: ggated [-nv] [-a address] [-F pidfile] [-p port] [-R rcvbuf] [-S sndbuf] [exports file]\n';

const DEFAULT_EXPORTS_FILE = '/etc/gg.exports';
const DEFAULT_PID_FILE = '/var/run/ggated.pid';
const BUFFER_MAX_BYTES = 0x7fff_ffff; // setsockopt takes an int

/** Never throws. `words` is the command line behind the program's name, `directory` what relative paths are relative to. */
export function parseGgatedCommandLine(words: readonly string[], directory: string): GgatedCommandLine {
  const { options, operands, error } = getopt(words, 'a:F:hnp:R:S:v');
  if (error !== null) return { kind: 'usage', message: error };
  if (operands.length > 1) return { kind: 'usage', message: 'only one exports file can be given' };
  const given = {
    noDelay: true,
    verbose: false,
    address: null as string | null,
    port: DEFAULT_PORT as number,
    receiveBufferBytes: SYSTEM_BUFFERS as number,
    sendBufferBytes: SYSTEM_BUFFERS as number,
    pidFile: DEFAULT_PID_FILE,
  };
  for (const { letter, value } of options) {
    const text = value ?? '';
    if (letter === 'h') return { kind: 'usage', message: null };
    if (letter === 'n') given.noDelay = false;
    if (letter === 'v') given.verbose = true;
    if (letter === 'a') given.address = text;
    if (letter === 'F') given.pidFile = resolve(directory, text);
    if (letter === 'p') given.port = decimal(text, 0, 0xffff);
    if (letter === 'R') given.receiveBufferBytes = decimal(text, 1, BUFFER_MAX_BYTES);
    if (letter === 'S') given.sendBufferBytes = decimal(text, 1, BUFFER_MAX_BYTES);
    if (Number.isNaN(given.port)) return { kind: 'invalid', message: 'Invalid port.' };
    if (Number.isNaN(given.receiveBufferBytes)) return { kind: 'invalid', message: 'Invalid rcvbuf.' };
    if (Number.isNaN(given.sendBufferBytes)) return { kind: 'invalid', message: 'Invalid sndbuf.' };
  }
  const exportsFile = resolve(directory, operands[0] ?? DEFAULT_EXPORTS_FILE);
  return { kind: 'run', options: { ...given, exportsFile } };
}

/** A whole decimal number in a range, NaN for everything else. */
export function decimal(text: string, min: number, max: number): number {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
  return value >= min && value <= max ? value : NaN;
}
