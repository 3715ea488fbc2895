import { join } from 'node:path';
import { ProtocolError } from '../protocol/errors.js';
import { SOCKET_PATH_BYTES_MAX } from './limits.js';
import { nameProblem } from './mirror-name.js';

/** Where a running mirror is reached. */
export interface MirrorPaths {
  readonly control: string;
  readonly nbd: string;
  readonly pidFile: string;
  /** What is remembered of its block device. */
  readonly attached: string;
  /** Where nbdfuse makes a file of it. */
  readonly disk: string;
}

const CONTROL_SUFFIX = '.ctl';

const SERVE_SUFFIX = '.serve';

/** Where a running `ggmirror serve` is asked to let go of what it serves. Throws PROTOCOL_RANGE if it is too long. */
export function serveControlPath(runDirectory: string, pid: number): string {
  const path = join(runDirectory, `${pid}${SERVE_SUFFIX}`);
  checkSocketPath(path);
  return path;
}

/** The server whose control socket a file of the run directory is; null for other files. */
export function serverOfControlFile(fileName: string): number | null {
  if (!fileName.endsWith(SERVE_SUFFIX)) return null;
  const pid = fileName.slice(0, -SERVE_SUFFIX.length);
  return /^[0-9]{1,10}$/.test(pid) ? Number(pid) : null;
}

/** FreeBSD keeps what belongs to running daemons in /var/run. */
export const defaultRunDirectory = (platform: string): string =>
  platform === 'linux' ? '/run/ggmirror' : '/var/run/ggmirror';

/** Throws PROTOCOL_FORMAT for what can't be a mirror's name or would name a file elsewhere, and for paths too long. */
export function mirrorPaths(runDirectory: string, name: string): MirrorPaths {
  checkMirrorName(name);
  const path = (suffix: string): string => join(runDirectory, `${name}${suffix}`);
  const paths = {
    control: path(CONTROL_SUFFIX),
    nbd: path('.nbd'),
    pidFile: path('.pid'),
    attached: path('.attached'),
    disk: path('.disk'),
  };
  checkSocketPath(paths.control);
  return paths;
}

/** The mirror whose control socket a file of the run directory is; null for other files. */
export function mirrorOfControlFile(fileName: string): string | null {
  if (!fileName.endsWith(CONTROL_SUFFIX)) return null;
  return fileName.slice(0, -CONTROL_SUFFIX.length);
}

function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return;
  const message = `${path} is longer than a socket's path may be; use a shorter --run-dir`;
  throw new ProtocolError('PROTOCOL_RANGE', message);
}

function checkMirrorName(name: string): void {
  const problem = nameProblem(name);
  if (problem === null) return;
  throw new ProtocolError('PROTOCOL_FORMAT', `'${name}' can't be a mirror's name: it ${problem}`);
}
