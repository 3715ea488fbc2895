import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Vitest's global setup: servers of the tests have their control sockets in a folder of their own, not in the system's. */
export function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'ggmirror-run-'));
  process.env['GGMIRROR_RUN_DIR'] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
