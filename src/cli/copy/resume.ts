import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** What one end of a copy is known by, and for a regular file how it looked when the state was written. */
export interface EndIdentity {
  /** The absolute path or the URI. */
  readonly name: string;
  readonly mediaSizeBytes: number;
  /** Null for everything but a regular file: nothing else shows whether it was written to. */
  readonly file: { readonly dev: number; readonly ino: number; readonly modifiedMs: number } | null;
}

/** What an unfinished copy leaves behind. */
export interface CopyState {
  readonly version: 1;
  readonly source: EndIdentity;
  readonly target: EndIdentity;
  /** Everything below is copied and flushed. */
  readonly safeBytes: number;
}

/**
 * Where the state of a copy to `targetName` is kept: beside an image file, because it belongs to it; in the user's state
 * folder for disks and exports, which have no place beside them.
 */
export function statePath(targetName: string, isRegularFile: boolean, env: NodeJS.ProcessEnv): string {
  if (isRegularFile) return `${targetName}.ggmirror-copy`;
  const configured = env['XDG_STATE_HOME'];
  const base =
    configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), '.local', 'state');
  const key = createHash('sha256').update(targetName).digest('hex').slice(0, 16);
  return join(base, 'ggmirror', `copy-${key}.json`);
}

/** Replaces the state in one step: a reader finds the old one or the new one, never a part. Throws Node's errors. */
export function saveState(path: string, state: CopyState): void {
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.new`;
  writeFileSync(draft, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, path);
}

export function removeState(path: string): void {
  rmSync(path, { force: true });
}

/** The state at `path`, or null when there is none or it is none of ours: the copy then starts at the beginning. */
export function loadState(path: string): CopyState | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isState(value) ? value : null;
  } catch {
    return null;
  }
}

/** Whether `state` is about the same two things: the same names and sizes, and files that were not replaced. */
export function isSamePair(state: CopyState, source: EndIdentity, target: EndIdentity): boolean {
  return isSameThing(state.source, source) && isSameThing(state.target, target);
}

/** Whether nobody has written to either end since. Only regular files can tell; false means "unknown" for the others. */
export function isUntouched(state: CopyState, source: EndIdentity, target: EndIdentity): boolean {
  return (
    isSamePair(state, source, target) &&
    hasSameTime(state.source, source) &&
    hasSameTime(state.target, target)
  );
}

function isSameThing(a: EndIdentity, b: EndIdentity): boolean {
  if (a.name !== b.name || a.mediaSizeBytes !== b.mediaSizeBytes) return false;
  if (a.file === null || b.file === null) return a.file === b.file;
  return a.file.dev === b.file.dev && a.file.ino === b.file.ino;
}

const hasSameTime = (a: EndIdentity, b: EndIdentity): boolean =>
  a.file !== null && b.file !== null && a.file.modifiedMs === b.file.modifiedMs;

function isState(value: unknown): value is CopyState {
  if (!isRecord(value) || value['version'] !== 1) return false;
  const { safeBytes } = value;
  return (
    typeof safeBytes === 'number' &&
    Number.isSafeInteger(safeBytes) &&
    safeBytes >= 0 &&
    isIdentity(value['source']) &&
    isIdentity(value['target'])
  );
}

function isIdentity(value: unknown): value is EndIdentity {
  if (!isRecord(value)) return false;
  const { name, mediaSizeBytes, file } = value;
  const hasFile =
    file === null ||
    (isRecord(file) && [file['dev'], file['ino'], file['modifiedMs']].every((n) => typeof n === 'number'));
  return typeof name === 'string' && typeof mediaSizeBytes === 'number' && hasFile;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
